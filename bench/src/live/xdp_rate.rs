//! Packets of 64 bytes on one core: queries in the driver against a program that only counts.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::cpu;
use super::frames::Frames;
use super::insn::{Alu, Fd, Program, R0, R1, R2, Width};
use super::lab::{End, FAR, Lab, NEAR};
use super::packets::smallest;
use super::sys::{self, Shared};
use super::trial::{Place, Sender, TrialError, books};
use crate::statistics::Sample;

/// A query, or none for the program that only counts, with so many source addresses in the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As a report calls it.
    pub name: String,
    /// GSQL; none for the yardstick.
    pub text: Option<&'static str>,
    /// Source addresses.
    pub sources: u32,
}

const COUNT: &str = "SELECT count(*) AS n FROM packet";
const FILTER: &str = "SELECT count(*) AS n FROM tcp WHERE destPort = 80";
const GROUP: &str =
    "SELECT srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY srcIP";
const WINDOW: &str = "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY time/1 AS tb, srcIP";

/// The yardstick, the queries for a hot group, and the grouping query with more and more groups.
pub fn subjects(sources: &[u32]) -> Vec<Subject> {
    let hot = [
        ("only counts (yardstick)", None),
        ("count", Some(COUNT)),
        ("filter", Some(FILTER)),
        ("group", Some(GROUP)),
        ("group by second", Some(WINDOW)),
    ];
    let hot = hot.map(|(name, text)| Subject { name: name.to_owned(), text, sources: 1 });
    let more = sources.iter().filter(|n| **n > 1).map(|&sources| Subject {
        name: "group".to_owned(),
        text: Some(GROUP),
        sources,
    });
    hot.into_iter().chain(more).collect()
}

/// Measurements of a subject.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which.
    pub subject: Subject,
    /// Packets per second, as they were sent and received on the one core.
    pub rate: Sample,
    /// Millions of packets that were seen, per second of processor time of all that takes part, the sender included.
    pub per_cpu: Sample,
    /// That, over the yardstick's in the same round.
    pub ratio: Sample,
    /// Groups that had to leave, per packet.
    pub ejected: Sample,
    /// Share of packets that were not seen, or whose groups were lost.
    pub lost: Sample,
    /// Why books did not balance, if they did not.
    pub imbalance: Option<String>,
}

/// Measures all subjects in rounds.
///
/// # Errors
/// [`TrialError`].
pub fn measure(
    lab: &Lab,
    wiretable: &Path,
    cores: [usize; 2],
    duration: Duration,
    subjects: Vec<Subject>,
    rounds: u32,
) -> Result<Vec<Measured>, TrialError> {
    let [sender_core, receiver_core] = cores;
    let place = Place { lab, pairs: 1, sender_core, napi: None, duration };
    let frame = smallest();
    let mut all: Vec<Measured> = subjects.into_iter().map(Measured::new).collect();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let mut yardstick = 1.0;
        for measured in &mut all {
            let Subject { text, sources, .. } = measured.subject;
            let frames = lab.inside(End::Far, || Frames::from_sources(FAR, &frame, sources))?;
            let sender = Sender::Frames(frames);
            let Some(text) = text else {
                let (rate, per_cpu, lost) = count_only(&place, &sender)?;
                yardstick = per_cpu;
                measured.push(rate, per_cpu, 1.0, 0.0, lost);
                continue;
            };
            let mut command = lab.command(End::Near, wiretable, &[receiver_core]);
            // Groups without a window need a run that has an end.
            command.args(["query", text, "-i", NEAR, "--capture", "xdp", "--for", "1h"]);
            command.args(["--disposition", "drop", "--format", "csv", "--ledger", "--no-progress"]);
            let trial = place.trial(&sender, command, None, books)?;
            let seen = trial.summary.records.max(1) as f64;
            measured.push(
                trial.sent.rate(),
                trial.packets_per_cpu(),
                trial.packets_per_cpu() / yardstick,
                trial.summary.ejected as f64 / seen,
                super::sweep::Outcome::loss(&trial),
            );
            if let Err(why) = trial.balance {
                measured.imbalance = Some(why);
            }
        }
    }
    Ok(all)
}

impl Measured {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            rate: Sample::default(),
            per_cpu: Sample::default(),
            ratio: Sample::default(),
            ejected: Sample::default(),
            lost: Sample::default(),
            imbalance: None,
        }
    }

    fn push(&mut self, rate: f64, per_cpu: f64, ratio: f64, ejected: f64, lost: f64) {
        self.rate.push(rate);
        self.per_cpu.push(per_cpu);
        self.ratio.push(ratio);
        self.ejected.push(ejected);
        self.lost.push(lost);
    }
}

/// Rate, millions of packets per second of processor time, and share of loss of the program that only counts.
fn count_only(place: &Place<'_>, sender: &Sender) -> Result<(f64, f64, f64), TrialError> {
    let counter = Counter::attach(place.lab)?;
    let link = place.lab.counters()?;
    let interfaces = cpu::of_interfaces(place.napi);
    let sent = sender.send(place.lab, place.sender_core, None, place.duration)?;
    let interfaces = cpu::of_interfaces(place.napi).saturating_sub(interfaces);
    let link = place.lab.counters()?.since(link);
    let counted = counter.count();
    let cpu = (sent.cpu + interfaces).as_secs_f64();
    let lost = sent.frames.saturating_sub(counted).max(link.lost()) as f64;
    Ok((sent.rate(), counted as f64 / cpu / 1e6, lost / sent.frames.max(1) as f64))
}

/// A program in the driver that counts a packet and drops it: nothing can take packets of the link for less.
pub struct Counter {
    state: Shared,
    _link: OwnedFd,
}

impl Counter {
    /// Attaches it to the receiving interface, until it is dropped.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(lab: &Lab) -> io::Result<Self> {
        const XDP_DROP: i32 = 1;
        let state = Shared::new(1, 1)?;
        let mut program = Program::default();
        program.value(R1, Fd(state.fd()));
        program.load(Width::Eight, R2, R1, 0);
        program.alu_imm(Alu::Add, R2, 1);
        program.store(Width::Eight, R1, 0, R2);
        program.alu_imm(Alu::Mov, R0, XDP_DROP);
        let program = sys::load_xdp(&program.end())?;
        let link = lab
            .inside(End::Near, || sys::attach_xdp(program.as_fd(), sys::interface_index(NEAR)?))?;
        Ok(Self { state, _link: link })
    }

    /// Packets so far.
    pub fn count(&self) -> u64 {
        self.state.get(0)
    }
}
