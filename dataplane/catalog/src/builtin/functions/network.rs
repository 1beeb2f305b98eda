//! Addresses, prefixes, names and filters (gsql.md §20.3, protocols.md).

use super::{bytes, constant, exact, handle, integer, p, uint};
use crate::function::{Cost, Function, ParamType};
use crate::types::Type;

/// What identifies a flow, in the order the functions take it.
const FIVE_TUPLE: &[&str] = &["srcIP", "destIP", "srcPort", "destPort", "protocol"];

/// For ICMP the identity of a flow goes by type and code.
const FIVE_TUPLE_OR_ICMP: &[&str] = &[
    "srcIP",
    "destIP",
    "srcPort",
    "destPort",
    "protocol",
    "icmp_type",
    "icmp_code",
    "icmp6_type",
    "icmp6_code",
];

pub(super) fn add(list: &mut Vec<Function>) {
    let table = || handle(bytes("table"));
    let address = || p("address", ParamType::AnyAddress);
    let lpm_doc = "Identifier of the longest matching prefix, from lines `prefix/length|id`; -1 if there is none.";
    for (name, symbol, ty) in [
        ("getlpmid", "getlpmid_ip", Type::Ip),
        ("getlpmid", "getlpmid_inet", Type::Inet),
        ("getv6lpmid", "getv6lpmid_ipv6", Type::Ipv6),
        ("getv6lpmid", "getv6lpmid_inet", Type::Inet),
    ] {
        let example = match name {
            "getlpmid" => "getlpmid(destIP, 'peerid.tbl')",
            _ => "getv6lpmid(destIP, 'peerid6.tbl')",
        };
        list.push(
            Function::scalar(name, symbol, &[exact("address", ty), table()], Type::Int)
                .at_cost(Cost::High)
                .about(lpm_doc, example),
        );
    }
    list.extend([
        Function::scalar("lpm", "lpm", &[address(), table()], Type::Int)
            .at_cost(Cost::High)
            .about(lpm_doc, "lpm(srcIP, 'peerid.tbl')"),
        Function::predicate("in_subnet", "in_subnet", &[address(), exact("block", Type::Prefix)])
            .about("Whether the address lies in the block.", "in_subnet(srcIP, '10.0.0.0/8')"),
        Function::scalar("prefix", "prefix", &[address(), uint("len")], Type::Prefix)
            .failing()
            .about("The block of that length that contains the address.", "prefix(srcIP, 24)"),
        Function::predicate("pcap_filter", "pcap_filter", &[constant(bytes("expression"))])
            .everywhere()
            .about("A tcpdump filter expression.", "pcap_filter('tcp port 80')"),
        Function::scalar("inet_checksum", "inet_checksum", &[bytes("header")], Type::Uint)
            .about(
                "Internet checksum (RFC 1071); 0 over a header that carries its correct checksum.",
                "inet_checksum(ip_header)",
            ),
        Function::scalar(
            "tcp_option_uint",
            "tcp_option_uint",
            &[bytes("options"), integer("kind"), integer("offset"), integer("width")],
            Type::Ullong,
        )
        .failing()
        .about(
            "Bytes of the first TCP option of a kind as a number; fails if it is not there.",
            "tcp_option_uint(tcp_options, 2, 0, 2)",
        ),
        Function::scalar(
            "tcp_option_present",
            "tcp_option_present",
            &[bytes("options"), integer("kind")],
            Type::Bool,
        )
        .about("Whether a TCP option of a kind is there.", "tcp_option_present(tcp_options, 4)"),
        Function::scalar("port_name", "port_name", &[integer("port")], Type::String)
            .failing()
            .about("Service name of a port, else its number.", "port_name(destPort)"),
        Function::scalar("proto_name", "proto_name", &[integer("protocol")], Type::String)
            .failing()
            .about("Name of an IP protocol, else its number.", "proto_name(protocol)"),
        Function::scalar("flag_string", "flag_string", &[integer("flags")], Type::String)
            .failing()
            .about("TCP flags as letters, such as `SA`.", "flag_string(flags)"),
        Function {
            implicit_fields: FIVE_TUPLE,
            ..Function::scalar("hash5", "hash5", &[], Type::Ullong)
        }
        .about("Hash of addresses, ports and protocol, the same for both directions.", "hash5()"),
        Function {
            implicit_fields: FIVE_TUPLE_OR_ICMP,
            ..Function::scalar("community_id", "community_id", &[], Type::String)
        }
        .at_cost(Cost::High)
        .failing()
        .about("Community ID of the flow, version 1; fails where ports, or ICMP type and code, are not in scope.", "community_id()"),
    ]);
}
