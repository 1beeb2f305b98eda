//! The `.slt` format: query text and what it must answer, on every backend.
//!
//! ```text
//! # A comment. Directives hold until the next one of their kind.
//! traces web.pcap                    # or: traces eth0=eth0.pcap eth1=eth1.pcap
//! params minlen=60
//! protocols mine.ddl                 # below tests/slt
//! sets both=eth0,eth1
//!
//! rows                               # the result rows, as CSV; `rows NAME` picks one query of several
//! SELECT count(*) AS n FROM tcp
//! ----
//! n
//! 42
//!
//! explain                            # the plan; `explain verbose`, `explain live`, `explain code`
//! SELECT …
//! ----
//! …
//!
//! error                              # what the compiler says; `error live` plans for endless streams
//! SELECT nope FROM tcp
//! ----
//! …
//!
//! ledger                             # the books after the run
//! …
//! ```
//!
//! A record ends at the first empty line after `----` and its answer; an answer that has empty lines itself is closed by a
//! line `----`. `UPDATE=1` rewrites the answers.

use std::fmt::Write as _;

/// A parsed suite.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// In file order.
    pub items: Vec<Item>,
}

/// A piece of a suite.
#[derive(Clone, Debug)]
pub enum Item {
    /// Comment or blank line, kept for rewriting.
    Verbatim(String),
    /// `traces …` and its kind.
    Directive {
        /// First word.
        word: String,
        /// The others.
        arguments: Vec<String>,
    },
    /// A record.
    Record(Record),
}

/// A query and what it must answer.
#[derive(Clone, Debug)]
pub struct Record {
    /// Line of its head, from 1.
    pub line: usize,
    /// What is looked at.
    pub kind: Kind,
    /// Words after the kind.
    pub flags: Vec<String>,
    /// Query text.
    pub text: String,
    /// The answer.
    pub expected: String,
}

/// What of a query is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Result rows as CSV.
    Rows,
    /// EXPLAIN.
    Explain,
    /// Diagnostics.
    Error,
    /// The books.
    Ledger,
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "rows" => Some(Kind::Rows),
            "explain" => Some(Kind::Explain),
            "error" => Some(Kind::Error),
            "ledger" => Some(Kind::Ledger),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Rows => "rows",
            Kind::Explain => "explain",
            Kind::Error => "error",
            Kind::Ledger => "ledger",
        }
    }
}

/// Why a suite does not parse.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SuiteError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

const RULE: &str = "----";
const DIRECTIVES: [&str; 4] = ["traces", "params", "protocols", "sets"];

impl Suite {
    /// Reads a suite.
    pub fn parse(text: &str) -> Result<Self, SuiteError> {
        let lines: Vec<&str> = text.lines().collect();
        let mut items = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.split_first() {
                None => items.push(Item::Verbatim(String::new())),
                Some((first, _)) if first.starts_with('#') => {
                    items.push(Item::Verbatim(line.to_owned()));
                }
                Some((word, rest)) if DIRECTIVES.contains(word) => {
                    let arguments = rest.iter().map(|s| (*s).to_owned()).collect();
                    items.push(Item::Directive { word: (*word).to_owned(), arguments });
                }
                Some((word, rest)) => {
                    let kind = Kind::parse(word)
                        .ok_or(SuiteError { line: at + 1, what: "neither directive nor record" })?;
                    let (record, next) = Self::record(&lines, at, kind, rest)?;
                    items.push(Item::Record(record));
                    at = next;
                    continue;
                }
            }
            at += 1;
        }
        Ok(Self { items })
    }

    fn record(
        lines: &[&str],
        head: usize,
        kind: Kind,
        flags: &[&str],
    ) -> Result<(Record, usize), SuiteError> {
        let rule = (head + 1..lines.len())
            .find(|&i| lines[i] == RULE)
            .ok_or(SuiteError { line: head + 1, what: "the record has no `----`" })?;
        let text = lines[head + 1..rule].join("\n");
        // An answer with empty lines is closed by a second rule that comes before the next record's.
        let blank = (rule + 1..lines.len()).find(|&i| lines[i].is_empty()).unwrap_or(lines.len());
        let closing = (rule + 1..lines.len()).find(|&i| lines[i] == RULE);
        let next_head = (blank..lines.len()).find(|&i| {
            lines[i].split_whitespace().next().is_some_and(|w| Kind::parse(w).is_some())
        });
        let (end, next) = match closing {
            Some(close) if next_head.is_none_or(|head| close < head) => (close, close + 1),
            _ => (blank, blank),
        };
        let record = Record {
            line: head + 1,
            kind,
            flags: flags.iter().map(|s| (*s).to_owned()).collect(),
            text,
            expected: lines[rule + 1..end].join("\n"),
        };
        Ok((record, next))
    }

    /// The suite as text, as `UPDATE=1` writes it back.
    pub fn print(&self) -> String {
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Verbatim(line) => {
                    out.push_str(line);
                    out.push('\n');
                }
                Item::Directive { word, arguments } => {
                    let line = format!("{word} {}", arguments.join(" "));
                    let _ = writeln!(out, "{}", line.trim_end());
                }
                Item::Record(record) => {
                    out.push_str(record.kind.word());
                    for flag in &record.flags {
                        let _ = write!(out, " {flag}");
                    }
                    let answer = record.expected.trim_end();
                    let _ = write!(out, "\n{}\n{RULE}\n", record.text);
                    if !answer.is_empty() {
                        let _ = writeln!(out, "{answer}");
                    }
                    if answer.lines().any(str::is_empty) {
                        let _ = writeln!(out, "{RULE}");
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# about\ntraces a.pcap\n\nrows\nSELECT 1\nFROM tcp\n----\nx\n1\n\nexplain verbose\nSELECT 2\n----\nplan\n\nmore\n----\n\nerror\nSELECT\n----\noops\n";

    #[test]
    fn records_and_their_answers_are_found() {
        let suite = Suite::parse(TEXT).unwrap();
        let records: Vec<_> = suite
            .items
            .iter()
            .filter_map(|i| if let Item::Record(r) = i { Some(r) } else { None })
            .collect();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].text, "SELECT 1\nFROM tcp");
        assert_eq!(records[0].expected, "x\n1");
        assert_eq!(records[1].expected, "plan\n\nmore");
        assert_eq!(records[1].flags, ["verbose"]);
        assert_eq!(records[2].line, 19);
    }

    #[test]
    fn printing_gives_the_text_back() {
        assert_eq!(Suite::parse(TEXT).unwrap().print(), TEXT);
    }

    #[test]
    fn a_record_without_an_answer_is_refused() {
        assert!(Suite::parse("rows\nSELECT 1\n").is_err());
        assert!(Suite::parse("nonsense\n").is_err());
    }
}
