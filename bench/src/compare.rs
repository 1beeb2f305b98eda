//! One task on one trace: who takes part, whether they agree, and how long each takes, in turns.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::agree::{Disagreement, Facts, compare, compare_in_any_order};
use crate::bound::{Method, TaskName};
use crate::forms::Forms;
use crate::peers::{self, Peer};
use crate::program::{self, Measured, Program, ProgramError};
use crate::statistics::Sample;
use crate::sys;
use crate::task::{self, Query};
use crate::trace::Trace;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// This program, for the hand-written programs.
    pub this: PathBuf,
    /// The command that is measured.
    pub wiretable: Option<PathBuf>,
    /// Whether it takes `--cores`.
    pub wiretable_cores: bool,
    /// Further arguments of wiretable.
    pub wiretable_arguments: Vec<String>,
    /// Whether the loop of libpcap takes part. Its filters do not look behind VLAN tags.
    pub libpcap: bool,
    /// Tools that take part.
    pub peers: Vec<Peer>,
    /// The core of everything that uses one.
    pub core: usize,
    /// The cores of programs that use two; none to leave them out.
    pub two: Option<[usize; 2]>,
    /// The packets of the trace in other forms, which wiretable and the tools read as well.
    pub forms: Option<Forms>,
    /// Measurements of each program.
    pub repeat: u32,
    /// A folder for what tools must write.
    pub scratch: PathBuf,
}

/// How long a program may wait for its turn. One that has waited longer, and does not take as long itself, is run once more before it is measured:
/// some machines take back memory that lies idle for seconds, also of files and programs in the page cache, and whoever comes first brings it back.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Answers differ.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
}

/// Measurements of one program.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub name: String,
    /// Wall time, seconds.
    pub wall: Sample,
    /// Processor time, seconds.
    pub cpu: Sample,
    /// Largest resident set of any run, bytes.
    pub resident_bytes_max: u64,
    /// What it is in the comparison.
    pub role: Role,
}

/// What a program is in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The hand-written single cursor over copies.
    Read,
    /// The one over a mapping. The better of the two defines the ratio 1.0.
    Mmap,
    /// The one that asks for all lines ahead.
    Ahead,
    /// Eight cursors over a mapping, in turns.
    Cursors,
    /// [`Self::Read`], one on each of two cores.
    ReadOnTwo,
    /// [`Self::Cursors`], eight on each of two cores.
    CursorsOnTwo,
    /// What is measured.
    Wiretable,
    /// The same on two cores.
    WiretableOnTwo,
    /// Its answer to one filter, beside those to many.
    OneFilter,
    /// A tool that others wrote.
    Tool,
    /// For orientation.
    Other,
}

/// Measurements of a task on a trace.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Task.
    pub task: TaskName,
    /// In the order of a report.
    pub rows: Vec<Row>,
    /// Tools that were asked for and could not take part, and why.
    pub absent: Vec<String>,
}

impl Outcome {
    /// Wall and processor time of the better single-cursor program, which has the ratio 1.0.
    pub fn bound(&self) -> (f64, f64) {
        [Role::Read, Role::Mmap]
            .into_iter()
            .filter_map(|role| self.row(role))
            .map(|row| (row.wall.median(), row.cpu.median()))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((f64::NAN, f64::NAN))
    }

    /// The program of a role, where one has it.
    pub fn row(&self, role: Role) -> Option<&Row> {
        self.rows.iter().find(|row| row.role == role)
    }
}

/// A program and how its answer is judged.
struct Entry {
    program: Program,
    judge: Judge,
    role: Role,
}

#[derive(Clone, Copy)]
enum Judge {
    /// The rows of the reference.
    Rows,
    /// They, in any order: which packet of equal stamps came first is not known of several files.
    RowsInAnyOrder,
    /// What a tool's numbers mean.
    Peer(Peer),
    /// It has no answer.
    None,
}

impl Setting {
    /// What the hand-written programs find in a trace; peers are held to it.
    ///
    /// # Errors
    /// [`CompareError`].
    pub fn facts(&self, trace: &Trace) -> Result<Facts, CompareError> {
        let mut facts = Facts::default();
        for task in [TaskName::T1, TaskName::T2, TaskName::T4, TaskName::T5, TaskName::T8] {
            let program = self.bound(task, Method::Read, &trace.path);
            facts.learn(task, &program.answer()?.output);
        }
        Ok(facts)
    }

    /// Compares the answers of all programs, then, with `repeat` above 0, their times.
    ///
    /// # Errors
    /// [`CompareError::Disagreement`] shows both answers.
    pub fn compare(
        &self,
        task: TaskName,
        trace: &Trace,
        facts: &Facts,
    ) -> Result<Outcome, CompareError> {
        let (entries, absent) = self.entries(task, trace, facts);
        self.agree(task, trace, facts, &entries)?;
        sys::forget_peak();
        let mut rows: Vec<Row> = entries
            .iter()
            .map(|entry| Row {
                name: entry.program.name.clone(),
                wall: Sample::default(),
                cpu: Sample::default(),
                resident_bytes_max: 0,
                role: entry.role,
            })
            .collect();
        // In turns, so that a noisy moment hits all programs alike.
        let mut ended: Vec<Option<Instant>> = vec![None; entries.len()];
        for _ in 0..self.repeat {
            for ((entry, row), ended) in entries.iter().zip(&mut rows).zip(&mut ended) {
                if ended.is_none_or(|ended| ended.elapsed() > IDLE_MAX)
                    && row.wall.median() < IDLE_MAX.as_secs_f64()
                {
                    entry.program.measure()?;
                }
                let Measured { wall, cpu, resident_bytes_max } = entry.program.measure()?;
                row.wall.push(wall.as_secs_f64());
                row.cpu.push(cpu.as_secs_f64());
                row.resident_bytes_max = row.resident_bytes_max.max(resident_bytes_max);
                *ended = Some(Instant::now());
            }
        }
        Ok(Outcome { task, rows, absent })
    }

    fn bound(&self, task: TaskName, method: Method, trace: &Path) -> Program {
        program::bound(&self.this, task, method, &[self.core], trace)
    }

    fn entries(&self, task: TaskName, trace: &Trace, facts: &Facts) -> (Vec<Entry>, Vec<String>) {
        let rows = |role, program| Entry { program, judge: Judge::Rows, role };
        let mut entries = Vec::new();
        let bound = |method| self.bound(task, method, &trace.path);
        for (role, method) in [
            (Role::Read, Method::Read),
            (Role::Mmap, Method::Mmap),
            (Role::Ahead, Method::Ahead),
            (Role::Cursors, Method::Cursors),
        ] {
            entries.push(rows(role, bound(method)));
        }
        if self.libpcap {
            entries.push(rows(Role::Tool, bound(Method::Pcap)));
        }
        if task == TaskName::T1 {
            let program = program::dd(&[self.core], &trace.path);
            entries.push(Entry { program, judge: Judge::None, role: Role::Other });
        }
        let path = trace.path.display().to_string();
        if let Some(wiretable) = &self.wiretable {
            let query = task::query(task);
            let more: Vec<&str> = self.wiretable_arguments.iter().map(String::as_str).collect();
            let program = program::wiretable(wiretable, &query, &[self.core], &path, &more);
            entries.push(rows(Role::Wiretable, program));
            if matches!(task, TaskName::T8 | TaskName::Wide) {
                // What one filter takes at that moment, which many are held against.
                let one = task::query(TaskName::T2);
                let program = program::wiretable(wiretable, &one, &[self.core], &path, &more);
                let program = Program { name: "wiretable, T2 alone".to_owned(), ..program };
                entries.push(Entry { program, judge: Judge::None, role: Role::OneFilter });
            }
            if let Some(two) = self.two.filter(|_| self.wiretable_cores) {
                let more = [&more[..], &["--cores", "2"]].concat();
                let program = program::wiretable(wiretable, &query, &two, &path, &more);
                entries.push(rows(Role::WiretableOnTwo, program));
            }
        }
        if let (Some(wiretable), Some(forms)) = (&self.wiretable, &self.forms) {
            entries.extend(self.wiretable_of_forms(wiretable, task, forms));
        }
        if let Some(two) = self.two {
            for (role, method) in
                [(Role::ReadOnTwo, Method::Read), (Role::CursorsOnTwo, Method::Cursors)]
            {
                let program = program::bound(&self.this, task, method, &two, &trace.path);
                entries.push(rows(role, program));
            }
        }
        let mut absent = Vec::new();
        for peer in &self.peers {
            let Some(steps) = peer.steps(task, &trace.path, &self.scratch) else { continue };
            if !peer.is_available() {
                absent.push(format!("{}: not available (package {})", peer.name, peer.package));
            } else if facts.packets > peer.packets_max {
                absent.push(format!("{}: {}", peer.name, peer.note));
            } else {
                let mut add = |role, name: String, steps| {
                    let program = Program { name, steps, cores: vec![self.core] };
                    entries.push(Entry { program, judge: Judge::Peer(*peer), role });
                };
                add(Role::Tool, peer.name.to_owned(), steps);
                if let Some(forms) = &self.forms
                    && let Some(steps) = peer.steps(task, &forms.pcapng, &self.scratch)
                {
                    add(Role::Other, format!("{}, of pcapng", peer.name), steps);
                }
            }
        }
        (entries, absent)
    }

    /// Wiretable where it reads the same packets in other forms, on one core and on two.
    fn wiretable_of_forms(&self, wiretable: &Path, task: TaskName, forms: &Forms) -> Vec<Entry> {
        let query = task::query(task);
        let more: Vec<&str> = self.wiretable_arguments.iter().map(String::as_str).collect();
        let two = self.two.filter(|_| self.wiretable_cores);
        let mut entries = Vec::new();
        let one = |path: &PathBuf| vec![path.to_string_lossy().into_owned()];
        let several = |paths: &[PathBuf]| paths.iter().flat_map(one).collect();
        let named = |(number, path): (usize, &PathBuf)| format!("link{number}={}", path.display());
        let links = forms.directions.iter().enumerate().map(named).collect();
        // What follows may be a subquery.
        let of_link = |text: &str| match text.starts_with(|c: char| c.is_ascii_lowercase()) {
            true => format!("[links].{text}"),
            false => text.to_owned(),
        };
        let of_links = |query: &Query| {
            let (head, rest) = query.text.split_once("FROM ").unwrap_or((&query.text, ""));
            let parts = std::iter::once(head.to_owned()).chain(rest.split("FROM ").map(of_link));
            Query { text: parts.collect::<Vec<_>>().join("FROM "), batch: query.batch }
        };
        let (in_order, in_any_order) = (Judge::Rows, Judge::RowsInAnyOrder);
        for (form, paths, query, judge) in [
            ("of pcapng", one(&forms.pcapng), query.clone(), in_order),
            ("of a store", one(&forms.store), query.clone(), in_order),
            ("of rotated files", several(&forms.rotated), query.clone(), in_order),
            ("of both directions", several(&forms.directions), query.clone(), in_any_order),
            ("of two interfaces", links, of_links(&query), in_any_order),
        ] {
            let Some((first, rest)) = paths.split_first() else { continue };
            let mut own: Vec<&str> = rest.iter().flat_map(|path| ["-r", path]).collect();
            if form == "of two interfaces" {
                own.extend(["--set", "links=link0,link1"]);
            }
            let mut add = |cores: &[usize], more: &[&str]| {
                let more = [&own[..], more].concat();
                let program = program::wiretable(wiretable, &query, cores, first, &more);
                let name = program.name.replacen("wiretable", &format!("wiretable, {form}"), 1);
                let program = Program { name, ..program };
                entries.push(Entry { program, judge, role: Role::Other });
            };
            add(&[self.core], &more);
            if let Some(two) = two {
                add(&two, &[&more[..], &["--cores", "2"]].concat());
            }
        }
        entries
    }

    /// Every answer against that of the first program. This reads the trace too, so that it is in the page cache when times are taken.
    fn agree(
        &self,
        task: TaskName,
        trace: &Trace,
        facts: &Facts,
        entries: &[Entry],
    ) -> Result<(), CompareError> {
        let Some((first, others)) = entries.split_first() else { return Ok(()) };
        let reference = first.program.answer()?.output;
        for entry in others {
            let said = entry.program.answer()?;
            let result = match &entry.judge {
                Judge::Rows => compare(task, &reference, &said.output),
                Judge::RowsInAnyOrder => compare_in_any_order(task, &reference, &said.output),
                Judge::Peer(peer) => peer.check(task, &said, facts),
                Judge::None => Ok(()),
            };
            result.map_err(|differences| Disagreement {
                task: task::short(task),
                trace: trace.name.clone(),
                reference: first.program.name.clone(),
                other: entry.program.name.clone(),
                differences,
            })?;
        }
        Ok(())
    }
}

/// The name by which the loop of libpcap is chosen among the tools.
pub const LIBPCAP: &str = "libpcap";

/// The tools of these names; all for `all`, none for `none`.
///
/// # Errors
/// The first name that no tool has.
pub fn select_peers(names: &[String]) -> Result<Vec<Peer>, String> {
    let mut selected = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => selected.extend(peers::ALL),
            "none" | LIBPCAP => {}
            name => {
                let fits = |peer: &&Peer| peer.programs.contains(&name) || peer.name == name;
                selected.push(*peers::ALL.iter().find(fits).ok_or_else(|| name.to_owned())?);
            }
        }
    }
    Ok(selected)
}
