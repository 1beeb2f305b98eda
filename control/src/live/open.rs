//! Opens the interfaces of a live run: a program in the driver, or a packet socket.

use std::sync::Arc;

use wt_catalog::Value;
use wt_catalog::protocol::Meta;
use wt_engine::LftaSetup;
use wt_engine::live::{self, LiveInput};
use wt_plan::ir::{LftaProgram, Op};
use wt_plan::physical::{InterfacePlan, PhysicalPlan};
use wt_xdp::broker::Broker;
use wt_xdp::codegen::Disposition;
use wt_xdp::live::{XdpError, XdpOptions, XdpSource};
use wt_xdp::loader::{AttachError, Attachment, BlockList};
use wt_xdp::packet_socket::{self, OpenError, Options, PacketSource};

use super::{LiveInterface, dpdk};
use crate::cli::{CaptureWay, PacketFate, StampedBy};
use crate::failure::Failure;

/// An interface that is open.
pub(super) struct Opened {
    pub(super) input: LiveInput,
    /// A program in its driver runs queries.
    pub(super) in_driver: bool,
}

/// Interfaces that no program can be attached to.
pub const WITHOUT_DRIVER: [&str; 2] = ["any", "lo"];

/// Opens the interfaces that the plan reads.
pub(super) fn all(
    plan: &PhysicalPlan,
    interfaces: &[LiveInterface],
    broker: &Broker,
    blocks: Option<&Arc<BlockList>>,
    dpdk_args: Option<&str>,
) -> Result<Vec<Opened>, Failure> {
    let mut opened = Vec::new();
    let is_read =
        |wanted: &LiveInterface| plan.interfaces.iter().any(|i| i.name == wanted.interface);
    let by_dpdk = |wanted: &&LiveInterface| wanted.way == CaptureWay::Dpdk && is_read(wanted);
    let by_dpdk: Vec<&LiveInterface> = interfaces.iter().filter(by_dpdk).collect();
    let ports = dpdk::Ports::start(&by_dpdk, dpdk_args)?;
    for wanted in interfaces {
        let index = plan.interfaces.iter().position(|i| i.name == wanted.interface);
        let Some(index) = index else { continue };
        let planned = &plan.interfaces[index];
        if wanted.way == CaptureWay::Dpdk && wanted.stamps == StampedBy::Card {
            return Err(Failure::Input(format!(
                "`{}`: packets that DPDK captures are stamped by this host\n  help: leave --stamps out",
                wanted.device
            )));
        }
        if let Some(ports) = ports.as_ref().filter(|_| wanted.way == CaptureWay::Dpdk) {
            opened.push(Opened { input: ports.open(planned, wanted)?, in_driver: false });
            continue;
        }
        let source = match wanted.way {
            CaptureWay::Socket | CaptureWay::Dpdk => None,
            way => in_driver(plan, index, wanted, (broker, blocks), way == CaptureWay::Xdp)?,
        };
        opened.push(match source {
            // Its stamps are in order already.
            Some(source) => Opened {
                input: LiveInput {
                    interface: wanted.interface.clone(),
                    source: Box::new(source),
                    cpu: wanted.cpu,
                    skew_ns: 0,
                },
                in_driver: true,
            },
            None => Opened { input: by_socket(planned, wanted, broker)?, in_driver: false },
        });
    }
    Ok(opened)
}

/// Attaches a program with the queries that have code. Nothing when the interface is better captured from by a socket, unless it `has_to` be
/// this way.
fn in_driver(
    plan: &PhysicalPlan,
    index: usize,
    wanted: &LiveInterface,
    (broker, blocks): (&Broker, Option<&Arc<BlockList>>),
    has_to: bool,
) -> Result<Option<XdpSource>, Failure> {
    let device = &wanted.device;
    if WITHOUT_DRIVER.contains(&device.as_str()) {
        let refused = format!(
            "`{device}` has no driver that takes programs\n  help: capture from it by a socket (--capture socket)"
        );
        return if has_to { Err(Failure::Environment(refused)) } else { Ok(None) };
    }
    if wanted.stamps == StampedBy::Card {
        if has_to {
            wanted.refuse_stamps_in_driver()?;
        }
        eprintln!(
            "wiretable: {device}: captured by a socket, as packets are to have the card's time stamps"
        );
        return Ok(None);
    }
    if asks_direction(&plan.interfaces[index].program) {
        let why = "a query asks which packets this host has sent, and its driver sees only those that it receives";
        if !has_to {
            eprintln!("wiretable: {device}: captured by a socket, as {why}");
            return Ok(None);
        }
        eprintln!("wiretable: {device}: {why}");
    }
    let params: Vec<Value> = plan.params.iter().map(|param| param.value.clone()).collect();
    let setup = LftaSetup {
        interface: &wanted.interface,
        program: &plan.interfaces[index].program,
        params: &params,
        fixed_hash: &live::host_only(plan, index),
    };
    let options = XdpOptions {
        broker: Some(broker.clone()),
        disposition: match wanted.fate {
            PacketFate::Pass => Disposition::Pass,
            PacketFate::Drop => Disposition::Drop,
        },
        ring_bytes: u32::try_from(wanted.ring_bytes).unwrap_or(1 << 31),
        keep_bytes: 0,
        is_promiscuous: wanted.is_promiscuous,
        blocks: blocks.cloned(),
    };
    match XdpSource::open(device, &setup, &options) {
        Ok(Some(source)) => {
            if let Attachment::Generic { reason } = source.attachment() {
                eprintln!(
                    "wiretable: {device}: the driver takes no program ({reason}); it runs in the stack, at two to three times the cost per packet"
                );
            }
            if let Some(refused) = source.without_sockets() {
                eprintln!(
                    "wiretable: {device}: packets for queries on the host come through the program's ring, as there are no AF_XDP sockets: {refused}"
                );
            }
            Ok(Some(source))
        }
        Ok(None) if has_to => Err(Failure::Environment(format!(
            "no query of `{}` has code for the driver; `wiretable explain` says why\n  help: capture by a socket (--capture socket)",
            wanted.interface
        ))),
        Ok(None) => Ok(None),
        // A socket would say the same, and better.
        Err(XdpError::NoInterface { .. } | XdpError::Attach(AttachError::NoInterface { .. })) => {
            Ok(None)
        }
        Err(error) if has_to => Err(refused(&error, error.hint().map(str::to_owned))),
        Err(error) => {
            eprintln!("wiretable: {device}: captured by a socket, as {error}");
            Ok(None)
        }
    }
}

/// Whether a query reads the direction of packets.
fn asks_direction(program: &LftaProgram) -> bool {
    program.exprs.nodes.iter().any(|node| node.op == Op::Meta(Meta::Direction))
}

fn by_socket(
    planned: &InterfacePlan,
    wanted: &LiveInterface,
    broker: &Broker,
) -> Result<LiveInput, Failure> {
    let options = Options {
        broker: Some(broker.clone()),
        snap_bytes: packet_socket::snap_bytes(&planned.program),
        ring_bytes: usize::try_from(wanted.ring_bytes).unwrap_or(usize::MAX),
        is_promiscuous: wanted.is_promiscuous,
        skew_ns: wanted.skew_ns(),
        fanout: None,
        stamps_by_card: wanted.clock_apart_max(),
        filter: None,
    };
    let source = PacketSource::open(&wanted.device, options);
    let source = source.map_err(|error: OpenError| refused(&error, error.hint()))?;
    Ok(LiveInput {
        interface: wanted.interface.clone(),
        source: Box::new(source),
        cpu: wanted.cpu,
        skew_ns: wanted.skew_ns(),
    })
}

pub(super) fn refused(error: &dyn std::error::Error, hint: Option<String>) -> Failure {
    let help = hint.map_or_else(String::new, |hint| format!("\n  help: {hint}"));
    Failure::Environment(format!("{error}{help}"))
}
