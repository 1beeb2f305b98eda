//! Identities of flows (protocols.md): `hash5` and `community_id`. Both give the two directions of a flow the same value.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use wt_catalog::Value;

use super::args::{address, uint};
use super::strings::fnv1a_64;
use super::{Handle, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "hash5" => hash5,
        "community_id" => community_id,
        _ => return None,
    })
}

/// The arguments: source and destination address, their ports, protocol; a port is 0 where there is none.
struct FiveTuple {
    source: Endpoint,
    destination: Endpoint,
    protocol: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    address: IpAddr,
    port: u16,
}

impl FiveTuple {
    fn of(args: &[Value]) -> Option<Self> {
        let endpoint = |address_at, port_at| {
            Some(Endpoint {
                address: address(args, address_at)?,
                port: uint(args, port_at)? as u16,
            })
        };
        Some(FiveTuple {
            source: endpoint(0, 2)?,
            destination: endpoint(1, 3)?,
            protocol: uint(args, 4)? as u8,
        })
    }
}

fn append(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(a) => bytes.extend(a.octets()),
        IpAddr::V6(a) => bytes.extend(a.octets()),
    }
}

/// 64 bits over the 5-tuple with its lesser endpoint first: FNV-1a, then the finaliser of MurmurHash3, so that every
/// bit may be used for sampling.
fn hash5(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let tuple = FiveTuple::of(args)?;
    let first = tuple.source.min(tuple.destination);
    let second = tuple.source.max(tuple.destination);
    let mut bytes = Vec::with_capacity(37);
    for endpoint in [first, second] {
        append(&mut bytes, endpoint.address);
        bytes.extend(endpoint.port.to_be_bytes());
    }
    bytes.push(tuple.protocol);
    let mut hash = fnv1a_64(&bytes);
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    Some(Value::Uint(hash ^ hash >> 33))
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// Community ID version 1 with seed 0 (github.com/corelight/community-id-spec). Type and code of ICMP and
/// those of ICMPv6 follow the five-tuple, beyond 255 where there are none. Fails where the identity would be a wrong one: TCP, UDP or SCTP without ports, as in fragments after the
/// first or where only the IP header is in scope, and ICMP without its type.
fn community_id(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    const VERSION: &str = "1:";
    const SEED: [u8; 2] = [0, 0];
    let mut tuple = FiveTuple::of(args)?;
    let mut one_way = false;
    let has_ports = match tuple.protocol {
        TCP | UDP | SCTP if tuple.source.port == 0 && tuple.destination.port == 0 => return None,
        TCP | UDP | SCTP => true,
        ICMP | ICMP6 => {
            let at = if tuple.protocol == ICMP { 5 } else { 7 };
            let icmp_type = u8::try_from(uint(args, at)?).ok()?;
            let code = u8::try_from(uint(args, at + 1)?).ok()?;
            let answer = answer_to(tuple.protocol, icmp_type);
            one_way = answer.is_none();
            tuple.source.port = icmp_type.into();
            tuple.destination.port = answer.unwrap_or(code).into();
            true
        }
        _ => {
            tuple.source.port = 0;
            tuple.destination.port = 0;
            false
        }
    };
    let (first, second) = if one_way || tuple.source <= tuple.destination {
        (tuple.source, tuple.destination)
    } else {
        (tuple.destination, tuple.source)
    };
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(SEED);
    append(&mut bytes, first.address);
    append(&mut bytes, second.address);
    bytes.extend([tuple.protocol, 0]);
    if has_ports {
        bytes.extend(first.port.to_be_bytes());
        bytes.extend(second.port.to_be_bytes());
    }
    Some(Value::bytes(format!("{VERSION}{}", STANDARD.encode(Sha1::digest(&bytes)))))
}

/// The ICMP type that answers a type (or is answered by it): both directions then have the same identity.
fn answer_to(protocol: u8, icmp_type: u8) -> Option<u8> {
    const V4: &[(u8, u8)] = &[(8, 0), (13, 14), (15, 16), (10, 9), (17, 18)];
    const V6: &[(u8, u8)] =
        &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)];
    let pairs = if protocol == ICMP { V4 } else { V6 };
    pairs.iter().find_map(|&(a, b)| match icmp_type {
        t if t == a => Some(b),
        t if t == b => Some(a),
        _ => None,
    })
}
