//! Diagnostics as text for people: the line, carets under the place, remarks, hints.
//!
//! ```text
//! error[unknown-keyword]: unknown keyword `WHER`
//!  --> query.gsql:2:1
//!   |
//! 2 | WHER len > 5
//!   | ^^^^ did you mean `WHERE`?
//! ```

use std::collections::HashMap;
use std::fmt::Write;

use crate::diag::{Diagnostic, Severity};
use crate::span::Span;

/// Columns of a source line shown; longer lines are clipped around the caret.
const LINE_COLUMNS_MAX: usize = 100;

/// Columns kept before the caret in a clipped line.
const CONTEXT_COLUMNS: usize = 36;

const TAB_COLUMNS: usize = 4;

/// Places at which the same is shown in full; of more, the first is, and for the others their lines.
const SAME_MAX: usize = 2;

/// Lines that are listed.
const SAME_LINES_MAX: usize = 6;

/// Renders diagnostics about `text`, which was read from `name`, each ended by an empty line but the
/// last. With `colour`, ANSI colours are used. What is said again and again is shown once, with the lines of all.
pub fn render(diags: &[Diagnostic], name: &str, text: &str, colour: bool) -> String {
    let source = Source::new(name, text);
    let paint = Paint { colour };
    let mut out = String::new();
    let mut said: HashMap<What<'_>, Vec<Span>> = HashMap::new();
    diags.iter().for_each(|diag| said.entry(what(diag)).or_default().push(diag.span));
    for diag in diags {
        let others = match said.get_mut(&what(diag)) {
            // All places have been shown together.
            Some(places) if places.is_empty() => continue,
            Some(places) if places.len() > SAME_MAX => std::mem::take(places).split_off(1),
            _ => Vec::new(),
        };
        if !out.is_empty() {
            out.push('\n');
        }
        Rendering { source: &source, paint, diag, others }.write(&mut out);
    }
    out
}

/// All of a diagnostic but its place.
type What<'d> = (Severity, &'d str, &'d str, &'d str, &'d [(Span, String)], &'d [String]);

fn what(diag: &Diagnostic) -> What<'_> {
    let Diagnostic { severity, code, message, label, related, hints, .. } = diag;
    (*severity, code, message, label, related, hints)
}

/// The text with its line starts.
struct Source<'t> {
    name: String,
    text: &'t str,
    /// Byte offset of each line's first byte.
    starts: Vec<usize>,
    /// End of the text without trailing white space: where "the end of the text" is shown.
    end: usize,
}

impl<'t> Source<'t> {
    fn new(name: &str, text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(i, _)| i + 1)).collect();
        let name = name.chars().map(visible).collect();
        Self { name, text, starts, end: text.trim_end().len() }
    }

    /// A byte offset moved into the text and onto a character.
    fn clamp(&self, offset: u32) -> usize {
        let mut offset = (offset as usize).min(self.end);
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    /// Index of the line that holds a byte.
    fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    /// A line without its line break.
    fn line(&self, line: usize) -> &'t str {
        let end = self.starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let text = self.text.get(self.line_start(line)..end).unwrap_or("");
        text.strip_suffix('\r').unwrap_or(text)
    }

    /// Display column of a byte offset within its line.
    fn column(&self, line: usize, offset: usize) -> usize {
        let within = offset.saturating_sub(self.line_start(line));
        let before = self.line(line).char_indices().take_while(|(i, _)| *i < within);
        before.map(|(_, c)| width(c)).sum()
    }
}

/// Columns a character takes on a terminal (East Asian wide forms two, combining marks none).
fn width(c: char) -> usize {
    match c as u32 {
        0x09 => TAB_COLUMNS,
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Control and text-direction characters must not reach the terminal.
fn visible(c: char) -> char {
    match c as u32 {
        0x00..=0x1f => char::from_u32(0x2400 + c as u32).unwrap_or('?'),
        0x7f => '\u{2421}',
        0x80..=0x9f | 0x200e..=0x200f | 0x202a..=0x202e | 0x2066..=0x2069 => '\u{fffd}',
        _ => c,
    }
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Error,
    Warning,
    Frame,
    Strong,
}

impl Paint {
    fn put(self, out: &mut String, style: Style, text: &str) {
        if !self.colour || text.is_empty() {
            out.push_str(text);
            return;
        }
        out.push_str(match style {
            Style::Error => "\x1b[1;31m",
            Style::Warning => "\x1b[1;33m",
            Style::Frame => "\x1b[1;34m",
            Style::Strong => "\x1b[1m",
        });
        out.push_str(text);
        out.push_str("\x1b[0m");
    }
}

/// An underlined part of one line.
struct Marker<'d> {
    line: usize,
    /// Display columns `from..to`, at least one.
    from: usize,
    to: usize,
    primary: bool,
    label: &'d str,
}

struct Rendering<'a> {
    source: &'a Source<'a>,
    paint: Paint,
    diag: &'a Diagnostic,
    /// Where else the same is said.
    others: Vec<Span>,
}

impl<'a> Rendering<'a> {
    fn severity(&self) -> (Style, &'static str) {
        match self.diag.severity {
            Severity::Error => (Style::Error, "error"),
            Severity::Warning => (Style::Warning, "warning"),
        }
    }

    fn write(&self, out: &mut String) {
        let (style, word) = self.severity();
        self.paint.put(out, style, &format!("{word}[{}]", self.diag.code));
        let message: String = self.diag.message.chars().map(visible).collect();
        self.paint.put(out, Style::Strong, &format!(": {message}"));
        out.push('\n');

        let mut markers = self.markers(self.diag.span, true, &self.diag.label);
        for (span, label) in &self.diag.related {
            markers.extend(self.markers(*span, false, label));
        }
        let mut lines: Vec<usize> = markers.iter().map(|m| m.line).collect();
        lines.sort_unstable();
        lines.dedup();
        let digits = lines.last().map_or(1, |last| (last + 1).to_string().len());

        let at = self.source.clamp(self.diag.span.start);
        let line = self.source.line_of(at);
        let before = self.source.text.get(self.source.line_start(line)..at).unwrap_or("");
        let column = before.chars().count() + 1;
        let margin = " ".repeat(digits);
        self.paint.put(out, Style::Frame, &format!("{margin}--> "));
        let _ = writeln!(out, "{}:{}:{column}", self.source.name, line + 1);
        self.frame(out, &margin, "|");
        out.push('\n');

        let mut notes = Vec::new();
        let mut last: Option<usize> = None;
        for &line in &lines {
            match last.map(|last| line - last) {
                None | Some(1) => {}
                // One line between two is shown rather than replaced by a line of dots.
                Some(2) => self.line(out, digits, line - 1, &[], &mut notes),
                Some(_) => {
                    self.paint.put(out, Style::Frame, "...");
                    out.push('\n');
                }
            }
            last = Some(line);
            let here: Vec<&Marker<'_>> = markers.iter().filter(|m| m.line == line).collect();
            self.line(out, digits, line, &here, &mut notes);
        }
        notes.extend(self.elsewhere());
        let hints = self.diag.hints.iter().map(|hint| ("help", hint.clone()));
        if !notes.is_empty() || !self.diag.hints.is_empty() {
            self.frame(out, &margin, "|");
            out.push('\n');
        }
        for (word, text) in notes.into_iter().map(|n| ("note", n)).chain(hints) {
            self.frame(out, &margin, "= ");
            self.paint.put(out, Style::Strong, &format!("{word}: "));
            out.extend(text.chars().map(visible));
            out.push('\n');
        }
    }

    /// The lines where else the same is said.
    fn elsewhere(&self) -> Option<String> {
        let source = self.source;
        let line = |span: &Span| source.line_of(source.clamp(span.start)) + 1;
        let mut lines: Vec<usize> = self.others.iter().map(line).collect();
        lines.sort_unstable();
        lines.dedup();
        let more = lines.len().saturating_sub(SAME_LINES_MAX);
        lines.truncate(SAME_LINES_MAX);
        let mut listed: Vec<String> = lines.iter().map(usize::to_string).collect();
        let last = if more > 0 { Some(format!("{more} more")) } else { listed.pop() }?;
        let lines = match &listed[..] {
            [] => format!("line {last}"),
            listed => format!("lines {} and {last}", listed.join(", ")),
        };
        Some(format!("the same at {} other places, on {lines}", self.others.len()))
    }

    fn frame(&self, out: &mut String, margin: &str, text: &str) {
        self.paint.put(out, Style::Frame, &format!("{margin} {text}"));
    }

    /// The markers of a span: one, or one on its first and one on its last line.
    fn markers<'d>(&self, span: Span, primary: bool, label: &'d str) -> Vec<Marker<'d>> {
        let source = self.source;
        let (start, end) = (source.clamp(span.start), source.clamp(span.end.max(span.start)));
        // The end is exclusive: a span that ends with a line break does not reach the next line.
        let last_byte = if end > start { end - 1 } else { start };
        let (first, last) = (source.line_of(start), source.line_of(last_byte));
        let from = source.column(first, start);
        if first == last {
            let to = source.column(last, end).max(from + 1);
            return vec![Marker { line: first, from, to, primary, label }];
        }
        let line_end = |line: usize| {
            source.column(line, source.line_start(line) + source.line(line).trim_end().len())
        };
        let indent = source.line(last).len() - source.line(last).trim_start().len();
        let last_from = source.column(last, source.line_start(last) + indent);
        let last_to = source.column(last, end).max(last_from + 1);
        vec![
            Marker { line: first, from, to: line_end(first).max(from + 1), primary, label: "" },
            Marker { line: last, from: last_from, to: last_to, primary, label },
        ]
    }

    /// A source line, clipped, and the rows of its markers.
    fn line(
        &self,
        out: &mut String,
        digits: usize,
        line: usize,
        markers: &[&Marker<'_>],
        notes: &mut Vec<String>,
    ) {
        let text = self.source.line(line);
        let window = Window::around(text, markers);
        self.paint.put(out, Style::Frame, &format!("{:>digits$} |", line + 1));
        let shown = window.cut(text);
        if !shown.is_empty() {
            out.push(' ');
            out.push_str(&shown);
        }
        out.push('\n');

        let mut visible_markers: Vec<Marker<'_>> = Vec::new();
        for marker in markers {
            match window.place(marker) {
                Some(marker) => visible_markers.push(marker),
                None if marker.label.is_empty() => {}
                None => notes.push(format!(
                    "{} (line {}, display column {})",
                    marker.label,
                    line + 1,
                    marker.from + 1
                )),
            }
        }
        visible_markers.sort_by_key(|m| (m.from, !m.primary));
        if !visible_markers.is_empty() {
            self.underline(out, &" ".repeat(digits), &visible_markers);
        }
    }

    fn style(&self, primary: bool) -> Style {
        if primary { self.severity().0 } else { Style::Frame }
    }

    /// The row of carets, with the last label beside it, and the other labels below.
    fn underline(&self, out: &mut String, margin: &str, markers: &[Marker<'_>]) {
        let width = markers.iter().map(|m| m.to).max().unwrap_or(0);
        let mut row: Vec<Option<bool>> = vec![None; width];
        for marker in markers {
            for cell in row.iter_mut().take(marker.to).skip(marker.from) {
                // The caret stays visible under an overlapping remark.
                *cell = Some(marker.primary || *cell == Some(true));
            }
        }
        self.frame(out, margin, "| ");
        for run in row.chunk_by(|a, b| a == b) {
            match run.first() {
                Some(Some(primary)) => {
                    let mark = if *primary { "^" } else { "-" };
                    self.paint.put(out, self.style(*primary), &mark.repeat(run.len()));
                }
                _ => out.push_str(&" ".repeat(run.len())),
            }
        }
        // A label fits beside the row if its marker is the last and nothing reaches past it.
        let beside = markers.last().filter(|m| m.to == width);
        if let Some(marker) = beside.filter(|m| !m.label.is_empty()) {
            out.push(' ');
            self.label(out, marker);
        }
        out.push('\n');
        let below = if beside.is_some() { &markers[..markers.len() - 1] } else { markers };
        let below: Vec<&Marker<'_>> = below.iter().filter(|m| !m.label.is_empty()).collect();
        if below.is_empty() {
            return;
        }
        self.stems(out, margin, &below);
        out.push('\n');
        for (i, marker) in below.iter().enumerate().rev() {
            let column = self.stems(out, margin, &below[..i]);
            if marker.from > column || i == 0 {
                out.push_str(&" ".repeat(marker.from.saturating_sub(column)));
            } else {
                out.push(' ');
            }
            self.label(out, marker);
            out.push('\n');
        }
    }

    fn label(&self, out: &mut String, marker: &Marker<'_>) {
        let text: String = marker.label.chars().map(visible).collect();
        self.paint.put(out, self.style(marker.primary), &text);
    }

    /// `|` under each marker; returns the column after the last.
    fn stems(&self, out: &mut String, margin: &str, markers: &[&Marker<'_>]) -> usize {
        self.frame(out, margin, "| ");
        let mut column = 0;
        for marker in markers {
            if marker.from < column {
                continue;
            }
            out.push_str(&" ".repeat(marker.from - column));
            self.paint.put(out, self.style(marker.primary), "|");
            column = marker.from + 1;
        }
        column
    }
}

/// The display columns of a line that are shown.
struct Window {
    from: usize,
    to: usize,
    clipped_left: bool,
    clipped_right: bool,
}

impl Window {
    fn around(text: &str, markers: &[&Marker<'_>]) -> Self {
        let total: usize = text.chars().map(width).sum();
        if total <= LINE_COLUMNS_MAX {
            return Self { from: 0, to: total, clipped_left: false, clipped_right: false };
        }
        let focus = markers.iter().find(|m| m.primary).or(markers.first());
        let (focus, focus_end) = focus.map_or((0, 0), |m| (m.from, m.to));
        let fits = focus_end + CONTEXT_COLUMNS / 4 <= LINE_COLUMNS_MAX;
        let from = if fits { 0 } else { focus.saturating_sub(CONTEXT_COLUMNS) }
            .min(total.saturating_sub(LINE_COLUMNS_MAX - CONTEXT_COLUMNS));
        let to = (from + LINE_COLUMNS_MAX).min(total);
        Self { from, to, clipped_left: from > 0, clipped_right: to < total }
    }

    /// The shown part of the line with tabs expanded.
    fn cut(&self, text: &str) -> String {
        let mut out = String::new();
        if self.clipped_left {
            out.push('…');
        }
        let mut column = 0;
        for c in text.chars() {
            let (start, end) = (column, column + width(c));
            column = end;
            if start >= self.to {
                break;
            }
            if start >= self.from && end <= self.to {
                if c == '\t' {
                    out.push_str(&" ".repeat(TAB_COLUMNS));
                } else {
                    out.push(visible(c));
                }
            } else if end > self.from {
                // A wide character or tab cut in two by the edge.
                out.push_str(&" ".repeat(end.min(self.to) - start.max(self.from)));
            }
        }
        if self.clipped_right {
            out.push('…');
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// A marker in columns of the shown part, if any of it is shown.
    fn place<'d>(&self, marker: &Marker<'d>) -> Option<Marker<'d>> {
        let shift = usize::from(self.clipped_left);
        let (from, to) = (marker.from.max(self.from), marker.to.min(self.to.max(self.from) + 1));
        if from >= to {
            return None;
        }
        Some(Marker {
            line: marker.line,
            from: from - self.from + shift,
            to: to - self.from + shift,
            primary: marker.primary,
            label: marker.label,
        })
    }
}
