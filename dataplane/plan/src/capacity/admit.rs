//! Admission: whether a machine carries a batch at a rate, with the arithmetic.

use std::fmt;

use super::show::{number, table};
use super::traffic::scaled;
use super::{Prediction, Rate};
use crate::explain::bytes;

/// What there is to run a batch on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Cores.
    pub cores: usize,
    /// Bound on the memory of operators, bytes.
    pub memory_bytes_max: u64,
}

/// Why a batch is refused; its text is the arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    prediction: Prediction,
    rate: Rate,
    machine: Machine,
    too_slow: bool,
    too_large: bool,
}

/// Admits a batch at a rate, or says why not.
///
/// # Errors
/// [`Refusal`]: more cores than there are, or more memory than is allowed.
pub fn admit(prediction: &Prediction, rate: Rate, machine: Machine) -> Result<(), Box<Refusal>> {
    let too_slow = prediction.cores(rate) > machine.cores as f64;
    let too_large = prediction.memory_bytes() > machine.memory_bytes_max as f64;
    if !too_slow && !too_large {
        return Ok(());
    }
    let prediction = prediction.clone();
    Err(Box::new(Refusal { prediction, rate, machine, too_slow, too_large }))
}

/// Costs by query, dearest first, ns per packet, and what is for all of them.
fn by_query(prediction: &Prediction) -> (Vec<(String, f64)>, f64) {
    let mut queries: Vec<(String, f64)> = Vec::new();
    let mut common = 0.0;
    for node in &prediction.nodes {
        let Some(name) = &node.query else {
            common += node.ns;
            continue;
        };
        match queries.iter_mut().find(|(known, _)| known == name) {
            Some((_, ns)) => *ns += node.ns,
            None => queries.push((name.clone(), node.ns)),
        }
    }
    queries.sort_by(|a, b| b.1.total_cmp(&a.1));
    (queries, common)
}

impl Refusal {
    fn cores_of(&self, ns: f64) -> f64 {
        ns * self.rate.packets_per_second(self.prediction.packet_bytes) / 1e9
    }

    fn time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queries, common) = by_query(&self.prediction);
        let row = |ns: f64, what: &str| {
            vec![format!("{ns:.1}"), format!("{:.2}", self.cores_of(ns)), what.to_owned()]
        };
        let mut rows = vec![vec!["ns/packet".to_owned(), "cores".to_owned(), "for".to_owned()]];
        rows.push(row(common, "all queries: records, headers, what they share"));
        rows.extend(queries.iter().map(|(name, ns)| row(*ns, &format!("query {name}"))));
        let packets = self.rate.packets_per_second(self.prediction.packet_bytes);
        let sum = self.prediction.ns();
        let all = format!("in all: {sum:.1} ns × {} packets/s ÷ 10⁹", number(packets));
        rows.push(row(sum, &all));
        f.write_str(&table(&rows))?;
        if let Rate::Bits(_) = self.rate {
            let size = self.prediction.packet_bytes;
            writeln!(f, "  {} is {} packets/s of {size:.0} bytes", self.rate, number(packets))?;
        }
        Ok(())
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::show::memory(&self.prediction))
    }

    /// The least of the dearest queries without which the rest fits.
    fn without(&self) -> Option<(Vec<String>, f64)> {
        let (queries, _) = by_query(&self.prediction);
        let mut rest = self.prediction.ns();
        let mut dropped = Vec::new();
        // One that is not the last: a batch without queries is no batch.
        for (name, ns) in queries.iter().take(queries.len().saturating_sub(1)) {
            rest -= ns;
            dropped.push(format!("`{name}`"));
            if self.cores_of(rest) <= self.machine.cores as f64 {
                return Some((dropped, self.cores_of(rest)));
            }
        }
        None
    }

    fn help(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways = Vec::new();
        if self.too_slow {
            if let Some((names, cores)) = self.without() {
                ways.push(format!("without {} it needs {cores:.2} cores", names.join(" and ")));
            }
            let carried = self.machine.cores as f64 * self.prediction.packets_per_second();
            ways.push("a narrower filter or fewer keys make it cheaper".to_owned());
            ways.push(format!("as it is, {} can be carried", scaled(carried, "pps")));
        }
        if self.too_large {
            ways.push(
                "shorter windows or fewer keys make fewer groups; --memory allows more".to_owned(),
            );
        }
        write!(f, "  help: {}", ways.join("; "))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = match self.machine.cores {
            1 => "the 1 core".to_owned(),
            n => format!("the {n} cores"),
        };
        let mut why = Vec::new();
        if self.too_slow {
            let needed = self.prediction.cores(self.rate);
            why.push(format!("at {} it needs {needed:.2} of {cores} there are", self.rate));
        }
        if self.too_large {
            let needed = self.prediction.memory_bytes() as u64;
            let limit = self.machine.memory_bytes_max;
            why.push(format!("it needs {} of the {} allowed", bytes(needed), bytes(limit)));
        }
        writeln!(f, "the batch does not fit: {}", why.join(", and "))?;
        if self.too_slow {
            self.time(f)?;
        }
        if self.too_large {
            self.memory(f)?;
        }
        self.help(f)
    }
}

impl std::error::Error for Refusal {}
