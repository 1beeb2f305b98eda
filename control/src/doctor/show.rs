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

/// One block for each subject, one line for each finding, and below it what to do.
pub(super) fn text(all: &[Finding]) -> String {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    render(all, !no_colour && std::io::stdout().is_terminal())
}

fn render(all: &[Finding], has_colour: bool) -> String {
    let width = all.iter().map(|f| f.check.width()).max().unwrap_or(0);
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
        let _ = writeln!(out, "  {sign} {:width$}  {}", finding.check, finding.found);
        if !finding.remedy.is_empty() {
            let _ = writeln!(out, "    {:width$}  → {}", "", finding.remedy);
        }
    }
    out
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
        assert_eq!(render(&all, false), expected);
        assert!(render(&all, true).contains("\x1b[33m!\x1b[0m"));
    }
}
