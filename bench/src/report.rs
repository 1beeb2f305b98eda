//! Results as Markdown.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agree::Facts;
use crate::compare::{Outcome, Role};
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

    /// Adds a table of wiretable's times over those of the programs beside it, task by task.
    pub fn summary(&mut self, outcomes: &[Outcome]) {
        self.line(
            "\n### Wiretable over the others\n\nWall time of `wiretable` over that of each hand-written program; how many times faster two cores are than one, \
             over how many times that is for hand-written ones; and times of tools over those of `wiretable`.\n",
        );
        self.line("| task | single cursor | all asked ahead | eight cursors | T2 alone | two cores | over `read`'s | over eight cursors' | tools |");
        self.line("|---|---:|---:|---:|---:|---:|---:|---:|---|");
        for outcome in outcomes {
            let wall = |role| outcome.row(role).map(|row| row.wall.median());
            let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
            let Some(own) = wall(Role::Wiretable) else { continue };
            let [two, read, cursors] = [
                (Role::Wiretable, Role::WiretableOnTwo),
                (Role::Read, Role::ReadOnTwo),
                (Role::Cursors, Role::CursorsOnTwo),
            ]
            .map(|(one, two)| over(wall(one), wall(two)));
            let ratios = [
                Some(own / outcome.bound().0),
                over(Some(own), wall(Role::Ahead)),
                over(Some(own), wall(Role::Cursors)),
                over(Some(own), wall(Role::OneFilter)),
                two,
                over(two, read),
                over(two, cursors),
            ];
            let ratios = ratios.map(|ratio| ratio.map_or("–".to_owned(), |r| format!("{r:.2}")));
            let tools = outcome.rows.iter().filter(|row| row.role == Role::Tool);
            let tools: Vec<String> = tools
                .map(|row| {
                    let name = row.name.trim_start_matches("bound: ");
                    format!("{name} {:.1}", row.wall.median() / own)
                })
                .collect();
            let task = task::short(outcome.task);
            self.line(&format!("| {task} | {} | {} |", ratios.join(" | "), tools.join(", ")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::TaskName;
    use crate::compare::Row;
    use crate::statistics::Sample;

    #[test]
    fn what_others_take_is_held_against_it() {
        let row = |(role, name, seconds): (Role, &str, f64)| {
            let mut wall = Sample::default();
            wall.push(seconds);
            Row { name: name.to_owned(), cpu: wall.clone(), wall, resident_bytes_max: 0, role }
        };
        let rows = [
            (Role::Read, "bound: read", 0.10),
            (Role::Mmap, "bound: mmap", 0.20),
            (Role::Ahead, "bound: ahead", 0.05),
            (Role::Cursors, "bound: cursors", 0.08),
            (Role::Tool, "bound: libpcap loop", 0.30),
            (Role::Wiretable, "wiretable", 0.06),
            (Role::WiretableOnTwo, "wiretable, 2 cores", 0.04),
            (Role::ReadOnTwo, "bound: read, 2 cores", 0.05),
            (Role::CursorsOnTwo, "bound: cursors, 2 cores", 0.05),
            (Role::Tool, "tcpdump", 0.33),
        ];
        let outcome = |rows: &[(Role, &str, f64)]| {
            let rows = rows.iter().copied().map(row).collect();
            Outcome { task: TaskName::T2, rows, absent: Vec::new() }
        };
        let mut report = Report::default();
        // One without wiretable has nothing to say, one without others says so.
        report.summary(&[outcome(&rows), outcome(&rows[..5]), outcome(&rows[..6])]);
        let lines: Vec<&str> =
            report.text().lines().filter(|line| line.starts_with("| t2")).collect();
        assert_eq!(
            lines,
            [
                "| t2 | 0.60 | 1.20 | 0.75 | – | 1.50 | 0.75 | 0.94 | libpcap loop 5.0, tcpdump 5.5 |",
                "| t2 | 0.60 | 1.20 | 0.75 | – | – | – | – | libpcap loop 5.0 |",
            ]
        );
    }
}
