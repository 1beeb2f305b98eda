//! Query files: PARAM and DEFINE blocks, MERGE, WATCHLIST (gsql.md §9, §15, §18).

use super::{PResult, Parser, Reported};
use crate::ast::{
    Define, DefineForm, Expr, ExprKind, File, Literal, Merge, ParamDecl, Query, QueryBody, SpanEq,
    WatchField, Watchlist,
};
use crate::diag::Diagnostic;
use crate::lexer::Tok;
use crate::span::Span;

const OPENERS: [&str; 5] = ["SELECT", "MERGE", "DEFINE", "PARAM", "WATCHLIST"];

impl Parser<'_> {
    pub(super) fn file(&mut self) -> PResult<File> {
        let mut queries = Vec::new();
        let mut failed = false;
        loop {
            while self.eat(&Tok::Semicolon) {}
            if self.at(&Tok::Eof) {
                break;
            }
            match self.query() {
                Ok(query) => queries.push(query),
                Err(Reported) => failed = true,
            }
            match self.peek() {
                Tok::Semicolon | Tok::Eof => {}
                _ if self.at_query_start() => {
                    failed = true;
                    self.missing_semicolon();
                }
                _ => {
                    if !failed {
                        self.expected("`;`");
                    }
                    failed = true;
                    while !matches!(self.peek(), Tok::Semicolon | Tok::Eof) {
                        self.bump();
                    }
                }
            }
        }
        if queries.is_empty() && !failed {
            let error = Diagnostic::error("empty", self.span(), "there is no query")
                .label("expected `SELECT …`")
                .hint("The shortest query is `SELECT * FROM packet`.");
            return Err(self.report(error));
        }
        if failed { Err(Reported) } else { Ok(File { queries }) }
    }

    fn missing_semicolon(&mut self) {
        let before = self.last_span();
        self.report(
            Diagnostic::error("syntax", self.span(), "expected `;` between two queries")
                .label("a new query starts here")
                .related(Span::new(before.end, before.end), "the `;` belongs here"),
        );
    }

    /// Whether a new query begins here.
    pub(super) fn at_query_start(&self) -> bool {
        self.at_clause() && OPENERS.iter().any(|k| self.at_word(k))
    }

    fn query(&mut self) -> PResult<Query> {
        let start = self.span();
        let mut params: Option<(Span, Vec<ParamDecl>)> = None;
        let mut defines: Option<(Span, Vec<Define>)> = None;
        let mut failed = false;
        loop {
            let block = self.span();
            let before = match self.block_keyword() {
                Some("PARAM") => {
                    let before = params.as_ref().map(|(span, _)| *span);
                    match self.braced_items("`{`", Self::param_decl) {
                        Ok(list) => params = Some((block, list)),
                        Err(Reported) => failed = true,
                    }
                    before
                }
                Some(_) => {
                    let before = defines.as_ref().map(|(span, _)| *span);
                    match self.braced_items("`{`", Self::define) {
                        Ok(list) => defines = Some((block, list)),
                        Err(Reported) => failed = true,
                    }
                    before
                }
                None => break,
            };
            if let Some(before) = before {
                failed = true;
                self.report(
                    Diagnostic::error("duplicate-clause", block, "a second block of this kind")
                        .related(before, "the first is here")
                        .hint("A query has at most one PARAM and one DEFINE block."),
                );
            }
        }
        let body = self.body()?;
        if failed {
            return Err(Reported);
        }
        Ok(Query {
            params: params.map(|(_, list)| list).unwrap_or_default(),
            defines: defines.map(|(_, list)| list).unwrap_or_default(),
            body,
            span: SpanEq(self.span_since(start)),
        })
    }

    /// Consumes `PARAM` or `DEFINE` before a `{`, or a slip for one of them.
    fn block_keyword(&mut self) -> Option<&'static str> {
        const BLOCKS: [&str; 2] = ["PARAM", "DEFINE"];
        if *self.peek_at(1) != Tok::LBrace {
            return None;
        }
        let word = self.word();
        if let Some(keyword) = BLOCKS.iter().find(|k| k.eq_ignore_ascii_case(word)) {
            self.bump();
            return Some(keyword);
        }
        let meant = self.typo_of(word, &BLOCKS)?;
        let span = self.span();
        self.unknown_keyword(span, word, meant);
        self.bump();
        Some(meant)
    }

    fn param_decl(&mut self) -> PResult<ParamDecl> {
        let name = self.name("the name of a parameter")?;
        let ty = self.name("the type of the parameter")?;
        Ok(ParamDecl { name, ty })
    }

    fn define(&mut self) -> PResult<Define> {
        let name = self.name("the name of an option")?;
        let span = self.span();
        let (value, form) = match self.peek() {
            Tok::Word => (self.word().to_owned(), DefineForm::Name),
            Tok::Literal(Literal::String(text)) => (text.clone(), DefineForm::String),
            Tok::Literal(Literal::Uint(n) | Literal::Hex(n)) => {
                (n.to_string(), DefineForm::Integer)
            }
            Tok::Literal(Literal::Ullong(n) | Literal::LongHex(n)) => {
                (n.to_string(), DefineForm::Integer)
            }
            Tok::Bad => (String::new(), DefineForm::String),
            _ => {
                let error = self.expected_diagnostic("a value").hint(
                    "An entry is a name and its value, without `=` between them: \
                           `query_name 'per_minute';`.",
                );
                return Err(self.report(error));
            }
        };
        self.bump();
        Ok(Define { name, value, form, value_span: SpanEq(span) })
    }

    /// `SELECT …`, `MERGE …` or `WATCHLIST …`
    pub(super) fn body(&mut self) -> PResult<QueryBody> {
        const BODIES: [&str; 3] = ["SELECT", "MERGE", "WATCHLIST"];
        let start = self.span();
        let word = self.word();
        let keyword = match BODIES.iter().find(|k| k.eq_ignore_ascii_case(word)) {
            Some(keyword) => *keyword,
            None => match self.typo_of(word, &BODIES) {
                Some(meant) => {
                    self.unknown_keyword(start, word, meant);
                    meant
                }
                None => {
                    let error = self.expected_diagnostic("`SELECT`, `MERGE` or `WATCHLIST`");
                    let error = if self.at_word("FROM") || self.at_word("WITH") {
                        error.hint("A query begins with its list: `SELECT … FROM …`.")
                    } else {
                        error
                    };
                    return Err(self.report(error));
                }
            },
        };
        self.bump();
        match keyword {
            "SELECT" => self.select(start).map(|s| QueryBody::Select(Box::new(s))),
            "MERGE" => self.merge(start).map(QueryBody::Merge),
            _ => self.watchlist(start).map(QueryBody::Watchlist),
        }
    }

    /// `MERGE a.t : b.t [SLACK s] FROM x a, y b`
    fn merge(&mut self, start: Span) -> PResult<Merge> {
        let mut columns = vec![self.merge_column()?];
        loop {
            if self.at(&Tok::Comma) {
                let error = self
                    .expected_diagnostic("`:`")
                    .hint("Merge columns are separated by colons: `MERGE a.tb : b.tb FROM …`.");
                self.report(error);
                self.bump();
            } else if !self.eat(&Tok::Colon) {
                break;
            }
            columns.push(self.merge_column()?);
        }
        let slack = if self.eat_word("SLACK") { Some(self.scalar()?) } else { None };
        self.expect_word("FROM")?;
        let tables = self.tables()?;
        if columns.len() != tables.len() || columns.len() < 2 {
            let span = self.span_since(start);
            let error = Diagnostic::error(
                "merge-columns",
                span,
                format!(
                    "{} for {}",
                    count(columns.len(), "merge column"),
                    count(tables.len(), "source")
                ),
            )
            .label("MERGE takes two or more sources and one column of each")
            .hint("Write `MERGE a.tb : b.tb FROM first a, second b`.");
            return Err(self.report(error));
        }
        Ok(Merge { columns, slack, tables, span: SpanEq(self.span_since(start)) })
    }

    fn merge_column(&mut self) -> PResult<Expr> {
        let expr = self.scalar()?;
        if matches!(expr.kind, ExprKind::Column(_)) {
            return Ok(expr);
        }
        let error =
            Diagnostic::error("merge-columns", expr.span(), "a merge column is a plain field")
                .label("an expression")
                .hint("Compute it under a name in the merged queries, then merge on the name.");
        Err(self.report(error))
    }

    /// `WATCHLIST FIELDS { type name (attrs); … }`
    fn watchlist(&mut self, start: Span) -> PResult<Watchlist> {
        self.expect_word("FIELDS")?;
        let fields = self.braced_items("`{`", |p| {
            let ty = p.name("a field (its type, then its name)")?;
            let name = p.name("the name of the field")?;
            let attrs = p.attrs()?;
            Ok(WatchField { ty, name, attrs })
        })?;
        Ok(Watchlist { fields, span: SpanEq(self.span_since(start)) })
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
