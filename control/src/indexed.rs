//! What of traces and stores is read for a plan, by their indices.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use wt_engine::ledger::IndexLedger;
use wt_engine::{IndexedPart, index_wanted};
use wt_plan::physical::PhysicalPlan;
use wt_plan::wanted::{self, Condition};
use wt_trace::index::{Chosen, Index, IndexError, Reading, Taken, Wanted};
use wt_trace::store::{Captured, Store};
use wt_wire::CaptureReader;

use crate::failure::Failure;
use crate::moment;
use crate::record::failure;
use crate::session::Traces;

/// What is wanted of captures, and whether what is left out of one must not change its place among others.
#[derive(Clone, Debug)]
pub struct Within {
    /// What is wanted.
    pub wanted: Wanted,
    /// Its packets are merged with those of others.
    pub keeps_order: bool,
}

/// What a plan needs of its interfaces.
#[derive(Clone, Debug)]
pub struct Need {
    interfaces: Vec<wanted::Wanted>,
    keeps_order: bool,
    /// One store may be read by several cores.
    may_cut: bool,
}

impl Need {
    /// Of a plan that reads these.
    pub fn of(plan: &PhysicalPlan, traces: &[Traces]) -> Self {
        let interfaces = wanted::wanted(plan, true);
        let files: usize = traces.iter().map(|traces| traces.files.len()).sum();
        Self {
            interfaces,
            keeps_order: files > 1 || wanted::depends_on_arrival(plan),
            may_cut: files == 1 && wt_engine::may_cut_store(plan),
        }
    }

    /// Of an interface; nothing where every packet is needed.
    pub fn within(&self, interface: &str) -> Option<Within> {
        let need = self.interfaces.iter().find(|need| need.interface == interface)?;
        (need.condition != Condition::Any).then(|| Within {
            wanted: index_wanted(&need.condition),
            keeps_order: self.keeps_order,
        })
    }

    /// What is read of each trace and store, as text for EXPLAIN.
    pub fn explain(&self, traces: &[Traces]) -> Result<String, Failure> {
        let mut text = String::from("\nreads\n");
        for need in &self.interfaces {
            let Some(traces) = traces.iter().find(|t| t.interface == need.interface) else {
                continue;
            };
            let by = match &need.why_all {
                Some(why) => format!("everything: {why}"),
                None => format!("by index what may meet {}", need.predicates.join(", ")),
            };
            let _ = writeln!(text, "  {}  {by}", need.interface);
            let within = self.within(&need.interface);
            for file in &traces.files {
                let said = match &within {
                    Some(within) => said_of(file, within)?,
                    None => whole(file, None),
                };
                let _ = writeln!(text, "    {}  {said}", file.display());
                if let Some(by) = self.threads_of(file)? {
                    let _ = writeln!(text, "      {by}");
                }
            }
        }
        Ok(text)
    }
}

impl Need {
    /// How many threads read a store.
    fn threads_of(&self, path: &Path) -> Result<Option<String>, Failure> {
        if !path.is_dir() {
            return Ok(None);
        }
        let segments = Store::open(path).and_then(|store| store.segments()).map_err(failure)?;
        let mut writers: Vec<u16> = segments.iter().map(|s| s.name.writer).collect();
        writers.dedup();
        Ok(match writers.len() {
            0 => None,
            1 if self.may_cut => Some(format!(
                "cut into pieces for as many threads as --cores says, from {} MiB on: rows and their order are those of one",
                wt_engine::CUT_BYTES_MIN >> 20
            )),
            1 => Some("read by one thread, in the order of its packets".to_owned()),
            writers if self.may_cut => Some(format!(
                "{writers} writers, merged by time by one thread, or one after the other and cut into pieces where no query asks for the order of packets"
            )),
            writers => Some(format!("{writers} writers, merged by time by one thread")),
        })
    }
}

/// Blocks and bytes that are read, of how many.
pub fn amounts(taken: &Taken) -> String {
    shares(taken.segments, taken.blocks, taken.bytes)
}

/// As [`amounts`], of the books of a run.
pub fn amounts_booked(index: &IndexLedger) -> String {
    shares(index.segments, index.blocks, index.bytes)
}

/// Segments, blocks and bytes: those that are read, and all.
fn shares(segments: (u64, u64), blocks: (u64, u64), bytes: (u64, u64)) -> String {
    let mut text = String::new();
    for ((read, of), what) in [(segments, "segments"), (blocks, "indexed blocks")] {
        if of > 0 {
            let _ = write!(text, "{read} of {of} {what}, ");
        }
    }
    let share = 100.0 * bytes.0 as f64 / bytes.1.max(1) as f64;
    let _ = write!(text, "{} of {} bytes ({share:.1}%)", bytes.0, bytes.1);
    text
}

fn said_of(path: &Path, within: &Within) -> Result<String, Failure> {
    if path.is_dir() {
        let store = Store::open(path).map_err(failure)?;
        let reading = store.reading_within(&within.wanted, within.keeps_order);
        let (reading, findings) = reading.map_err(failure)?;
        let mut text = amounts(&reading.taken());
        for finding in findings.all() {
            let _ = write!(text, "\n      {finding}");
        }
        return Ok(text);
    }
    if path == Path::new("-") {
        return Ok("standard input: all of it".to_owned());
    }
    Ok(match Index::open(path) {
        Ok(mut index) => match index.choose(&within.wanted, within.keeps_order) {
            Some(chosen) => amounts(&chosen.taken()),
            None => whole(path, Some("the index leaves nothing out")),
        },
        Err(IndexError::Absent) => whole(path, Some("there is no index")),
        Err(error) => whole(path, Some(&error.to_string())),
    })
}

fn whole(path: &Path, why: Option<&str>) -> String {
    let because = why.map_or_else(String::new, |why| format!(": {why}"));
    match len_of(path) {
        Some(len) => format!("all {len} bytes{because}"),
        None => format!("all of it{because}"),
    }
}

/// Bytes of a trace, or of a store's segments.
pub fn len_of(path: &Path) -> Option<u64> {
    if path.is_dir() {
        let segments = Store::open(path).and_then(|store| store.segments()).ok()?;
        return Some(segments.iter().map(|segment| segment.bytes).sum());
    }
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// What the index of a trace has chosen, where it leaves something out. An index that is not of the trace is told of and left alone.
pub fn chosen(path: &Path, within: &Within) -> Option<Chosen> {
    if path == Path::new("-") {
        return None;
    }
    let mut index = match Index::open(path) {
        Ok(index) => index,
        Err(IndexError::Absent) => return None,
        Err(error) => {
            eprintln!(
                "wiretable: the index of {} is not used: {error}; `wiretable index build` makes it anew",
                path.display()
            );
            return None;
        }
    };
    let chosen = index.choose(&within.wanted, within.keeps_order);
    if !index.is_whole() {
        let (len, covered) = index.covered();
        eprintln!(
            "wiretable: the index of {} ends at byte {covered} of {len}, what follows is read as a whole",
            path.display()
        );
    }
    let chosen = chosen?;
    if let Some(range_ns) = index.range_ns()
        && chosen.taken().uncounted == 0
        && !within.wanted.may_be_in(range_ns, None)
    {
        say_out_of_range(path, range_ns);
    }
    Some(chosen)
}

/// Says that times which are asked for have no packets.
fn say_out_of_range(path: &Path, (min_ns, max_ns): (u64, u64)) {
    eprintln!(
        "wiretable: {} has no packet of the time that is asked for; its packets are from {} to {}",
        path.display(),
        moment::show(min_ns),
        moment::show(max_ns)
    );
}

/// The chosen part of a trace as a capture, and what is counted of it. Nothing where the file cannot be opened any more, or does not begin as a
/// capture does, which reading all of it tells better.
pub fn capture(path: &Path, chosen: Chosen) -> Option<(CaptureReader, IndexedPart)> {
    let reading = Reading::new(chosen.taken());
    let file = File::open(path).ok()?;
    let len = chosen.taken().bytes.0;
    let selected = wt_trace::index::Selected::new(file, chosen, reading.clone());
    let places = Some(selected.places());
    let name = path.to_string_lossy();
    let reader = CaptureReader::from_sized_reader(&name, selected, len).ok()?;
    Some((reader, IndexedPart { reading, name: name.into_owned(), places }))
}

/// A store, and what is counted of it where something is said of what is wanted.
pub fn store(
    path: &Path,
    within: Option<&Within>,
) -> Result<(Captured, Option<IndexedPart>), Failure> {
    let store = Store::open(path).map_err(failure)?;
    let wanted = within.map(|within| (&within.wanted, within.keeps_order));
    let captured = store.captured(wanted).map_err(failure)?;
    let Some(within) = within else { return Ok((captured, None)) };
    if let Some(range_ns) = store.range_ns()
        && !within.wanted.may_be_in(range_ns, None)
    {
        say_out_of_range(path, range_ns);
    }
    let (reading, name) = (captured.reading.clone(), path.display().to_string());
    Ok((captured, Some(IndexedPart { reading, name, places: None })))
}

/// What is counted of a trace that is read as a whole beside others that are not.
pub fn whole_part(path: &Path) -> IndexedPart {
    let reading = Reading::new(Taken::whole(len_of(path).unwrap_or(0)));
    IndexedPart { reading, name: path.to_string_lossy().into_owned(), places: None }
}
