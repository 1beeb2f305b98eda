//! Results as Markdown.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agree::Facts;
use crate::compare::Outcome;
use crate::svg::Group;
use crate::task;
use crate::trace::Trace;

/// A report that is being written.
#[derive(Clone, Debug, Default)]
pub struct Report {
    text: String,
}

impl Report {
    /// Begins a report with what it was measured on.
    pub fn new(title: &str, machine: &[(&'static str, String)]) -> Self {
        let mut report = Self::default();
        report.line(&format!("# {title}\n\n| | |\n|---|---|"));
        for (name, value) in machine {
            report.line(&format!("| {name} | {value} |"));
        }
        report
    }

    /// Adds a line.
    pub fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Adds the head of a trace's part.
    pub fn trace(&mut self, trace: &Trace, facts: &Facts, in_huge_pages: f64) {
        let mean = facts.bytes as f64 / facts.packets.max(1) as f64;
        self.line(&format!(
            "\n## Trace {}\n\n{}. {} packets, {} bytes on the wire, {mean:.0} bytes each. In the page cache, {:.0}% of it in huge pages.",
            trace.name,
            trace.recipe,
            facts.packets,
            facts.bytes,
            100.0 * in_huge_pages
        ));
    }

    /// Adds the table of a task.
    pub fn outcome(&mut self, outcome: &Outcome, facts: &Facts) {
        self.line(&format!("\n### {}\n", task::title(outcome.task)));
        self.line(
            "| program | wall s | spread | ratio | CPU s | CPU ratio | Mpkt/s | GB/s | peak RSS |",
        );
        self.line("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
        let (wall_bound, cpu_bound) = outcome.bound();
        for row in &outcome.rows {
            let (wall, cpu) = (row.wall.median(), row.cpu.median());
            self.line(&format!(
                "| {} | {wall:.3} | {:.3}–{:.3} | {:.2} | {cpu:.3} | {:.2} | {:.2} | {:.2} | {} |",
                row.name,
                row.wall.least(),
                row.wall.greatest(),
                wall / wall_bound,
                cpu / cpu_bound,
                facts.packets as f64 / wall / 1e6,
                facts.bytes as f64 / wall / 1e9,
                mebibytes(row.resident_bytes_max),
            ));
        }
        for reason in &outcome.absent {
            self.line(&format!("\nNot here: {reason}."));
        }
    }

    /// Writes it as `NAME.md` in a folder.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, dir: &Path, name: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.md"));
        fs::write(&path, &self.text)?;
        Ok(path)
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The bars of a task: ratios of wall time.
pub fn bars(outcome: &Outcome) -> Group {
    let bound = outcome.bound().0;
    let bars =
        outcome.rows.iter().map(|row| (row.name.clone(), row.wall.median() / bound)).collect();
    Group { title: task::title(outcome.task).to_owned(), bars }
}

/// Bytes as a person reads them.
pub fn mebibytes(bytes: u64) -> String {
    let mut text = String::new();
    // A string takes everything.
    let _ = write!(text, "{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    text
}
