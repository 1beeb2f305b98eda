//! A trial: a receiver is started, packets are sent at a rate, it is ended, and the books of both ends are compared.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::books::{Books, Summary};
use super::cpu;
use super::frames::{Frames, Sent};
use super::lab::{End, Lab, LabError, LinkCounters};
use super::receiver::{Ended, Receiver, ReceiverError};
use super::sweep::Outcome;
use super::{sys as live, tcpreplay};
use crate::sys;

/// Why a trial came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The receiver.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The interfaces, or tcpreplay.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The sender.
    #[error("cannot send: {0}")]
    Sender(#[from] io::Error),
}

/// Who sends.
#[derive(Debug)]
pub enum Sender {
    /// A program in the kernel.
    Frames(Frames),
    /// The users' tool.
    Tcpreplay(PathBuf),
}

impl Sender {
    /// As a report calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Frames(_) => "live frames",
            Self::Tcpreplay(_) => "tcpreplay",
        }
    }

    /// Sends into `far` for a while, from a core.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn send(
        &self,
        lab: &Lab,
        core: usize,
        rate: Option<f64>,
        duration: Duration,
    ) -> Result<Sent, TrialError> {
        match self {
            Self::Frames(frames) => Ok(lab.inside(End::Far, || {
                sys::pin(&[core])?;
                live::set_nice(0, live::NICE)?;
                frames.send(rate, duration)
            })?),
            Self::Tcpreplay(trace) => Ok(tcpreplay::send(lab, trace, rate, duration, core)?),
        }
    }
}

/// Where a trial is made.
#[derive(Debug)]
pub struct Place<'l> {
    /// The namespaces.
    pub lab: &'l Lab,
    /// Pairs of interfaces that the receiver captures from.
    pub pairs: usize,
    /// The sender's core.
    pub sender_core: usize,
    /// The thread of the kernel that serves the receiving interface, if there is one.
    pub napi: Option<u32>,
    /// How long is sent.
    pub duration: Duration,
}

/// What a trial came to.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The sender's name.
    pub sender: &'static str,
    /// The rate asked for; none for as fast as it goes.
    pub asked: Option<f64>,
    /// What was sent.
    pub sent: Sent,
    /// What the interfaces counted.
    pub link: LinkCounters,
    /// What the receiver said and used.
    pub receiver: Ended,
    /// Processor time of threads of the kernel that serve interfaces.
    pub interfaces: Duration,
    /// Processor time of the whole machine.
    pub machine: cpu::Machine,
    /// The receiver's books, of a receiver that has none its packets alone.
    pub summary: Summary,
    /// Whether they balance; why not.
    pub balance: Result<(), String>,
}

impl Trial {
    /// Packets that were lost before anybody saw them. What a program in the driver could not give to a socket is a drop of the interface, but not one of
    /// these.
    pub fn lost_on_link(&self) -> u64 {
        self.link.lost() - self.summary.undelivered.min(self.link.receive_drops)
    }

    /// Packets that were sent and of which nobody says what became of them.
    pub fn unexplained(&self) -> u64 {
        let explained = self.lost_on_link() + self.summary.seen;
        self.sent.frames.saturating_sub(explained)
    }

    /// Packets that did not reach the queries.
    pub fn lost_packets(&self) -> u64 {
        self.lost_on_link() + self.summary.dropped + self.unexplained()
    }

    /// Processor time of both ends and of what serves the interfaces.
    pub fn cpu(&self) -> Duration {
        self.sent.cpu + self.receiver.cpu + self.interfaces
    }

    /// Millions of packets that reached the queries, per second of processor time of both ends.
    pub fn packets_per_cpu(&self) -> f64 {
        self.summary.records as f64 / self.cpu().as_secs_f64().max(1e-9) / 1e6
    }
}

impl Outcome for Trial {
    fn rate(&self) -> f64 {
        self.sent.rate()
    }

    /// The greater of two shares: packets that no query saw, and tuples that were lost on their way.
    fn loss(&self) -> f64 {
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let Summary { lost, shed, matched, .. } = self.summary;
        share(self.lost_packets(), self.sent.frames).max(share(lost + shed, matched + lost))
    }
}

impl Place<'_> {
    /// Makes a trial with a receiver that prints books; `read` finds them in what it says.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn trial(
        &self,
        sender: &Sender,
        receiver: Command,
        rate: Option<f64>,
        read: impl FnOnce(&Ended) -> (Summary, Result<(), String>),
    ) -> Result<Trial, TrialError> {
        let receiver = Receiver::start(self.lab, receiver, self.pairs)?;
        let link = self.lab.counters()?;
        let cpu = receiver.cpu();
        let interfaces = cpu::of_interfaces(self.napi);
        let machine = cpu::Machine::now()?;
        let sent = sender.send(self.lab, self.sender_core, rate, self.duration)?;
        rest(&receiver);
        let link = self.lab.counters()?.since(link);
        let receiver = receiver.interrupt(cpu)?;
        let machine = cpu::Machine::now()?.since(machine);
        let interfaces = cpu::of_interfaces(self.napi).saturating_sub(interfaces);
        let (summary, balance) = read(&receiver);
        Ok(Trial {
            sender: sender.name(),
            asked: rate,
            sent,
            link,
            receiver,
            interfaces,
            machine,
            summary,
            balance,
        })
    }
}

/// Waits until the interface is empty and a receiver has read what it has: it needs little of the processor then.
fn rest(receiver: &Receiver) {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    const LOOKS_MAX: u32 = 60;
    let mut before = receiver.cpu();
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(LOOK_EVERY);
        let now = receiver.cpu();
        if now.saturating_sub(before) < LOOK_EVERY / 4 {
            return;
        }
        before = now;
    }
}

/// The books of `wiretable … --ledger`.
pub fn books(ended: &Ended) -> (Summary, Result<(), String>) {
    let books = Books::read(&ended.error);
    (books.summary(), books.check())
}
