//! Which words are keywords, and where (gsql.md §2: keywords match in any case).
//!
//! Only words that open a clause or join operands are reserved; everything else (`slack`, `cube`,
//! `window`, `last`, `asc`, …) is a keyword by its place alone, so that protocols may name fields freely.

/// Words that always open a clause.
const CLAUSES: [&str; 8] = [
    "SELECT",
    "FROM",
    "WHERE",
    "SUPERGROUP",
    "HAVING",
    "CLEANING_WHEN",
    "CLEANING_BY",
    "CLOSING_WHEN",
];

/// Join keywords, which stand before FROM.
pub(crate) const JOINS: [&str; 6] = [
    "INNER_JOIN",
    "OUTER_JOIN",
    "LEFT_OUTER_JOIN",
    "RIGHT_OUTER_JOIN",
    "FILTER_JOIN",
    "WATCHLIST_JOIN",
];

/// Words that are never an unqualified column or a table variable.
const RESERVED: [&str; 20] = [
    "SELECT",
    "FROM",
    "WHERE",
    "SUPERGROUP",
    "HAVING",
    "CLEANING_WHEN",
    "CLEANING_BY",
    "CLOSING_WHEN",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "AS",
    "CASE",
    "WHEN",
    "DISTINCT",
    "TRUE",
    "FALSE",
];

/// Words that are columns where one is expected, but cannot be a table variable without `AS`.
const SOFT: [&str; 8] = ["GROUP", "ORDER", "LIMIT", "THEN", "ELSE", "END", "CLEANING", "CLOSING"];

fn among(word: &str, list: &[&str]) -> bool {
    list.iter().any(|k| k.eq_ignore_ascii_case(word))
}

/// Whether `word` can never be an unqualified column.
pub fn is_reserved(word: &str) -> bool {
    among(word, &RESERVED) || among(word, &JOINS)
}

/// Whether `word` after a table ends the table rather than naming it.
pub(crate) fn ends_table(word: &str) -> bool {
    is_reserved(word) || among(word, &SOFT)
}

/// Whether `word` opens a clause wherever it stands unqualified.
pub(crate) fn is_clause(word: &str) -> bool {
    among(word, &CLAUSES) || among(word, &JOINS)
}
