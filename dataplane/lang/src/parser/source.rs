//! FROM: joins, tables and sources (gsql.md §8, §16, §23; protocols.md).

use super::{PResult, Parser, Reported, SUBQUERIES_MAX};
use crate::ast::{Expr, From, Join, Source, SourcePath, SpanEq, Table};
use crate::diag::Diagnostic;
use crate::keyword;
use crate::lexer::Tok;
use crate::span::{Ident, Span};

/// Parts of a source name, and sources chained by THEN.
const SOURCE_PARTS_MAX: usize = 16;

/// Join words of other SQL dialects.
const FOREIGN_JOINS: [&str; 7] = ["JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL"];

impl Parser<'_> {
    /// `[joinkind] FROM table {"," table}`
    pub(super) fn sources(&mut self) -> PResult<From> {
        let start = self.span();
        let join = self.join_kind()?;
        self.expect_word("FROM")?;
        let tables = self.tables()?;
        Ok(From { join, tables, span: SpanEq(self.span_since(start)) })
    }

    pub(super) fn at_from(&self) -> bool {
        self.at_word("FROM") || keyword::JOINS.iter().any(|k| self.at_word(k))
    }

    fn join_kind(&mut self) -> PResult<Option<Join>> {
        let word = self.word();
        let Some(keyword) = keyword::JOINS.iter().find(|k| k.eq_ignore_ascii_case(word)) else {
            return Ok(None);
        };
        self.bump();
        Ok(Some(match *keyword {
            "INNER_JOIN" => Join::Inner,
            "OUTER_JOIN" => Join::Outer,
            "LEFT_OUTER_JOIN" => Join::LeftOuter,
            "RIGHT_OUTER_JOIN" => Join::RightOuter,
            "WATCHLIST_JOIN" => Join::Watchlist,
            _ => {
                let (column, window) = self.filter_join()?;
                Join::Filter { column: Box::new(column), window }
            }
        }))
    }

    /// `(column, window)` after FILTER_JOIN.
    fn filter_join(&mut self) -> PResult<(Expr, u64)> {
        let opener = self.span();
        self.expect(&Tok::LParen, "`(` and the temporal column")?;
        self.nested(opener, |p| {
            let column = p.scalar()?;
            p.expect(&Tok::Comma, "`,` and the length of the window")?;
            let window = p.integer("the length of the window as a whole number")?;
            p.close(&Tok::RParen, opener, "")?;
            Ok((column, window))
        })
    }

    pub(super) fn tables(&mut self) -> PResult<Vec<Table>> {
        self.comma_list(Self::table, Self::at_clause)
    }

    fn table(&mut self) -> PResult<Table> {
        let start = self.span();
        let mut source = self.source()?;
        let mut parts = 1;
        while self.eat_word("THEN") {
            parts += 1;
            if parts > SOURCE_PARTS_MAX {
                let span = self.last_span();
                return Err(self.too_deep(span, "the chain of THEN", SOURCE_PARTS_MAX as u32));
            }
            source = Source::Then(Box::new(source), Box::new(self.source()?));
        }
        let alias = if self.eat_word("AS") {
            Some(self.free_name("a table variable after AS")?)
        } else if self.at_variable() {
            Some(self.name("a table variable")?)
        } else {
            None
        };
        if self.at_foreign_join() {
            return Err(self.foreign_join());
        }
        Ok(Table { source, alias, span: SpanEq(self.span_since(start)) })
    }

    /// Whether the word after a source names it.
    fn at_variable(&self) -> bool {
        let ends = keyword::ends_table(self.word()) || self.at_clause() || self.at_clause_typo();
        let foreign = self.at_foreign_join() || self.at_union();
        self.at(&Tok::Word) && !ends && !foreign
    }

    /// `a JOIN b`, `a LEFT JOIN b`
    fn at_foreign_join(&self) -> bool {
        FOREIGN_JOINS.iter().any(|k| self.at_word(k))
            && matches!(self.peek_at(1), Tok::Word | Tok::LParen)
            && !self.at_clause_follows()
    }

    /// `UNION SELECT`, `UNION ALL`
    fn at_union(&self) -> bool {
        self.at_word("UNION") && (self.word_at_is(1, "SELECT") || self.word_at_is(1, "ALL"))
    }

    fn foreign_join(&mut self) -> Reported {
        self.report(
            Diagnostic::error("foreign-join", self.span(), "the kind of join stands before FROM")
                .label("not a join in GSQL")
                .hint(
                    "Write `SELECT … INNER_JOIN FROM a, b WHERE a.tb = b.tb AND …`; also \
                     OUTER_JOIN, LEFT_OUTER_JOIN, RIGHT_OUTER_JOIN.",
                ),
        )
    }

    /// Whether the word after this one opens a clause, so that this one is a table variable.
    fn at_clause_follows(&self) -> bool {
        keyword::ends_table(self.word_at(1))
    }

    /// Whether the word here is a slip for a clause keyword rather than a table variable: what
    /// follows cannot follow a variable.
    fn at_clause_typo(&self) -> bool {
        let ends = match self.peek_at(1) {
            Tok::Comma | Tok::Semicolon | Tok::Eof | Tok::RParen | Tok::Colon => true,
            Tok::Word => self.at_clause_follows() && !self.word_at_is(1, "NOT"),
            _ => false,
        };
        !ends && self.clause_typo().is_some()
    }

    fn source(&mut self) -> PResult<Source> {
        let start = self.span();
        match self.peek() {
            Tok::LParen => self.subquery(start),
            Tok::LBracket => {
                self.bump();
                let set = self.name("the name of an interface set")?;
                self.close(&Tok::RBracket, start, "")?;
                self.expect(&Tok::Dot, "`.` and a protocol")?;
                let mut protocol = vec![self.name("a protocol")?];
                while self.eat(&Tok::Dot) {
                    protocol.push(self.name_after_dot("a protocol after `.`")?);
                    self.check_parts(protocol.len())?;
                }
                Ok(Source::Set { set, protocol })
            }
            Tok::Literal(crate::ast::Literal::String(host)) => {
                let host = Ident::new(host.clone(), start);
                self.bump();
                self.expect(&Tok::Dot, "`.` and an interface after the host name")?;
                self.path(vec![host])
            }
            _ => self.path(Vec::new()),
        }
    }

    fn check_parts(&mut self, parts: usize) -> PResult<()> {
        if parts <= SOURCE_PARTS_MAX {
            return Ok(());
        }
        let span = self.last_span();
        Err(self.too_deep(span, "this dotted name", SOURCE_PARTS_MAX as u32))
    }

    /// Dotted parts, the last of which may be a slash path.
    fn path(&mut self, mut parts: Vec<Ident>) -> PResult<Source> {
        let what = "a source: a protocol, an interface and protocol, or a query";
        if parts.is_empty() {
            let first = self.free_name(what)?;
            parts.push(first);
        } else {
            parts.push(self.name("an interface")?);
        }
        while self.eat(&Tok::Dot) {
            parts.push(self.name_after_dot("a name after `.`")?);
            self.check_parts(parts.len())?;
        }
        let mut library = Vec::new();
        while self.eat(&Tok::Slash) {
            let name = self.name("a name after `/`")?;
            library.extend(parts.pop());
            parts.push(name);
            self.check_parts(library.len())?;
        }
        Ok(Source::Path(SourcePath { parts, library }))
    }

    /// `(SELECT …)` or `(MERGE …)`
    fn subquery(&mut self, opener: Span) -> PResult<Source> {
        self.bump();
        if self.subqueries >= SUBQUERIES_MAX {
            return Err(self.too_deep(opener, "the nesting of subqueries", SUBQUERIES_MAX));
        }
        self.subqueries += 1;
        let body = self.nested(opener, Self::body);
        self.subqueries -= 1;
        match body {
            Ok(body) => {
                self.close(&Tok::RParen, opener, "a clause")?;
                Ok(Source::Subquery(Box::new(body)))
            }
            Err(Reported) => {
                self.skip_to(|_| false);
                self.eat(&Tok::RParen);
                Err(Reported)
            }
        }
    }
}
