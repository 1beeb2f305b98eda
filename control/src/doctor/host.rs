//! What the facts about a host mean.

use wt_xdp::host::{Card, Host};

use super::{Finding, Findings};
use crate::db::programs::{MAJOR_MIN, Programs};

/// First kernel whose programs can read any part of a packet (`bpf_xdp_load_bytes`).
const KERNEL_OF_PROGRAMS: (u32, u32) = (5, 18);
/// Clocks that are read in tens of ns; others take about a µs for each packet's stamp.
const QUICK_CLOCKS: [&str; 4] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];

/// DPDK's version, in a build that has it.
#[cfg(feature = "dpdk")]
pub(super) fn dpdk_version() -> Option<String> {
    Some(wt_xdp::dpdk::version())
}

/// Nothing: this build has no DPDK.
#[cfg(not(feature = "dpdk"))]
pub(super) fn dpdk_version() -> Option<String> {
    None
}

/// Judges a host, and the DPDK that this program is built with.
pub(super) fn judge(facts: &Host, dpdk_version: Option<&str>) -> Vec<Finding> {
    let mut out = Findings::new("host");
    kernel(facts, &mut out);
    privileges(facts, &mut out);
    bpf(facts, &mut out);
    cores(facts, &mut out);
    memory(facts, dpdk_version.is_some(), &mut out);
    dpdk(facts, dpdk_version, &mut out);
    out.all
}

/// Whether the kernel can run queries in drivers.
pub(super) fn has_programs(facts: &Host) -> bool {
    facts.version().is_some_and(|version| version >= KERNEL_OF_PROGRAMS)
}

fn kernel(facts: &Host, out: &mut Findings) {
    let release = &facts.release;
    if has_programs(facts) {
        out.ok("kernel", format!("{release}: queries can run in drivers"));
    } else {
        out.advise(
            "kernel",
            format!("{release} is older than 5.18: queries run on the host, fed by sockets"),
            "use a kernel of 5.18 or later to run them in drivers",
        );
    }
    if !facts.has_packet_sockets {
        out.problem(
            "packet sockets",
            "the kernel has none: captures need them where no program can be attached",
            "use a kernel with CONFIG_PACKET",
        );
    }
}

const GRANT: &str = "run as root, or: setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep \"$(command -v wiretable)\"";

fn privileges(facts: &Host, out: &mut Findings) {
    match (facts.may_capture, facts.may_attach) {
        (true, true) => out.ok("privileges", "sockets and programs in drivers"),
        (true, false) => out.advise(
            "privileges",
            "sockets only; programs in drivers need CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
            GRANT,
        ),
        (false, _) => out.problem(
            "privileges",
            "no live capture: CAP_NET_RAW is missing (traces can be queried)",
            GRANT,
        ),
    }
}

fn bpf(facts: &Host, out: &mut Findings) {
    match facts.has_bpf_jit {
        Some(true) => out.ok("BPF compiler", "programs become machine code"),
        Some(false) => out.advise(
            "BPF compiler",
            "off: programs in drivers are interpreted, at several times the cost per packet",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        // Some kernels have no other way, and hide the switch from ordinary users.
        None => out.note("BPF compiler", "the kernel does not tell whether it is on"),
    }
}

fn cores(facts: &Host, out: &mut Findings) {
    match facts.cores {
        1 => out.advise(
            "cores",
            "one: capture, operators and sinks take turns",
            "give it two or more, so that capture has one for itself (`cpu` in the configuration)",
        ),
        n if facts.isolated.is_empty() => out.ok("cores", n.to_string()),
        n => out.ok("cores", format!("{n}; left alone by the scheduler: {}", facts.isolated)),
    }
    match facts.governor.as_deref() {
        Some("performance") => out.ok("clock rate", "performance"),
        Some(governor) => out.advise(
            "clock rate",
            format!("governed by `{governor}`: cores are slow when a burst begins"),
            "cpupower frequency-set -g performance",
        ),
        None => {}
    }
    match facts.clock.as_deref() {
        Some(clock) if QUICK_CLOCKS.contains(&clock) => out.ok("time stamps", clock),
        Some(clock) => out.advise(
            "time stamps",
            format!("read from `{clock}`, which takes about a microsecond for each packet"),
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, if the machine's is steady",
        ),
        None => {}
    }
    if facts.has_irqbalance {
        out.advise(
            "interrupts",
            "irqbalance runs, and may move an interface's interrupts onto cores of queries",
            "stop it, or ban the interfaces' interrupts (IRQBALANCE_BANNED_CPULIST)",
        );
    }
}

fn memory(facts: &Host, has_dpdk: bool, out: &mut Findings) {
    if let Some(bytes) = facts.memory_bytes {
        out.ok("memory", format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
    }
    match facts.huge_pages {
        Some(pages) if pages.total > 0 => {
            let found =
                format!("{} of {} free, {} KiB each", pages.free, pages.total, pages.bytes >> 10);
            out.ok("huge pages", found);
        }
        _ if has_dpdk => out.note(
            "huge pages",
            "none reserved: buffers of DPDK lie in ordinary memory; sysctl -w vm.nr_hugepages=64 reserves some",
        ),
        _ => out.note("huge pages", "none reserved; nothing here needs them"),
    }
    if facts.has_af_xdp {
        out.ok("AF_XDP", "the kernel has it");
    } else {
        out.note("AF_XDP", "the kernel has none");
    }
}

fn dpdk(facts: &Host, version: Option<&str>, out: &mut Findings) {
    let Some(version) = version else {
        out.note(
            "DPDK",
            "not in this build; with libdpdk-dev installed, cargo build --release -p wiretable --features dpdk has it",
        );
        return;
    };
    let shown = |card: &Card| format!("{} ({})", card.address, card.driver);
    let cards: Vec<String> = facts.cards_of_dpdk.iter().map(shown).collect();
    match cards.is_empty() {
        true => out.ok(
            "DPDK",
            format!("{version}; no card is bound to vfio-pci, so virtual devices only, e.g. net_af_xdp0,iface=IF"),
        ),
        false => out.ok("DPDK", format!("{version}; cards bound to its drivers: {}", cards.join(", "))),
    }
}

/// Looks for Postgres.
pub(super) fn judge_database() -> Vec<Finding> {
    let mut out = Findings::new("database");
    match Programs::find(None) {
        Ok(found) => out.ok("programs", format!("PostgreSQL {}", found.major)),
        Err(_) => out.note(
            "programs",
            format!("no PostgreSQL {MAJOR_MIN} or later here: `db start` needs it; a server elsewhere will do (--database-url)"),
        ),
    }
    out.all
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn good() -> Host {
        Host {
            release: "6.18.5".to_owned(),
            may_attach: true,
            may_capture: true,
            has_bpf_jit: Some(true),
            has_packet_sockets: true,
            has_af_xdp: true,
            cores: 8,
            clock: Some("tsc".to_owned()),
            governor: Some("performance".to_owned()),
            ..Host::default()
        }
    }

    /// Checks that are not well, with their states.
    fn unwell(facts: &Host) -> Vec<(&'static str, State)> {
        let all = judge(facts, None);
        for finding in &all {
            let needs_remedy = matches!(finding.state, State::Advice | State::Problem);
            assert_eq!(needs_remedy, !finding.remedy.is_empty(), "{finding:?}");
        }
        let is_unwell = |f: &Finding| !matches!(f.state, State::Ok | State::Note);
        all.iter().filter(|f| is_unwell(f)).map(|f| (f.check, f.state)).collect()
    }

    #[test]
    fn a_good_host_is_left_in_peace() {
        assert_eq!(unwell(&good()), []);
    }

    #[test]
    fn dpdk_is_told_with_its_cards() {
        let found = |facts: &Host, version| {
            let all = judge(facts, version);
            all.iter().find(|f| f.check == "DPDK").expect("a finding").found.clone()
        };
        assert!(found(&good(), None).contains("--features dpdk"));
        assert!(found(&good(), Some("DPDK 22.11.11")).contains("no card is bound"));
        let card = Card { address: "0000:01:00.0".to_owned(), driver: "vfio-pci" };
        let bound = Host { cards_of_dpdk: vec![card], ..good() };
        let expected = "DPDK 22.11.11; cards bound to its drivers: 0000:01:00.0 (vfio-pci)";
        assert_eq!(found(&bound, Some("DPDK 22.11.11")), expected);
        let pages = judge(&good(), Some("DPDK 22.11.11"));
        let pages = pages.iter().find(|f| f.check == "huge pages").expect("a finding");
        assert!(pages.found.contains("vm.nr_hugepages"), "{pages:?}");
    }

    #[test]
    fn what_is_missing_is_told_with_a_remedy() {
        use State::{Advice, Problem};
        let cases: [(Host, &str, State); 8] = [
            (Host { release: "5.10.0-8-amd64".to_owned(), ..good() }, "kernel", Advice),
            (Host { may_attach: false, ..good() }, "privileges", Advice),
            (Host { may_capture: false, may_attach: false, ..good() }, "privileges", Problem),
            (Host { has_packet_sockets: false, ..good() }, "packet sockets", Problem),
            (Host { has_bpf_jit: Some(false), ..good() }, "BPF compiler", Advice),
            (Host { cores: 1, ..good() }, "cores", Advice),
            (Host { clock: Some("hpet".to_owned()), ..good() }, "time stamps", Advice),
            (Host { has_irqbalance: true, ..good() }, "interrupts", Advice),
        ];
        for (facts, check, state) in cases {
            assert_eq!(unwell(&facts), [(check, state)]);
        }
    }
}
