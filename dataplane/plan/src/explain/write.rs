//! Lines of at most [`WIDTH`] columns with hanging indentation.

use wt_catalog::Ordering;

/// Widest line.
pub const WIDTH: usize = 120;

/// Holds words together; no text contains it, because literals escape control characters.
const GLUE: char = '\u{1}';

/// Longest piece that is kept on one line, characters.
const GLUED_MAX: usize = 60;

/// The same text, not broken at its spaces unless it is long.
pub fn glue(text: &str) -> String {
    if text.chars().count() > GLUED_MAX {
        return text.to_owned();
    }
    text.chars().map(|c| if c == ' ' { GLUE } else { c }).collect()
}

/// Text under construction.
#[derive(Debug, Default)]
pub struct Lines {
    out: String,
}

impl Lines {
    /// One line, broken at spaces where it is too long; continuations are indented by `hang` more.
    pub fn line(&mut self, indent: usize, hang: usize, text: &str) {
        let mut column = 0;
        let mut start = true;
        self.pad(indent, &mut column);
        // Runs of spaces inside a line are alignment and stay.
        for word in words(text) {
            let (gap, word) = word;
            let width = word.chars().count();
            if !start && column + gap + width > WIDTH {
                self.out.push('\n');
                column = 0;
                self.pad(indent + hang, &mut column);
            } else {
                self.pad(gap, &mut column);
            }
            self.out.extend(word.chars().map(|c| if c == GLUE { ' ' } else { c }));
            column += width;
            start = false;
        }
        self.out.push('\n');
    }

    /// `label  text`, continuations under the text.
    pub fn field(&mut self, indent: usize, label: &str, text: &str) {
        let line = format!("{label:<LABEL$}{text}");
        self.line(indent, LABEL, &line);
    }

    /// Lines of columns, each as wide as its widest cell but the last.
    pub fn table(&mut self, indent: usize, label: &str, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max())
            .map(|w| w.unwrap_or(0))
            .collect();
        for (i, row) in rows.iter().enumerate() {
            let mut text = String::new();
            for (c, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if c + 1 < row.len() {
                    let pad = widths[c] + 2 - cell.chars().count();
                    text.extend(std::iter::repeat_n(' ', pad));
                }
            }
            self.field(indent, if i == 0 { label } else { "" }, text.trim_end());
        }
    }

    /// An empty line.
    pub fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    fn pad(&mut self, n: usize, column: &mut usize) {
        self.out.extend(std::iter::repeat_n(' ', n));
        *column += n;
    }
}

/// Columns of a label.
const LABEL: usize = 12;

/// Words with the number of spaces before each.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let trimmed = rest.trim_start_matches(' ');
        let gap = rest.len() - trimmed.len();
        if trimmed.is_empty() {
            return None;
        }
        let end = trimmed.find(' ').unwrap_or(trimmed.len());
        let word = &trimmed[..end];
        rest = &trimmed[end..];
        Some((gap, word))
    })
}

/// Bytes in the largest unit that keeps at least one digit before the point.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut scaled = n as f64;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 || scaled.fract() == 0.0 {
        format!("{scaled:.0} {}", UNITS[unit])
    } else {
        format!("{scaled:.1} {}", UNITS[unit])
    }
}

/// An ordering property in words; `-` for none.
pub fn ordering(o: &Ordering) -> String {
    match o {
        Ordering::Constant => "constant".into(),
        Ordering::StrictlyIncreasing => "strictly increasing".into(),
        Ordering::Increasing => "increasing".into(),
        Ordering::StrictlyDecreasing => "strictly decreasing".into(),
        Ordering::Decreasing => "decreasing".into(),
        Ordering::BandedIncreasing(band) => format!("banded-increasing({band})"),
        Ordering::NonRepeating => "nonrepeating".into(),
        Ordering::IncreasingInGroup(group) => format!("increasing in ({})", group.join(", ")),
        Ordering::Varying => "-".into(),
    }
}

/// `3 packets`, `1 packet`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_hang() {
        let mut lines = Lines::default();
        lines.field(4, "where", &"word ".repeat(40));
        let text = lines.finish();
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH && !l.ends_with(' ')), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with(&" ".repeat(16)));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(655_360), "640 KiB");
        assert_eq!(bytes(1_500_000), "1.4 MiB");
    }
}
