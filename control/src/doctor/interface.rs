//! What the facts about an interface mean.

use std::io;

use wt_xdp::host::{Host, Interface, Interrupt};

use super::host::has_programs;
use super::{Finding, Findings};

/// Largest packet that fits a page beside the room that drivers keep for programs, in bytes; drivers differ by some tens.
const MTU_OF_PROGRAMS: u32 = 3_498;
/// A receive ring that takes bursts of some milliseconds.
const RING_SLOTS: u32 = 4_096;

/// Judges an interface.
pub(super) fn judge(facts: &Interface, host: &Host) -> Vec<Finding> {
    let mut out = Findings::new(&facts.name);
    link(facts, &mut out);
    if facts.is_ethernet && has_programs(host) {
        programs(facts, host, &mut out);
    } else if !facts.is_ethernet {
        out.note("programs", "not Ethernet: captured from by a socket");
    }
    queues(facts, host, &mut out);
    offloads(facts, &mut out);
    out.note("time stamps", facts.stamped_by());
    place(facts, host, &mut out);
    out.all
}

/// An interface that cannot be read.
pub(super) fn unreadable(name: &str, error: &io::Error) -> Vec<Finding> {
    let mut out = Findings::new(name);
    match error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
        true => out.problem("link", "there is no such interface", "`ip link` lists the interfaces"),
        false => out.problem(
            "link",
            format!("cannot be read: {error}"),
            "see whether the kernel has netlink",
        ),
    }
    out.all
}

fn link(facts: &Interface, out: &mut Findings) {
    let name = &facts.name;
    let what = facts.driver.as_deref().or(facts.kind.as_deref()).unwrap_or("no driver named");
    if !facts.is_up {
        out.problem("link", format!("{what}; down"), format!("ip link set dev {name} up"));
    } else if !facts.has_carrier {
        out.advise(
            "link",
            format!("{what}; up, without a carrier"),
            "plug in the cable, or set up the other end",
        );
    } else {
        out.ok("link", format!("{what}; up"));
    }
}

fn programs(facts: &Interface, host: &Host, out: &mut Findings) {
    let name = &facts.name;
    match facts.xdp {
        Some(xdp) if xdp.native => {
            out.ok("programs", "run in the driver");
        }
        Some(_) => out.advise(
            "programs",
            "the driver takes none: they run in the stack, at two to three times the cost per packet",
            "use a card whose driver has native XDP, or the newest driver of this one",
        ),
        None => out.note("programs", "kernels before 6.3 do not tell whether the driver takes them; a run does"),
    }
    if facts.xdp.is_none_or(|xdp| xdp.native) && host.has_af_xdp {
        let queues = facts.channels.map_or(1, |channels| channels.receive);
        let could = match facts.xdp.is_some_and(|xdp| xdp.zero_copy) {
            true => " (the driver could do without, which is not used)",
            false => "",
        };
        out.note(
            "packets for the host",
            format!(
                "under disposition drop by AF_XDP, of each queue by a socket, {queues} in all, copied once{could}; under pass through the program's ring"
            ),
        );
    }
    if let Some(attached) = facts.attached {
        let id = attached.program.map_or_else(String::new, |id| format!(" (number {id})"));
        out.advise(
            "place of programs",
            format!("taken{id}: by a run of wiretable, or by another program"),
            format!("`bpftool prog show` tells whose it is; `ip link set dev {name} xdp off` removes what nobody needs"),
        );
    }
    if let Some(mtu) = facts.mtu.filter(|mtu| *mtu > MTU_OF_PROGRAMS) {
        out.advise(
            "MTU",
            format!(
                "{mtu}: above about {MTU_OF_PROGRAMS} drivers refuse programs, and sockets are used"
            ),
            format!("ip link set dev {name} mtu 1500, if no larger packets come here"),
        );
    }
}

fn queues(facts: &Interface, host: &Host, out: &mut Findings) {
    let name = &facts.name;
    if let Some(queues) = facts.channels {
        let better = queues.receive_max.min(host.cores);
        if queues.receive < better {
            out.advise(
                "queues",
                format!(
                    "{} of {}; programs run on as many cores as there are queues",
                    queues.receive, queues.receive_max
                ),
                format!("queues = {better} in the batch, or ethtool -L {name} combined {better} (or rx {better})"),
            );
        } else {
            out.ok("queues", queues.receive.to_string());
        }
    }
    if let Some(rings) = facts.rings {
        let better = rings.receive_max.min(RING_SLOTS);
        if rings.receive < better {
            out.advise(
                "ring",
                format!(
                    "{} of {} slots: short bursts overrun it",
                    rings.receive, rings.receive_max
                ),
                format!("ethtool -G {name} rx {better}"),
            );
        } else {
            out.ok("ring", format!("{} slots", rings.receive));
        }
    }
}

fn offloads(facts: &Interface, out: &mut Findings) {
    let name = &facts.name;
    if facts.lro == Some(true) {
        out.advise(
            "LRO",
            "on: the card joins packets, which nothing can tell apart any more, and drivers refuse programs",
            format!("ethtool -K {name} lro off"),
        );
    }
    if facts.gro == Some(true) {
        out.advise(
            "GRO",
            "on: sockets see joined packets in place of those of the wire; programs in the driver come before it",
            format!("ethtool -K {name} gro off, where sockets are used and nothing else needs it"),
        );
    }
    if facts.vlan_offload == Some(true) && facts.xdp.is_some_and(|xdp| xdp.native) {
        out.advise(
            "VLAN tags",
            "taken out by the card: programs in the driver do not see them",
            format!("ethtool -K {name} rxvlan off"),
        );
    }
    if [facts.lro, facts.gro].iter().all(|on| *on == Some(false)) {
        out.ok("offloads", "none joins packets");
    }
}

fn place(facts: &Interface, host: &Host, out: &mut Findings) {
    if let Some(node) = facts.node {
        out.note("memory node", format!("{node}: cores of that node read its packets soonest"));
    }
    let of_queues: Vec<&Interrupt> =
        facts.interrupts.iter().filter(|i| i.queue.is_some()).collect();
    let [first, others @ ..] = &of_queues[..] else {
        if facts.interrupts.is_empty() && facts.channels.is_some() {
            out.note(
                "interrupts",
                "none: packets are handled by the core that sends them, or by those that `interrupts` of a batch names",
            );
        }
        return;
    };
    let is_one_core = first.cores.parse::<u32>().is_ok();
    let is_same = others.iter().all(|other| other.cores == first.cores);
    let queues = of_queues.iter().filter_map(|i| i.queue).max().unwrap_or(0) + 1;
    if is_one_core && is_same && queues > 1 && host.cores > 1 {
        let last = queues.min(host.cores) - 1;
        out.advise(
            "interrupts",
            format!("all {} on core {}: queues do not spread the work", of_queues.len(), first.cores),
            format!(
                "give each queue a core of its own: interrupts = \"0-{last}\" in the batch, or echo N > /proc/irq/{}/smp_affinity_list",
                others.first().map_or(first.number, |other| other.number)
            ),
        );
    } else {
        let shown = |i: &&Interrupt| format!("{} on {}", i.number, i.cores);
        let shown: Vec<String> = of_queues.iter().map(shown).collect();
        out.note("interrupts", shown.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use wt_xdp::host::{Attached, Channels, Rings, XdpFeatures};

    use super::super::State;
    use super::*;

    const NATIVE: XdpFeatures = XdpFeatures { native: true, zero_copy: true };

    fn host() -> Host {
        Host { release: "6.18.5".to_owned(), cores: 4, ..Host::default() }
    }

    fn good() -> Interface {
        Interface {
            name: "eth0".to_owned(),
            is_ethernet: true,
            is_up: true,
            has_carrier: true,
            driver: Some("ice".to_owned()),
            mtu: Some(1500),
            xdp: Some(NATIVE),
            channels: Some(Channels { receive: 4, receive_max: 16 }),
            rings: Some(Rings { receive: 4096, receive_max: 8160 }),
            gro: Some(false),
            lro: Some(false),
            vlan_offload: Some(false),
            ..Interface::default()
        }
    }

    /// Checks that are not well.
    fn unwell(facts: &Interface) -> Vec<&'static str> {
        let all = judge(facts, &host());
        for finding in &all {
            let needs_remedy = matches!(finding.state, State::Advice | State::Problem);
            assert_eq!(needs_remedy, !finding.remedy.is_empty(), "{finding:?}");
        }
        let is_unwell = |f: &&Finding| !matches!(f.state, State::Ok | State::Note);
        all.iter().filter(is_unwell).map(|f| f.check).collect()
    }

    #[test]
    fn a_good_interface_is_left_in_peace() {
        assert_eq!(unwell(&good()), [""; 0]);
    }

    #[test]
    fn what_is_in_the_way_is_told_with_a_remedy() {
        let interrupt =
            |number, queue| Interrupt { number, cores: "0".to_owned(), queue: Some(queue) };
        let slow = Some(XdpFeatures { native: false, ..NATIVE });
        let cases: [(Interface, &str); 11] = [
            (Interface { is_up: false, ..good() }, "link"),
            (Interface { has_carrier: false, ..good() }, "link"),
            (Interface { xdp: slow, ..good() }, "programs"),
            (
                Interface { attached: Some(Attached { program: Some(7) }), ..good() },
                "place of programs",
            ),
            (Interface { mtu: Some(9000), ..good() }, "MTU"),
            (
                Interface { channels: Some(Channels { receive: 1, receive_max: 16 }), ..good() },
                "queues",
            ),
            (
                Interface { rings: Some(Rings { receive: 256, receive_max: 8160 }), ..good() },
                "ring",
            ),
            (Interface { lro: Some(true), ..good() }, "LRO"),
            (Interface { gro: Some(true), ..good() }, "GRO"),
            (Interface { vlan_offload: Some(true), ..good() }, "VLAN tags"),
            (
                Interface { interrupts: vec![interrupt(27, 0), interrupt(28, 1)], ..good() },
                "interrupts",
            ),
        ];
        for (facts, check) in cases {
            assert_eq!(unwell(&facts), [check]);
        }
    }

    #[test]
    fn interrupts_of_one_queue_need_no_spreading() {
        let interrupt = |number, queue| Interrupt { number, cores: "1".to_owned(), queue };
        let one = vec![interrupt(37, None), interrupt(38, Some(0)), interrupt(39, Some(0))];
        let all = judge(&Interface { interrupts: one, ..good() }, &host());
        let found = all.iter().find(|f| f.check == "interrupts").expect("a finding");
        assert_eq!((found.state, &found.found[..]), (State::Note, "38 on 1, 39 on 1"));
    }

    #[test]
    fn what_a_driver_does_not_tell_is_not_held_against_it() {
        let bare = Interface {
            name: "lo".to_owned(),
            is_up: true,
            has_carrier: true,
            ..Interface::default()
        };
        assert_eq!(unwell(&bare), [""; 0]);
    }

    #[test]
    fn a_missing_interface_is_named() {
        let missing = io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error());
        let all = unreadable("eth9", &missing);
        assert!(all[0].subject == "eth9" && all[0].remedy.contains("ip link"), "{all:?}");
    }
}
