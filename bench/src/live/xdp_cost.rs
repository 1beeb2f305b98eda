//! What generated programs cost, against the same program in C, by a clock outside the programs: the processor time of the thread that runs them, so that
//! what else the machine does plays no part.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::object::{self, Object, ObjectError};
use super::packets::smallest;
use super::sys;
use crate::statistics::Sample;

/// A query, and the same in C.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// As a report calls it.
    pub name: &'static str,
    /// GSQL.
    pub text: &'static str,
    /// The file of `bench/c`.
    pub source: &'static str,
}

/// What is compared.
pub const SUBJECTS: [Subject; 6] = [
    Subject { name: "count", text: "SELECT count(*) AS n FROM packet", source: "count.c" },
    Subject {
        name: "length filter, none pass",
        text: "SELECT len FROM packet WHERE len > 1500",
        source: "length.c",
    },
    Subject {
        name: "TCP port, all pass",
        text: "SELECT count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80",
        source: "port.c",
    },
    Subject {
        name: "group by source",
        text: "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY time/60 AS tb, srcIP",
        source: "sources.c",
    },
    Subject {
        name: "group by flow",
        text: "SELECT tb, srcIP, destIP, srcPort, destPort, count(*) AS n, sum(len) AS bytes FROM tcp \
               GROUP BY time/10 AS tb, srcIP, destIP, srcPort, destPort",
        source: "flows.c",
    },
    Subject { name: "ten queries", text: include_str!("../../c/ten.gsql"), source: "ten.c" },
];

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CostError {
    /// A program cannot be made or loaded.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// `wiretable` makes no program.
    #[error("wiretable explain --emit: {0}")]
    Emit(String),
    /// The kernel refuses to run it.
    #[error("cannot run a program: {0}")]
    Run(#[from] io::Error),
    /// It does something else than to let the packet pass.
    #[error("{name} returns {returned}, expected 2 (XDP_PASS)")]
    Returned {
        /// Of which.
        name: String,
        /// What.
        returned: u32,
    },
}

/// Both programs of a subject, measured.
pub struct Compared {
    /// Which.
    pub subject: Subject,
    /// The one that `wiretable` makes.
    pub generated: Measured,
    /// The one that clang makes.
    pub c: Measured,
}

/// Times that a program is loaded. Where its code and its maps come to lie decides over one or two nanoseconds, so rounds go from one copy to the next.
const COPIES: u32 = 8;

/// A program and its times.
pub struct Measured {
    copies: Vec<Object>,
    /// Instructions of 8 bytes, as the kernel has them.
    pub instructions: usize,
    /// ns per run, the empty program's time in the same round subtracted.
    pub net_ns: Sample,
}

impl Measured {
    fn load(file: &Path, copies: u32) -> Result<Self, ObjectError> {
        let copies = copies_of(file, copies)?;
        let instructions = copies.first().map_or(0, |object| object.instructions);
        Ok(Self { instructions, copies, net_ns: Sample::default() })
    }
}

fn copies_of(file: &Path, copies: u32) -> Result<Vec<Object>, ObjectError> {
    (0..copies).map(|_| Object::load(file)).collect()
}

/// The copy that has its turn.
fn of_round(copies: &[Object], round: u32) -> &Object {
    &copies[round as usize % copies.len()]
}

impl Compared {
    /// Time of the generated program over that of the other, medians.
    pub fn ratio(&self) -> f64 {
        self.generated.net_ns.median() / self.c.net_ns.median()
    }
}

/// Makes the object of a text with `wiretable explain --emit`.
///
/// # Errors
/// It has no program, or `wiretable` cannot be run.
pub fn emit(wiretable: &Path, text: &str, file: &Path) -> Result<PathBuf, CostError> {
    let said = Command::new(wiretable).args(["explain", text, "--emit"]).arg(file).output()?;
    if said.status.success() {
        return Ok(file.to_owned());
    }
    Err(CostError::Emit(String::from_utf8_lossy(&said.stderr).trim().to_owned()))
}

/// Compares all subjects, in rounds: each program once, `repeat` runs together, of another copy than in the round before.
///
/// # Errors
/// [`CostError`].
pub fn compare(
    wiretable: &Path,
    dir: &Path,
    rounds: u32,
    repeat: u32,
) -> Result<(Sample, Vec<Compared>), CostError> {
    let copies = rounds.clamp(1, COPIES);
    let empty = copies_of(&object::compile("empty.c", dir)?, copies)?;
    let mut all = Vec::new();
    for (i, subject) in SUBJECTS.into_iter().enumerate() {
        let generated = emit(wiretable, subject.text, &dir.join(format!("generated{i}.o")))?;
        let generated = Measured::load(&generated, copies)?;
        let c = Measured::load(&object::compile(subject.source, dir)?, copies)?;
        all.push(Compared { subject, generated, c });
    }
    let packet = smallest();
    let time = |name: &str, object: &Object| -> Result<f64, CostError> {
        let begin = sys::thread_time();
        let returned = object.run(&packet, repeat)?;
        let ns = sys::thread_time().saturating_sub(begin).as_nanos() as f64 / f64::from(repeat);
        match returned {
            2 => Ok(ns),
            returned => Err(CostError::Returned { name: name.to_owned(), returned }),
        }
    };
    let mut empty_ns = Sample::default();
    for round in 0..rounds {
        for compared in &mut all {
            let Compared { subject, generated, c } = compared;
            // Whoever comes second finds another machine: places change from round to round.
            let order = if round % 2 == 0 { [generated, c] } else { [c, generated] };
            for program in order {
                let nothing = time("the empty program", of_round(&empty, round))?;
                let ns = time(subject.name, of_round(&program.copies, round))?;
                program.net_ns.push(ns - nothing);
                empty_ns.push(nothing);
            }
        }
    }
    Ok((empty_ns, all))
}
