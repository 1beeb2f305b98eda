//! Packets of 64 bytes on one core: queries in the driver against a program that only counts, and against the same in C.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::cpu;
use super::frames::Frames;
use super::insn::{Alu, Fd, Helper, If, Program, R0, R1, R2, R10, Width};
use super::lab::{End, FAR, Lab, NEAR};
use super::object::{self, Object, ObjectError};
use super::packets::smallest;
use super::sys::{self, PerCpu, Shared};
use super::trial::{Place, Sender, TrialError, books};
use crate::statistics::Sample;

/// Who takes the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// A program that only counts.
    Counter(Counting),
    /// A query, in GSQL.
    Query(&'static str),
    /// The same in C, a file of `bench/c`.
    C(&'static str),
}

/// How a program counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// In a word of each processor, which it looks up, as programs do that are right on any number of them.
    PerCpu,
    /// In one word: no program takes packets of a link for less. Two processors would lose counts.
    OneWord,
}

/// Who takes packets with so many source addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As a report calls it.
    pub name: String,
    /// Who.
    pub taker: Taker,
    /// Source addresses.
    pub sources: u32,
}

const COUNT: &str = "SELECT count(*) AS n FROM packet";
const FILTER: &str = "SELECT count(*) AS n FROM tcp WHERE destPort = 80";
const GROUP: &str =
    "SELECT srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY srcIP";
const WINDOW: &str = "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY time/1 AS tb, srcIP";

/// The yardstick and the program that is least, the queries for a hot group with the same in C, and the grouping query with more and more groups.
pub fn subjects(sources: &[u32]) -> Vec<Subject> {
    use Taker::{C, Counter, Query};
    let hot = [
        ("only counts (yardstick)", Counter(Counting::PerCpu)),
        ("adds to one word", Counter(Counting::OneWord)),
        ("count", Query(COUNT)),
        ("count in C", C("count.c")),
        ("filter", Query(FILTER)),
        ("filter in C", C("filter.c")),
        ("group", Query(GROUP)),
        ("group in C", C("hosts.c")),
        ("group by second", Query(WINDOW)),
        ("group by second in C", C("seconds.c")),
    ];
    let hot = hot.map(|(name, taker)| Subject { name: name.to_owned(), taker, sources: 1 });
    let more = sources.iter().filter(|n| **n > 1).map(|&sources| Subject {
        name: "group".to_owned(),
        taker: Query(GROUP),
        sources,
    });
    hot.into_iter().chain(more).collect()
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum RateError {
    /// A trial came to nothing.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// A program in C.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel refuses a program.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Measurements of a subject.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which.
    pub subject: Subject,
    /// Packets per second, as they were sent and received on the one core.
    pub rate: Sample,
    /// Processor time of the one core for a packet that was seen, the sender's included, ns.
    pub core_ns: Sample,
    /// That of the program on the other core, ns.
    pub beside_ns: Sample,
    /// The yardstick's time on the core in the same round, over that on the core: which rate is kept.
    pub ratio: Sample,
    /// The same, over all time.
    pub ratio_of_all: Sample,
    /// Groups that had to leave, per packet.
    pub ejected: Sample,
    /// Share of packets that were not seen, or whose groups were lost.
    pub lost: Sample,
    /// Why books did not balance, if they did not.
    pub imbalance: Option<String>,
}

/// Measures all subjects in rounds; objects of C programs are written into `dir`.
///
/// # Errors
/// [`RateError`].
pub fn measure(
    lab: &Lab,
    wiretable: &Path,
    dir: &Path,
    cores: [usize; 2],
    duration: Duration,
    subjects: Vec<Subject>,
    rounds: u32,
) -> Result<Vec<Measured>, RateError> {
    let [sender_core, receiver_core] = cores;
    let place = Place { lab, pairs: 1, sender_core, napi: None, duration };
    let frame = smallest();
    let mut all: Vec<Measured> = subjects.into_iter().map(Measured::new).collect();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let mut yardstick_ns = 0.0;
        for measured in &mut all {
            let Subject { taker, sources, .. } = measured.subject;
            let frames = lab
                .inside(End::Far, || Frames::from_sources(FAR, &frame, sources))
                .map_err(TrialError::from)?;
            let sender = Sender::Frames(frames);
            let text = match taker {
                Taker::Query(text) => text,
                Taker::Counter(counting) => {
                    let counter = Counter::attach(place.lab, counting)?;
                    let taken = take(&place, &sender, || counter.count())?;
                    if counting == Counting::PerCpu {
                        yardstick_ns = taken.core_ns;
                    }
                    measured.push(&taken, yardstick_ns);
                    continue;
                }
                Taker::C(source) => {
                    let object = Object::load(&object::compile_to_drop(source, dir)?)?;
                    let _link = object.with_fd(|program| attach(place.lab, program))?;
                    measured.push(&take(&place, &sender, || Ok(u64::MAX))?, yardstick_ns);
                    continue;
                }
            };
            let mut command = lab.command(End::Near, wiretable, &[receiver_core]);
            // Groups without a window need a run that has an end.
            command.args(["query", text, "-i", NEAR, "--capture", "xdp", "--for", "1h"]);
            command.args(["--disposition", "drop", "--format", "csv", "--ledger", "--no-progress"]);
            let trial = place.trial(&sender, command, None, books)?;
            let seen = trial.summary.records.max(1) as f64;
            let taken = Taken {
                rate: trial.sent.rate(),
                core_ns: (trial.sent.cpu + trial.interfaces).as_nanos() as f64 / seen,
                beside_ns: trial.receiver.cpu.as_nanos() as f64 / seen,
                ejected: trial.summary.ejected as f64 / seen,
                lost: super::sweep::Outcome::loss(&trial),
            };
            measured.push(&taken, yardstick_ns);
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
            core_ns: Sample::default(),
            beside_ns: Sample::default(),
            ratio: Sample::default(),
            ratio_of_all: Sample::default(),
            ejected: Sample::default(),
            lost: Sample::default(),
            imbalance: None,
        }
    }

    fn push(&mut self, taken: &Taken, yardstick_ns: f64) {
        self.rate.push(taken.rate);
        self.core_ns.push(taken.core_ns);
        self.beside_ns.push(taken.beside_ns);
        self.ratio.push(yardstick_ns / taken.core_ns);
        self.ratio_of_all.push(yardstick_ns / (taken.core_ns + taken.beside_ns));
        self.ejected.push(taken.ejected);
        self.lost.push(taken.lost);
    }
}

/// What one measurement came to: see [`Measured`].
struct Taken {
    rate: f64,
    core_ns: f64,
    beside_ns: f64,
    ejected: f64,
    lost: f64,
}

/// Measures a program that nobody looks after; `counted` tells what it has counted, if it does.
fn take(
    place: &Place<'_>,
    sender: &Sender,
    counted: impl Fn() -> io::Result<u64>,
) -> Result<Taken, RateError> {
    let link = place.lab.counters().map_err(TrialError::from)?;
    let interfaces = cpu::of_interfaces(place.napi);
    let sent = sender.send(place.lab, place.sender_core, None, place.duration)?;
    let interfaces = cpu::of_interfaces(place.napi).saturating_sub(interfaces);
    let link = place.lab.counters().map_err(TrialError::from)?.since(link);
    let taken = counted()?.min(sent.frames.saturating_sub(link.lost()));
    Ok(Taken {
        rate: sent.rate(),
        core_ns: (sent.cpu + interfaces).as_nanos() as f64 / taken.max(1) as f64,
        beside_ns: 0.0,
        ejected: 0.0,
        lost: (sent.frames - taken) as f64 / sent.frames.max(1) as f64,
    })
}

/// Attaches a program to the receiving interface, as long as the link is open.
fn attach(lab: &Lab, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    lab.inside(End::Near, || sys::attach_xdp(program, sys::interface_index(NEAR)?))
}

/// A program in the driver that counts a packet and drops it.
pub struct Counter {
    state: State,
    _link: OwnedFd,
}

/// Where it counts.
enum State {
    PerCpu(PerCpu),
    OneWord(Shared),
}

impl Counter {
    /// Attaches it to the receiving interface, until it is dropped.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(lab: &Lab, counting: Counting) -> io::Result<Self> {
        const XDP_DROP: i32 = 1;
        let mut program = Program::default();
        let state = match counting {
            Counting::OneWord => {
                let state = Shared::new(1, 1)?;
                program.value(R0, Fd(state.fd()));
                State::OneWord(state)
            }
            Counting::PerCpu => {
                let state = PerCpu::new()?;
                program.alu_imm(Alu::Mov, R2, 0);
                program.store(Width::Four, R10, -4, R2);
                program.map(R1, Fd(state.fd()));
                program.alu(Alu::Mov, R2, R10);
                program.alu_imm(Alu::Add, R2, -4);
                program.call(Helper::MapLookup);
                program.give_up_if(If::Equal, R0, 0);
                State::PerCpu(state)
            }
        };
        program.load(Width::Eight, R2, R0, 0);
        program.alu_imm(Alu::Add, R2, 1);
        program.store(Width::Eight, R0, 0, R2);
        program.alu_imm(Alu::Mov, R0, XDP_DROP);
        let program = sys::load_xdp(&program.end())?;
        let link = attach(lab, program.as_fd())?;
        Ok(Self { state, _link: link })
    }

    /// Packets so far.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn count(&self) -> io::Result<u64> {
        match &self.state {
            State::PerCpu(state) => state.sum(),
            State::OneWord(state) => Ok(state.get(0)),
        }
    }
}
