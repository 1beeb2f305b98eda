//! Where messages are collected, so that one run reports all errors of a file.

use std::cell::RefCell;

use wt_lang::{Diagnostic, Severity, Span};

/// Messages kept per run; more would only bury the first.
const DIAGNOSTICS_MAX: usize = 100;

/// An error was recorded; whoever receives it stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported;

/// A bound thing, or the knowledge that its error is recorded.
pub(crate) type Bound<T> = Result<T, Reported>;

/// The list of messages.
#[derive(Default)]
pub(crate) struct Diags {
    list: RefCell<Vec<Diagnostic>>,
}

impl Diags {
    /// Records a message; the same message at the same place is recorded once.
    pub(crate) fn report(&self, diagnostic: Diagnostic) -> Reported {
        let mut list = self.list.borrow_mut();
        let known =
            list.iter().any(|d| d.span == diagnostic.span && d.message == diagnostic.message);
        if !known && list.len() < DIAGNOSTICS_MAX {
            list.push(diagnostic);
        }
        Reported
    }

    /// How many messages there are.
    pub(crate) fn mark(&self) -> usize {
        self.list.borrow().len()
    }

    /// Whether an error was recorded since `mark`.
    pub(crate) fn failed_since(&self, mark: usize) -> bool {
        let list = self.list.borrow();
        list.iter().skip(mark).any(|d| d.severity == Severity::Error)
    }

    /// Rewrites the messages recorded since `mark`.
    pub(crate) fn relocate(&self, mark: usize, mut rewrite: impl FnMut(&mut Diagnostic)) {
        self.list.borrow_mut().iter_mut().skip(mark).for_each(&mut rewrite);
    }

    /// Runs `f` without keeping what it reports.
    pub(crate) fn quietly<T>(&self, f: impl FnOnce() -> T) -> T {
        let kept = std::mem::take(&mut *self.list.borrow_mut());
        let result = f();
        *self.list.borrow_mut() = kept;
        result
    }

    /// Errors and warnings, each in text order.
    pub(crate) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut list = self.list.into_inner();
        list.sort_by_key(|d| (d.span.start, d.span.end));
        list.into_iter().partition(|d| d.severity == Severity::Error)
    }
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn either<S: AsRef<str>>(names: &[S]) -> String {
    listed(names, "or")
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn all<S: AsRef<str>>(names: &[S]) -> String {
    listed(names, "and")
}

fn listed<S: AsRef<str>>(names: &[S], word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
    }
}

/// The hint that lists near names, if there are any.
pub(crate) fn did_you_mean(diagnostic: Diagnostic, near: &[&str]) -> Diagnostic {
    if near.is_empty() {
        diagnostic
    } else {
        diagnostic.hint(format!("Did you mean {}?", either(near)))
    }
}

/// Line and column (from 1) of a byte offset.
pub(crate) fn line_column(text: &str, span: Span) -> (usize, usize) {
    let before = text.get(..span.start as usize).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}
