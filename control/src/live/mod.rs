//! Runs a plan over live interfaces: opening them, what is said on the way, the end.

pub mod control;
pub mod device;
mod dpdk;
mod metrics;
mod open;
pub mod privileges;
mod queries;
mod serving;
mod show;
pub mod store;
pub mod watchlists;

pub use open::WITHOUT_DRIVER;
pub use queries::{Admit, Setting};
pub use serving::parse_cores;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wt_engine::live::{self, Handle, Link, LiveOptions, Notice, SKEW_NS_DEFAULT};
use wt_engine::{Ledger, RunEnd};
use wt_plan::{Compiled, InterfaceInfo};
use wt_xdp::packet_socket::RING_BYTES_DEFAULT;

use self::control::{Control, Socket};
use self::device::Device;
use self::queries::LiveQueries;
use self::store::Past;
use crate::cli::{CaptureArgs, CaptureWay, ControlArgs, PacketFate, StampedBy, UntilArgs};
use crate::execute::{RunSettings, cancelled_by_signal, engine_failure, finish, said_of_inputs};
use crate::failure::Failure;
use crate::indexed::Need;
use crate::output::{self, Lost, Results, Route};
use crate::session::{self, NamedText, Traces};
use crate::{blame, broker};

/// An interface of a live run.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveInterface {
    /// Name in queries.
    pub interface: String,
    /// Name on this host, or `any`.
    pub device: String,
    /// The processor of its thread.
    pub cpu: Option<usize>,
    /// Receive what is for other stations too.
    pub is_promiscuous: bool,
    /// How far its packets may come behind the clock.
    pub skew: Duration,
    /// Size of the kernel's ring.
    pub ring_bytes: u64,
    /// Where its packets are captured.
    pub way: CaptureWay,
    /// What becomes of them in the driver.
    pub fate: PacketFate,
    /// Receive queues that it is to have; as many as it has where this is not said.
    pub queues: Option<u32>,
    /// Cores that serve its queues, in turn; as they are where there are none.
    pub served_by: Vec<u32>,
    /// Who stamps its packets.
    pub stamps: StampedBy,
    /// Further interface properties.
    pub properties: Vec<(String, String)>,
}

impl LiveInterface {
    /// A device under a name, captured from as is usual.
    pub fn new(interface: &str, device: &str, way: CaptureWay) -> Self {
        Self {
            interface: interface.to_owned(),
            device: device.to_owned(),
            cpu: None,
            is_promiscuous: true,
            skew: Duration::from_nanos(SKEW_NS_DEFAULT),
            ring_bytes: RING_BYTES_DEFAULT as u64,
            way,
            fate: PacketFate::default(),
            queues: None,
            served_by: Vec::new(),
            stamps: StampedBy::default(),
            properties: Vec::new(),
        }
    }

    /// Takes over what was said on the command line.
    pub fn take(&mut self, capture: &CaptureArgs) {
        self.is_promiscuous &= !capture.no_promiscuous;
        self.skew = capture.skew.unwrap_or(self.skew);
        self.ring_bytes = capture.ring.unwrap_or(self.ring_bytes);
        self.way = capture.capture.unwrap_or(self.way);
        self.fate = capture.disposition.unwrap_or(self.fate);
        self.stamps = capture.stamps.unwrap_or(self.stamps);
    }

    /// How far the clock of the card that stamps packets may be from this host's, by which windows close; nothing where the kernel stamps them.
    pub fn clock_apart_max(&self) -> Option<Duration> {
        (self.stamps == StampedBy::Card).then_some(self.skew)
    }

    /// Refuses stamps of the card where programs in the driver take packets.
    ///
    /// # Errors
    /// They are asked for.
    pub fn refuse_stamps_in_driver(&self) -> Result<(), Failure> {
        match self.stamps {
            StampedBy::Kernel => Ok(()),
            StampedBy::Card => Err(Failure::Environment(format!(
                "`{}`: programs in drivers have the kernel's time stamps: those of the card are read by a function of the kernel that only programs bound to \
                 the card may call, which cannot be loaded here\n  help: capture by a socket (--capture socket), or leave the kernel's stamps",
                self.device
            ))),
        }
    }

    /// The interface as the planner sees it.
    pub fn interface_info(&self) -> InterfaceInfo {
        session::interface_info(&self.interface, &self.properties)
    }

    fn skew_ns(&self) -> u64 {
        self.skew.as_nanos() as u64
    }
}

/// Reads `-i` arguments: a device, or NAME=DEVICE. `way` is that of a command's users who say nothing.
pub fn parse_interfaces(
    arguments: &[String],
    capture: &CaptureArgs,
    way: CaptureWay,
) -> Result<Vec<LiveInterface>, Failure> {
    let mut all: Vec<LiveInterface> = Vec::new();
    let by_dpdk = capture.capture.unwrap_or(way) == CaptureWay::Dpdk;
    for argument in arguments {
        let (interface, device) = match argument.split_once('=') {
            Some((name, device)) if session::is_name(name) => (name, device),
            // What stands behind the comma is for the driver.
            _ if by_dpdk => (argument.split(',').next().unwrap_or(argument), argument.as_str()),
            Some((name, _)) => {
                return Err(Failure::Input(format!(
                    "`-i {argument}`: `{name}` is no name for an interface; use letters, digits and _"
                )));
            }
            None => (argument.as_str(), argument.as_str()),
        };
        if all.iter().any(|known| known.interface == interface) {
            return Err(Failure::Input(format!(
                "interface `{interface}` is given twice; give each a name of its own: -i NAME=IF"
            )));
        }
        let mut live = LiveInterface::new(interface, device, way);
        live.take(capture);
        all.push(live);
    }
    Ok(all)
}

/// Refuses an end for what has one already.
pub fn refuse_until_of_traces(live: &[LiveInterface], until: &UntilArgs) -> Result<(), Failure> {
    if live.is_empty() && until.is_given() {
        return Err(Failure::Input(
            "--for and --packets end a live capture; traces end by themselves".to_owned(),
        ));
    }
    Ok(())
}

/// Refuses arguments for DPDK where nothing is captured by it.
pub fn refuse_idle_dpdk_args(live: &[LiveInterface], capture: &CaptureArgs) -> Result<(), Failure> {
    let by_dpdk = live.iter().any(|interface| interface.way == CaptureWay::Dpdk);
    if capture.dpdk_args.is_some() && !by_dpdk {
        return Err(Failure::Input(
            "--dpdk-args is for interfaces that DPDK captures from: add --capture dpdk".to_owned(),
        ));
    }
    Ok(())
}

/// Refuses a block list for what has no driver.
pub fn refuse_blocks_of_traces(
    live: &[LiveInterface],
    control: &ControlArgs,
) -> Result<(), Failure> {
    if live.is_empty() && control.blocklist.is_some() {
        return Err(Failure::Input(
            "--blocklist drops packets of live interfaces; those of traces are there already"
                .to_owned(),
        ));
    }
    Ok(())
}

/// How a live run is to be done.
pub struct LiveSettings {
    /// When it ends.
    pub until: UntilArgs,
    /// Where its operators run.
    pub operator_cpu: Option<usize>,
    /// Stores that it may read.
    pub stores: Vec<Traces>,
    /// What it is called.
    pub title: String,
    /// The socket that it listens on.
    pub control: Option<PathBuf>,
    /// The address that its books are served on.
    pub metrics: Option<SocketAddr>,
    /// File of sources whose packets are dropped.
    pub blocklist: Option<PathBuf>,
    /// Further arguments for DPDK.
    pub dpdk_args: Option<String>,
    /// What its texts are compiled with.
    pub setting: Setting,
    /// Whether other queries may run.
    pub admit: Admit,
}

/// Runs the plan over the interfaces until its end or Ctrl-C, and writes its results.
pub fn execute(
    compiled: &Compiled,
    text: &NamedText,
    interfaces: &[LiveInterface],
    routes: Vec<Route>,
    settings: &RunSettings,
    live: LiveSettings,
) -> Result<(), Failure> {
    let plan = &compiled.physical;
    refuse_missing_processors(interfaces, live.operator_cpu)?;
    let of_kernel = interfaces.iter().filter(|interface| interface.way != CaptureWay::Dpdk);
    let broker = broker::start(of_kernel.map(|interface| interface.device.clone()))?;
    privileges::unlimit_frames();
    serving::place(interfaces)?;
    let blocks = device::block_list(live.blocklist.as_deref(), interfaces, &broker)?;
    let dpdk_args = live.dpdk_args.as_deref();
    let mut inputs = open::all(plan, interfaces, &broker, blocks.as_ref(), dpdk_args)?;
    let in_driver = inputs.iter().any(|opened| opened.in_driver);
    if live.blocklist.is_some() && !in_driver {
        return Err(Failure::Environment(device::NO_DRIVER.to_owned()));
    }
    let device = Device::new(blocks.filter(|_| in_driver));
    let mut findings = Vec::new();
    // So many packets are those that come, needed or not.
    let need =
        (settings.index && live.until.packets.is_none()).then(|| Need::of(plan, &live.stores));
    let mut reads_of_others = false;
    for past in pasts(compiled, &live.stores, interfaces, need.as_ref()) {
        let (input, found) = store::open(&past)?;
        reads_of_others |= store::is_of_another_user(&past);
        inputs.push(open::Opened { input, in_driver: false });
        findings.push(found);
    }
    let socket = live.control.as_deref().map(Socket::bind).transpose()?;
    let spools = output::spools(&routes);
    let mut results = Results::open(plan.outputs.len(), routes, socket.is_some())?;
    privileges::keep_least(in_driver, reads_of_others)?;
    // Clients of the control socket name files of their queries later.
    privileges::confine(socket.is_none().then_some(&spools))?;
    let inputs = inputs.into_iter().map(|opened| opened.input).collect();
    let cancel = cancelled_by_signal();
    results.watch(&cancel);
    for skipped in blame::skipped_lines(compiled) {
        eprintln!("wiretable: {skipped}");
    }
    let handle = Arc::new(Handle::new());
    results.account(&lost_so_far(&handle));
    if let Some(address) = live.metrics {
        metrics::serve(address, Arc::clone(&handle))?;
    }
    if let Some(socket) = &socket {
        let queries = LiveQueries::new(live.setting, text, compiled, results.more(), live.admit);
        let handle = Arc::clone(&handle);
        let (title, began, queries) = (live.title, Instant::now(), Mutex::new(queries));
        socket.serve(Arc::new(Control { device, handle, queries, title, began }))?;
    }
    let options = LiveOptions {
        memory_bytes_max: Some(settings.memory_bytes_max),
        backend: settings.backend,
        duration: live.until.duration,
        packets_max: live.until.packets,
        operator_cpu: live.operator_cpu,
        cancel: Some(&cancel),
        handle: Some(&handle),
        notice: Some(&say),
    };
    if std::io::stderr().is_terminal() {
        let names: Vec<_> = interfaces.iter().map(|interface| interface.device.as_str()).collect();
        eprintln!("wiretable: capturing from {}; Ctrl-C ends it", names.join(", "));
    }
    let outcome = live::run_live(plan, inputs, &options, &mut results);
    let report = outcome.map_err(|error| engine_failure(error, compiled, text))?;
    if !matches!(report.end, RunEnd::SinkClosed { .. }) {
        losses(&report.ledger).iter().for_each(|loss| eprintln!("wiretable: {loss}"));
    }
    finish(&report, &said_of_inputs(Vec::new(), &findings), settings)
}

/// The stores that a plan reads.
fn pasts(
    compiled: &Compiled,
    stores: &[Traces],
    interfaces: &[LiveInterface],
    need: Option<&Need>,
) -> Vec<Past> {
    let plan = &compiled.physical;
    let names = &compiled.logical.interfaces;
    let followed = |store: &Traces| {
        let pair = compiled.logical.followed.iter().find(|(at, _)| names[*at] == store.interface);
        let name = &names[pair?.1];
        interfaces.iter().find(|interface| interface.interface == *name).cloned()
    };
    let is_read = |store: &&Traces| plan.interfaces.iter().any(|i| i.name == store.interface);
    let past = |store: &Traces| Past {
        traces: store.clone(),
        followed: followed(store),
        within: need.and_then(|need| need.within(&store.interface)),
    };
    stores.iter().filter(is_read).map(past).collect()
}

fn refuse_missing_processors(
    interfaces: &[LiveInterface],
    operator_cpu: Option<usize>,
) -> Result<(), Failure> {
    let known = live::processors();
    let wanted = interfaces.iter().filter_map(|interface| interface.cpu).chain(operator_cpu);
    for cpu in wanted {
        if !known.contains(&cpu) {
            let known: Vec<_> = known.iter().map(usize::to_string).collect();
            let known = known.join(", ");
            return Err(Failure::Environment(format!(
                "there is no processor {cpu} for this process; there are: {known}"
            )));
        }
    }
    Ok(())
}

/// Tells the user what happens on the way.
fn say(notice: Notice) {
    match notice {
        Notice::LinkLost { interface, link } => {
            let what = if link == Link::Gone { "is gone" } else { "is down" };
            eprintln!(
                "wiretable: interface {interface} {what}; it is picked up again when it is back"
            );
        }
        Notice::LinkBack { interface } => eprintln!("wiretable: interface {interface} is back"),
    }
}

/// What a run has lost so far, by cause.
fn lost_so_far(handle: &Arc<Handle>) -> Lost {
    let handle = Arc::clone(handle);
    Arc::new(move || {
        let ledger = handle.ledger();
        vec![
            ("kernel", ledger.kernel_dropped()),
            ("driver", ledger.lost()),
            ("shed", ledger.shed()),
        ]
    })
}

/// Losses change an answer silently, so they are said even without `--ledger`.
fn losses(ledger: &Ledger) -> Vec<String> {
    let mut said = Vec::new();
    let of_ports = ledger.interfaces.iter().filter_map(|i| i.live.as_ref()?.port);
    let by_ports: u64 = of_ports.map(|port| port.dropped()).sum();
    if by_ports > 0 {
        said.push(format!(
            "{by_ports} packets were dropped by drivers of DPDK; --ledger shows why, and --ring 64MiB helps against bursts"
        ));
    }
    let dropped = ledger.kernel_dropped() - by_ports;
    if dropped > 0 {
        said.push(format!(
            "{dropped} packets were dropped by the kernel, as its ring was full; a larger one helps against bursts: --ring 64MiB"
        ));
    }
    let lost = ledger.lost();
    if lost > 0 {
        said.push(format!(
            "{lost} tuples were lost in the driver, as its ring was full or packets were too long; --ledger shows of which query, --ring 64MiB helps against bursts"
        ));
    }
    let shed = ledger.shed();
    if shed > 0 {
        said.push(format!(
            "{shed} tuples were given up, as rows were taken more slowly than they came; --ledger shows of which query"
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_names_of_their_own() {
        let parse = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
            parse_interfaces(&arguments, &CaptureArgs::default(), CaptureWay::Socket)
        };
        let all = parse(&["eth0", "up=veth-7"]).unwrap();
        assert_eq!(all[0], LiveInterface::new("eth0", "eth0", CaptureWay::Socket));
        assert_eq!(all[1], LiveInterface::new("up", "veth-7", CaptureWay::Socket));
        let by_dpdk = CaptureArgs { capture: Some(CaptureWay::Dpdk), ..CaptureArgs::default() };
        let devices = ["net_pcap0,iface=eth0", "up=net_null0"].map(str::to_owned);
        let all = parse_interfaces(&devices, &by_dpdk, CaptureWay::Socket).unwrap();
        let named = |live: &LiveInterface| (live.interface.clone(), live.device.clone());
        assert_eq!(named(&all[0]), ("net_pcap0".to_owned(), "net_pcap0,iface=eth0".to_owned()));
        assert_eq!(named(&all[1]), ("up".to_owned(), "net_null0".to_owned()));
        assert!(refuse_idle_dpdk_args(&all, &by_dpdk).is_ok());
        for (arguments, expected) in [
            (["eth0", "eth0"], "given twice"),
            (["a", "a=b"], "given twice"),
            (["a", "0=b"], "no name"),
        ] {
            let message = parse(&arguments).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
