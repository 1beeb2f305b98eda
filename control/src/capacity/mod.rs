//! Capacity at the command line: which costs hold on this machine, what a run counts and takes, and whether a batch is admitted.

mod clock;
pub mod count;
pub mod measure;
mod yardstick;

use std::path::Path;

use wt_catalog::Catalog;
use wt_plan::Compiled;
use wt_plan::capacity::{self, CostTable, Machine};

use crate::cli::AdmissionArgs;
use crate::failure::Failure;
use crate::session;

/// Costs, and where they come from.
pub struct Costs {
    /// The costs that hold here.
    pub table: CostTable,
    /// A sentence about them.
    pub source: String,
    /// What the yardstick takes here, ns per packet, when it was run.
    pub yardstick_ns: Option<f64>,
}

impl Costs {
    /// The costs of a file, or those shipped, times how long a short fixed run takes here beside the reference machine.
    pub fn new(calibration: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = calibration else { return Self::of_this_machine() };
        let table = CostTable::parse(&session::read_text(path)?).map_err(|error| {
            Failure::Input(format!(
                "{} is no table of costs: {error}\n  help: `wt-bench calibrate -o FILE` writes one for this machine",
                path.display()
            ))
        })?;
        let source = format!("those of {}, measured on {}", path.display(), table.machine);
        Ok(Self { table, source, yardstick_ns: None })
    }

    fn of_this_machine() -> Result<Self, Failure> {
        let reference = CostTable::reference();
        let here = yardstick::ns_per_packet()?;
        let there = reference.yardstick_ns;
        let factor = here / there;
        let source = format!(
            "those shipped, of {}, × {factor:.2}: a fixed run takes {here:.0} ns per packet here and {there:.0} there",
            reference.machine
        );
        Ok(Self { table: reference.scaled(factor), source, yardstick_ns: Some(here) })
    }
}

/// Refuses a batch that does not fit the rate it has to carry. What is not `given` at the command line is what the batch's `file` says; with
/// no rate in either, everything is admitted.
pub fn admit_batch(
    given: &AdmissionArgs,
    file: &AdmissionArgs,
    machine: Machine,
    compiled: &Compiled,
    catalog: &Catalog,
) -> Result<(), Failure> {
    let Some(rate) = given.capacity.or(file.capacity) else {
        return match given.model.is_given() {
            true => Err(Failure::Input(
                "assumptions and costs are for a rate that has to be carried\n  help: give it, for example --capacity 10Mpps"
                    .to_owned(),
            )),
            false => Ok(()),
        };
    };
    let calibration = given.model.calibration.as_ref().or(file.model.calibration.as_ref());
    let costs = Costs::new(calibration.map(|path| path.as_path()))?;
    let traffic = given.model.traffic.or(file.model.traffic).traffic();
    let flows = capacity::estimate(&compiled.physical, catalog, &traffic);
    let prediction = capacity::predict(compiled, &flows, &costs.table);
    capacity::admit(&prediction, rate, machine).map_err(|refusal| {
        Failure::Input(format!(
            "{refusal}\n  assumed: {}\n  costs: {}",
            capacity::show::assumptions(&traffic),
            costs.source
        ))
    })
}
