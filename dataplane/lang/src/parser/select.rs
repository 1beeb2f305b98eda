//! SELECT and its clauses (gsql.md §10–§14; protocols.md).

use super::{PResult, Parser, Reported};
use crate::ast::{Expr, From, GroupItem, GroupVar, OrderItem, Select, SelectItem, SpanEq};
use crate::diag::Diagnostic;
use crate::keyword;
use crate::lexer::Tok;
use crate::span::{Ident, Span};

/// Clauses in the order they must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clause {
    From,
    Where,
    GroupBy,
    Supergroup,
    Having,
    CleaningWhen,
    CleaningBy,
    ClosingWhen,
    OrderBy,
    Limit,
}

impl Clause {
    fn keyword(self) -> &'static str {
        match self {
            Self::From => "FROM",
            Self::Where => "WHERE",
            Self::GroupBy => "GROUP BY",
            Self::Supergroup => "SUPERGROUP",
            Self::Having => "HAVING",
            Self::CleaningWhen => "CLEANING_WHEN",
            Self::CleaningBy => "CLEANING_BY",
            Self::ClosingWhen => "CLOSING_WHEN",
            Self::OrderBy => "ORDER BY",
            Self::Limit => "LIMIT",
        }
    }
}

/// First words of clauses after FROM, for slips, with what they open.
const CLAUSE_WORDS: [(&str, Clause); 9] = [
    ("WHERE", Clause::Where),
    ("GROUP", Clause::GroupBy),
    ("SUPERGROUP", Clause::Supergroup),
    ("HAVING", Clause::Having),
    ("CLEANING_WHEN", Clause::CleaningWhen),
    ("CLEANING_BY", Clause::CleaningBy),
    ("CLOSING_WHEN", Clause::ClosingWhen),
    ("ORDER", Clause::OrderBy),
    ("LIMIT", Clause::Limit),
];

/// What has been read of a SELECT.
#[derive(Default)]
struct Clauses {
    from: Option<From>,
    where_: Option<Expr>,
    group_by: Vec<GroupItem>,
    supergroup: Option<Vec<Ident>>,
    having: Option<Expr>,
    cleaning_when: Option<Expr>,
    cleaning_by: Option<Expr>,
    closing_when: Option<Expr>,
    order_by: Vec<OrderItem>,
    limit: Option<Expr>,
    /// Clauses seen so far, with their places.
    seen: Vec<(Clause, Span)>,
    failed: bool,
}

impl Parser<'_> {
    /// The rest of a SELECT whose keyword, at `start`, has been consumed.
    pub(super) fn select(&mut self, start: Span) -> PResult<Select> {
        let mut clauses = Clauses::default();
        let distinct = self.eat_word("DISTINCT");
        let items = match self.items(Self::select_item, Self::at_from_or_typo) {
            Ok(items) => items,
            Err(Reported) => {
                clauses.failed = true;
                Vec::new()
            }
        };
        self.select_from(&mut clauses, start);
        while !self.at_query_end() && !self.at_query_start() {
            let before = self.pos;
            self.clause(&mut clauses);
            if self.pos == before {
                self.bump();
            }
        }
        match clauses.from {
            Some(from) if !clauses.failed => Ok(Select {
                distinct,
                items,
                from,
                where_: clauses.where_,
                group_by: clauses.group_by,
                supergroup: clauses.supergroup,
                having: clauses.having,
                cleaning_when: clauses.cleaning_when,
                cleaning_by: clauses.cleaning_by,
                closing_when: clauses.closing_when,
                order_by: clauses.order_by,
                limit: clauses.limit,
                span: SpanEq(self.span_since(start)),
            }),
            _ => Err(Reported),
        }
    }

    fn at_query_end(&self) -> bool {
        match self.peek() {
            Tok::Eof | Tok::Semicolon => true,
            Tok::RParen => self.subqueries > 0,
            _ => false,
        }
    }

    /// Whether the SELECT list ends here: at a clause, or at a slip for FROM.
    fn at_from_or_typo(&self) -> bool {
        self.at_clause() || self.misspelt_from().is_some()
    }

    fn misspelt_from(&self) -> Option<&'static str> {
        // `SELECT time FORM tcp`: a column would not be followed by a bare word.
        let follows = matches!(self.peek_at(1), Tok::Word | Tok::LParen | Tok::LBracket);
        let word = self.word();
        if !follows || keyword::is_reserved(word) {
            return None;
        }
        if let Some(join) = self.typo_of(word, &keyword::JOINS) {
            return Some(join);
        }
        if keyword::ends_table(self.word_at(1)) {
            return None;
        }
        self.typo_of(word, &["FROM"])
    }

    fn select_from(&mut self, clauses: &mut Clauses, start: Span) {
        if let Some(meant) = self.misspelt_from()
            && !self.at_from()
        {
            clauses.failed = true;
            let (span, word) = (self.span(), self.word());
            self.unknown_keyword(span, word, meant);
            self.bump();
            if meant == "FROM" {
                clauses.seen.push((Clause::From, span));
                if self.tables().is_err() {
                    self.skip_to(Self::at_clause);
                }
                return;
            }
        }
        while self.at_stray_closer() {
            clauses.failed = true;
            self.after_operand("`FROM`");
            self.bump();
        }
        if self.at_from() {
            return self.read_from(clauses);
        }
        // Reported where FROM should stand: after the last word of the list.
        let already = clauses.failed;
        clauses.failed = true;
        if already && !self.at_query_end() && !self.at_clause() {
            return;
        }
        let list = self.span_since(start);
        let found = self.found();
        self.report(
            Diagnostic::error("missing-from", self.span(), "the query has no FROM")
                .label(format!("expected `FROM` before {found}"))
                .related(list, "this list has no source")
                .hint("Name the source: `FROM tcp`, `FROM eth0.ip` or the name of a query."),
        );
    }

    /// A closing bracket that closes nothing, not even a subquery.
    fn at_stray_closer(&self) -> bool {
        matches!(self.peek(), Tok::RParen | Tok::RBracket | Tok::RBrace) && !self.at_query_end()
    }

    fn read_from(&mut self, clauses: &mut Clauses) {
        clauses.seen.push((Clause::From, self.span()));
        match self.sources() {
            Ok(from) => clauses.from = Some(from),
            Err(Reported) => {
                clauses.failed = true;
                self.skip_to(Self::at_clause);
            }
        }
    }

    /// The keyword that the word here is a slip of, among clauses after FROM.
    pub(super) fn clause_typo(&self) -> Option<&'static str> {
        self.typo_of(self.word(), &CLAUSE_WORDS.map(|(word, _)| word))
    }

    /// The clause that starts here and how many tokens its keyword has before BY or WHEN.
    fn clause_here(&self) -> Option<Clause> {
        if self.at(&Tok::Colon) {
            return self.word_at_is(1, "SUPERGROUP").then_some(Clause::Supergroup);
        }
        if self.at_from() {
            return Some(Clause::From);
        }
        if self.at_word("CLEANING") {
            let by = self.word_at_is(1, "BY");
            return Some(if by { Clause::CleaningBy } else { Clause::CleaningWhen });
        }
        if self.at_word("CLOSING") {
            return Some(Clause::ClosingWhen);
        }
        CLAUSE_WORDS.iter().find(|(word, _)| self.at_word(word)).map(|(_, clause)| *clause)
    }

    /// One clause after FROM, or a message about what stands in its place.
    fn clause(&mut self, clauses: &mut Clauses) {
        let span = self.span();
        let clause = match self.clause_here() {
            Some(clause) => clause,
            None => match self.clause_typo() {
                Some(meant) => {
                    clauses.failed = true;
                    let word = self.word();
                    self.unknown_keyword(span, word, meant);
                    let known = CLAUSE_WORDS.iter().find(|(word, _)| *word == meant);
                    known.map_or(Clause::Where, |(_, clause)| *clause)
                }
                None => return self.no_clause(clauses),
            },
        };
        self.check_order(clauses, clause, span);
        if clause == Clause::From {
            // Reported by the order check: a second FROM, or one after another clause.
            return self.read_from(clauses);
        }
        if self.clause_body(clause, clauses).is_err() {
            clauses.failed = true;
            self.skip_to(Self::at_clause);
        }
    }

    fn check_order(&mut self, clauses: &mut Clauses, clause: Clause, span: Span) {
        let keyword = clause.keyword();
        if let Some((_, first)) = clauses.seen.iter().find(|(seen, _)| *seen == clause) {
            let first = *first;
            clauses.failed = true;
            let error =
                Diagnostic::error("duplicate-clause", span, format!("a second {keyword} clause"))
                    .related(first, "the first is here");
            let error = match clause {
                Clause::Where | Clause::Having => error.hint("Join conditions with AND."),
                Clause::From if !self.at_word("FROM") => {
                    error.hint("The kind of join stands before FROM: `INNER_JOIN FROM a, b`.")
                }
                Clause::From => error.hint("Several sources are separated by commas."),
                _ => error,
            };
            self.report(error);
        } else if let Some((later, place)) =
            clauses.seen.iter().filter(|(seen, _)| *seen > clause).min_by_key(|(seen, _)| *seen)
        {
            let (later, place) = (later.keyword(), *place);
            clauses.failed = true;
            self.report(
                Diagnostic::error(
                    "clause-order",
                    span,
                    format!("{keyword} must come before {later}"),
                )
                .label("too late")
                .related(place, format!("{later} is here"))
                .hint(
                    "The order is SELECT, FROM, WHERE, GROUP BY, SUPERGROUP, HAVING, \
                     CLEANING_WHEN, CLEANING_BY, CLOSING_WHEN, ORDER BY, LIMIT.",
                ),
            );
        }
        clauses.seen.push((clause, span));
    }

    /// Neither a clause nor the end: says what it looks like.
    fn no_clause(&mut self, clauses: &mut Clauses) {
        clauses.failed = true;
        if self.at_stray_closer() {
            self.after_operand("a clause");
            self.bump();
            return;
        }
        let word = self.word().to_ascii_uppercase();
        let hint = match word.as_str() {
            "ON" | "USING" => Some("The condition of a join is part of WHERE."),
            "IS" => Some(super::expr::NO_NULL),
            "OFFSET" => Some("LIMIT takes only a count."),
            "UNION" | "INTERSECT" | "EXCEPT" => {
                Some("Streams are united by `MERGE a.tb : b.tb FROM a, b`.")
            }
            "QUALIFY" => Some("Conditions on aggregates stand in HAVING."),
            "WINDOW" | "EMIT" | "TUMBLE" | "HOP" => {
                Some("A window is an ordered grouping expression: `GROUP BY time/60 AS minute`.")
            }
            "ASC" | "DESC" => Some("Sort directions belong to ORDER BY."),
            _ => None,
        };
        let last = clauses.seen.iter().map(|(seen, _)| *seen).max();
        let what = match last {
            None | Some(Clause::From) => "`WHERE`, `GROUP BY` or the end of the query",
            Some(Clause::Where) => "an operator, `GROUP BY` or the end of the query",
            Some(Clause::GroupBy) => "`,`, `HAVING` or the end of the query",
            _ => "an operator, a clause or the end of the query",
        };
        if !self.at(&Tok::Bad) {
            let mut error = self.expected_diagnostic(what);
            if let Some(hint) = hint {
                error = error.hint(hint);
            }
            self.report(error);
        }
        self.skip_to(Self::at_clause);
        if word == "UNION" {
            // The second SELECT has been explained.
            self.last_error_at = Some(self.span().start);
        }
    }

    fn clause_body(&mut self, clause: Clause, clauses: &mut Clauses) -> PResult<()> {
        self.eat(&Tok::Colon);
        let two_words = self.at_word("CLEANING") || self.at_word("CLOSING");
        self.bump();
        match clause {
            Clause::From => {}
            Clause::GroupBy | Clause::OrderBy => self.expect_word("BY")?,
            Clause::CleaningBy if two_words => self.expect_word("BY")?,
            Clause::CleaningWhen | Clause::ClosingWhen if two_words => self.expect_word("WHEN")?,
            _ => {}
        }
        match clause {
            Clause::From => {}
            Clause::Where => clauses.where_ = Some(self.expr()?),
            Clause::GroupBy => {
                clauses.group_by = self.items(Self::group_item, Self::at_group_end)?;
            }
            Clause::Supergroup => {
                clauses.supergroup = Some(self.comma_list(
                    |p| p.free_name("the name of a grouping variable"),
                    Self::at_clause,
                )?);
            }
            Clause::Having => clauses.having = Some(self.expr()?),
            Clause::CleaningWhen => clauses.cleaning_when = Some(self.expr()?),
            Clause::CleaningBy => clauses.cleaning_by = Some(self.expr()?),
            Clause::ClosingWhen => clauses.closing_when = Some(self.expr()?),
            Clause::OrderBy => {
                clauses.order_by = self.items(Self::order_item, Self::at_clause)?;
            }
            Clause::Limit => clauses.limit = Some(self.scalar()?),
        }
        Ok(())
    }

    fn at_group_end(&self) -> bool {
        self.at_clause() || self.at(&Tok::Colon)
    }

    // --- lists -------------------------------------------------------------------------------

    /// A list of expressions with optional names: reports a missing or surplus comma and goes on.
    fn items<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> PResult<T>,
        stop: impl Fn(&Self) -> bool + Copy,
    ) -> PResult<Vec<T>> {
        let mut items = Vec::new();
        let mut failed = false;
        loop {
            match item(self) {
                Ok(value) => items.push(value),
                Err(Reported) => {
                    failed = true;
                    self.skip_to(|p| p.at(&Tok::Comma) || stop(p));
                }
            }
            let before = self.last_span();
            if self.eat(&Tok::Comma) {
                if self.at_clause() || self.at_query_end() {
                    failed = true;
                    let comma = self.last_span();
                    self.report(
                        Diagnostic::error("syntax", comma, "the list ends with a comma")
                            .label("remove it, or add what follows"),
                    );
                    break;
                }
                continue;
            }
            let operand = matches!(
                self.peek(),
                Tok::Word | Tok::Literal(_) | Tok::Param | Tok::Property | Tok::Defined
            );
            if !operand || stop(self) || keyword::ends_table(self.word()) {
                break;
            }
            if self.clause_typo().is_some() && *self.peek_at(1) != Tok::Comma {
                break;
            }
            failed = true;
            self.missing_comma(before);
        }
        if failed { Err(Reported) } else { Ok(items) }
    }

    fn missing_comma(&mut self, before: Span) {
        let (left, right) = (before.of(self.text), self.span().of(self.text));
        let mut error = Diagnostic::error(
            "missing-comma",
            self.span(),
            format!("expected `,` or `AS` between `{}` and `{}`", clip(left), clip(right)),
        )
        .label("expected `,` or `AS` before this");
        error = if left.eq_ignore_ascii_case("INTERVAL") {
            error.hint("Durations are written `5ms`, `10s`, `1m`, `1h` or `1d`.")
        } else if self.at(&Tok::Word) {
            error.hint(format!(
                "Write `… , {right}` for two columns, or `… AS {right}` to name the first."
            ))
        } else {
            error
        };
        self.report(error);
    }

    /// `AS name`, if present.
    fn alias(&mut self) -> PResult<Option<Ident>> {
        if !self.eat_word("AS") {
            return Ok(None);
        }
        self.free_name("a name after AS").map(Some)
    }

    fn select_item(&mut self) -> PResult<SelectItem> {
        let start = self.span();
        if self.eat(&Tok::Star) {
            return Ok(SelectItem::Star { table: None, span: SpanEq(start) });
        }
        if *self.peek_at(1) == Tok::Dot && *self.peek_at(2) == Tok::Star && self.at(&Tok::Word) {
            let table = Some(self.name("a table variable")?);
            self.bump();
            self.bump();
            return Ok(SelectItem::Star { table, span: SpanEq(self.span_since(start)) });
        }
        let expr = self.expr()?;
        let alias = self.alias()?;
        Ok(SelectItem::Expr { expr, alias })
    }

    fn group_item(&mut self) -> PResult<GroupItem> {
        let (first, second) = (self.peek_at(1), self.peek_at(2));
        let call = *first == Tok::LParen;
        let two_words =
            self.at_word("GROUPING") && self.word_at_is(1, "SETS") && *second == Tok::LParen;
        if call && self.at_word("CUBE") {
            self.bump();
            return self.group_vars().map(GroupItem::Cube);
        }
        if call && self.at_word("ROLLUP") {
            self.bump();
            return self.group_vars().map(GroupItem::Rollup);
        }
        if two_words || (call && self.at_word("GROUPING_SETS")) {
            if two_words {
                self.bump();
            }
            self.bump();
            let sets = self.bracketed(&Tok::RParen, |p| {
                if p.at(&Tok::LParen) { p.group_vars() } else { Err(p.expected("`(`")) }
            })?;
            return Ok(GroupItem::GroupingSets(sets));
        }
        if call && self.at_word("SESSION") {
            self.bump();
            let opener = self.span();
            self.bump();
            let gap = self.scalar()?;
            self.close(&Tok::RParen, opener, "an operator")?;
            return Ok(GroupItem::Session(gap));
        }
        self.group_var().map(GroupItem::Var)
    }

    fn group_vars(&mut self) -> PResult<Vec<GroupVar>> {
        self.bracketed(&Tok::RParen, Self::group_var)
    }

    fn group_var(&mut self) -> PResult<GroupVar> {
        let expr = self.expr()?;
        let alias = self.alias()?;
        Ok(GroupVar { expr, alias })
    }

    fn order_item(&mut self) -> PResult<OrderItem> {
        let expr = self.expr()?;
        let descending = self.eat_word("DESC");
        if !descending {
            self.eat_word("ASC");
        }
        Ok(OrderItem { expr, descending })
    }
}

/// At most 24 characters of a token for a message.
fn clip(text: &str) -> String {
    if text.chars().count() <= 24 {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(23).collect();
    short.push('…');
    short
}
