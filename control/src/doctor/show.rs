//! Findings, for people.

use std::fmt::Write as _;
use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr;

use super::{Finding, State};

/// Sign and colour (SGR) of a state.
fn sign(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ok => ("✓", "32"),
        State::Note => ("·", "2"),
        State::Advice => ("!", "33"),
        State::Problem => ("✗", "31"),
    }
}

/// One block for each subject, one line for each finding, and below it what to do. On a terminal, lines are as long as it is wide.
pub(super) fn text(all: &[Finding]) -> String {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let is_terminal = std::io::stdout().is_terminal();
    let width = || ratatui::crossterm::terminal::size().ok().map(|(columns, _)| columns.into());
    render(all, !no_colour && is_terminal, is_terminal.then(width).flatten())
}

/// Fewest columns in which words are set; lines of a terminal that has fewer are broken wherever they end.
const TEXT_MIN: usize = 24;

fn render(all: &[Finding], has_colour: bool, columns: Option<usize>) -> String {
    let width = all.iter().map(|f| f.check.width()).max().unwrap_or(0);
    // Where texts begin: behind the sign and the check.
    let indent = 4 + width + 2;
    let lines = |text: &str, indent: usize| {
        let room = columns.map(|columns| columns.saturating_sub(indent));
        let wrapped = match room.filter(|room| *room >= TEXT_MIN) {
            Some(room) => wrap(text, room),
            None => vec![text.to_owned()],
        };
        wrapped.join(&format!("\n{:indent$}", ""))
    };
    let mut out = String::new();
    let mut subject = "";
    for finding in all {
        if finding.subject != subject {
            let gap = if subject.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}{}", finding.subject);
            subject = &finding.subject;
        }
        let (sign, colour) = sign(finding.state);
        let sign =
            if has_colour { format!("\x1b[{colour}m{sign}\x1b[0m") } else { sign.to_owned() };
        let found = lines(&finding.found, indent);
        let _ = writeln!(out, "  {sign} {:width$}  {found}", finding.check);
        if !finding.remedy.is_empty() {
            let remedy = lines(&finding.remedy, indent + 2);
            let _ = writeln!(out, "    {:width$}  → {remedy}", "");
        }
    }
    out
}

/// A text in lines of at most so many columns, broken between words. A word that is longer has a line of its own.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_it_is_for() {
        let finding = |subject: &str, check, state, remedy: &str| Finding {
            subject: subject.to_owned(),
            check,
            state,
            found: "something".to_owned(),
            remedy: remedy.to_owned(),
        };
        let all = [
            finding("host", "kernel", State::Ok, ""),
            finding("eth0", "MTU", State::Advice, "make it smaller"),
        ];
        let expected = "host\n  ✓ kernel  something\n\neth0\n  ! MTU     something\n            → make it smaller\n";
        assert_eq!(render(&all, false, None), expected);
        assert!(render(&all, true, None).contains("\x1b[33m!\x1b[0m"));
        // A terminal that is narrow: texts stay in their column.
        let mut long = all.clone();
        long[1].found = "twelve words of a finding that is longer than its line is".to_owned();
        long[1].remedy = "see the page of a-word-that-is-longer-than-a-line".to_owned();
        let expected = "\
            \neth0\n  ! MTU     twelve words of a finding\n            that is longer than its line\n            is\n\
            \x20           → see the page of\n              a-word-that-is-longer-than-a-line\n";
        let narrow = render(&long, false, Some(40));
        assert!(narrow.ends_with(expected), "{narrow}");
        let lines = render(&long, false, Some(30)).lines().count();
        assert_eq!(lines, render(&long, false, None).lines().count(), "too narrow for words");
    }
}
