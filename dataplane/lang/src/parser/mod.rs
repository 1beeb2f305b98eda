//! Tokens to trees: recursive descent with precedence climbing, one file per concern.
//!
//! **Errors.** A failed rule has reported its diagnostic and returns [`Reported`]; lists and clauses
//! then skip to the next place where reading makes sense again (comma, clause keyword, `;`, closing
//! bracket), so that one run reports several errors. Skipping only moves forward, so time stays
//! linear in the text.
//!
//! **Bounds.** Text size, nesting, tree height and the number of errors are limited; no input
//! overflows the stack, here or in later recursive passes over the tree.

mod ddl;
mod decl;
mod expr;
mod ifset;
mod query;
mod select;
mod source;

use crate::ast::{DdlFile, Expr, File, Literal};
use crate::ast_decl::{FunctionFile, InterfaceSets};
use crate::diag::{Diagnostic, Severity};
use crate::keyword;
use crate::lexer::{Tok, Token, lex};
use crate::span::{Ident, Span};
use crate::suggest::nearest;

/// Brackets, calls, CASE and subqueries may nest this deep.
pub const NESTING_MAX: u32 = 128;

/// Height of an expression tree: a chain such as `a OR b OR …` counts one level per operator.
pub const HEIGHT_MAX: u32 = 256;

/// Subqueries in FROM may nest this deep.
pub const SUBQUERIES_MAX: u32 = 16;

/// Errors reported per text.
pub const ERRORS_MAX: usize = 50;

/// A tree, or the reasons why there is none.
#[derive(Clone, Debug)]
pub struct Parsed<T> {
    /// The tree; present only if no diagnostic is an error.
    pub tree: Option<T>,
    /// All messages, in text order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a query file: queries separated by `;` (gsql.md §9).
pub fn parse_gsql(text: &str) -> Parsed<File> {
    run(text, Dialect::Gsql, Parser::file)
}

/// Parses protocol declarations (ddl.md) and the schema forms of gsql.md §7.
pub fn parse_ddl(text: &str) -> Parsed<DdlFile> {
    run(text, Dialect::Ddl, Parser::ddl_file)
}

/// Parses one expression, as a filter on a command line.
pub fn parse_expr(text: &str) -> Parsed<Expr> {
    run(text, Dialect::Gsql, Parser::whole_expr)
}

/// Parses function declarations: FUN, PRED, UDAF, EXTR, STATE, SFUN (gsql.md §20.1).
pub fn parse_functions(text: &str) -> Parsed<FunctionFile> {
    run(text, Dialect::Ddl, Parser::function_file)
}

/// Parses interface sets (gsql.md §8): `edge: Contains[Role,edge] and not Exists[Test]`.
pub fn parse_interface_sets(text: &str) -> Parsed<InterfaceSets> {
    run(text, Dialect::Gsql, Parser::interface_sets)
}

fn run<'t, T>(
    text: &'t str,
    dialect: Dialect,
    rule: impl FnOnce(&mut Parser<'t>) -> PResult<T>,
) -> Parsed<T> {
    let (tokens, mut diagnostics) = lex(text);
    if diagnostics.iter().any(|d| d.code == "text-too-long") {
        return Parsed { tree: None, diagnostics };
    }
    let mut parser = Parser::new(text, tokens, dialect);
    let tree = rule(&mut parser).ok();
    diagnostics.append(&mut parser.diagnostics);
    diagnostics.sort_by_key(|d| d.span.start);
    diagnostics.truncate(ERRORS_MAX);
    let failed = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Parsed { tree: tree.filter(|_| !failed), diagnostics }
}

/// What differs between the languages that share expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Gsql,
    /// A parenthesis after an expression may open an attribute list: `= seq (increasing)`.
    Ddl,
}

/// The rule failed and its diagnostic is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reported;

type PResult<T> = Result<T, Reported>;

/// The cursor over the tokens, with what is needed to report.
struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    pos: usize,
    dialect: Dialect,
    diagnostics: Vec<Diagnostic>,
    nesting: u32,
    levels: u32,
    case_nesting: u32,
    subqueries: u32,
    /// Where the last error was reported: the same place is not reported twice.
    last_error_at: Option<u32>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, tokens: Vec<Token>, dialect: Dialect) -> Self {
        Self {
            text,
            tokens,
            pos: 0,
            dialect,
            diagnostics: Vec::new(),
            nesting: 0,
            levels: 0,
            case_nesting: 0,
            subqueries: 0,
            last_error_at: None,
        }
    }

    // --- cursor ------------------------------------------------------------------------------

    /// The kind of the token `ahead` places on; [`Tok::Eof`] past the end.
    fn peek_at(&self, ahead: usize) -> &Tok {
        self.tokens.get(self.pos + ahead).map_or(&Tok::Eof, |t| &t.kind)
    }

    fn peek(&self) -> &Tok {
        self.peek_at(0)
    }

    fn at(&self, kind: &Tok) -> bool {
        self.peek() == kind
    }

    fn span_at(&self, ahead: usize) -> Span {
        let end = self.text.len() as u32;
        self.tokens.get(self.pos + ahead).map_or(Span::new(end, end), |t| t.span)
    }

    fn span(&self) -> Span {
        self.span_at(0)
    }

    /// The end of the last consumed token.
    fn last_span(&self) -> Span {
        let before = self.pos.checked_sub(1).and_then(|p| self.tokens.get(p));
        before.map_or(Span::new(0, 0), |t| t.span)
    }

    /// From `start` to the last consumed token.
    fn span_since(&self, start: Span) -> Span {
        let end = self.last_span();
        if end.end < start.start { start } else { start.to(end) }
    }

    fn bump(&mut self) {
        if self.pos + 1 < self.tokens.len() {
            self.pos += 1;
        }
    }

    fn eat(&mut self, kind: &Tok) -> bool {
        let found = self.at(kind);
        if found {
            self.bump();
        }
        found
    }

    /// The text of the word `ahead` places on; empty if it is no word.
    fn word_at(&self, ahead: usize) -> &'t str {
        match self.peek_at(ahead) {
            Tok::Word => self.span_at(ahead).of(self.text),
            _ => "",
        }
    }

    fn word(&self) -> &'t str {
        self.word_at(0)
    }

    fn at_word(&self, keyword: &str) -> bool {
        self.word().eq_ignore_ascii_case(keyword)
    }

    fn word_at_is(&self, ahead: usize, keyword: &str) -> bool {
        self.word_at(ahead).eq_ignore_ascii_case(keyword)
    }

    fn eat_word(&mut self, keyword: &str) -> bool {
        let found = self.at_word(keyword);
        if found {
            self.bump();
        }
        found
    }

    // --- reporting ---------------------------------------------------------------------------

    /// Records a diagnostic unless its place has one already. After the last one that is reported
    /// the rest of the text is not read.
    fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        if self.last_error_at != Some(diagnostic.span.start) && self.diagnostics.len() < ERRORS_MAX
        {
            self.last_error_at = Some(diagnostic.span.start);
            self.diagnostics.push(diagnostic);
        }
        if self.diagnostics.len() >= ERRORS_MAX {
            self.pos = self.tokens.len().saturating_sub(1);
        }
        Reported
    }

    /// How the current token is called in a message.
    fn found(&self) -> String {
        match self.peek() {
            Tok::Eof => "the end of the text".to_owned(),
            Tok::Literal(Literal::String(_)) => "a string".to_owned(),
            _ => {
                let text = self.span().of(self.text);
                let shown: String = text.chars().take(40).collect();
                let more = if shown.len() < text.len() { "…" } else { "" };
                format!("`{shown}{more}`")
            }
        }
    }

    /// "expected … , found …" at the current token.
    fn expected(&mut self, what: &str) -> Reported {
        if self.at(&Tok::Bad) {
            // The lexer has reported this text.
            return Reported;
        }
        let error = self.expected_diagnostic(what);
        self.report(error)
    }

    fn expected_diagnostic(&self, what: &str) -> Diagnostic {
        let found = self.found();
        Diagnostic::error("syntax", self.span(), format!("expected {what}, found {found}"))
            .label(format!("expected {what}"))
    }

    /// A word that is a slip for one of `keywords`.
    fn typo_of(&self, word: &str, keywords: &[&'static str]) -> Option<&'static str> {
        if word.len() < 3 {
            return None;
        }
        // Abbreviations are not slips: `cleaning` must not become CLEANING_WHEN. It also saves
        // measuring every word that recovery steps over.
        let near = keywords.iter().copied().filter(|k| k.len().abs_diff(word.len()) <= 2);
        nearest(word, near, 1).first().copied()
    }

    fn unknown_keyword(&mut self, span: Span, given: &str, meant: &str) -> Reported {
        self.report(
            Diagnostic::error("unknown-keyword", span, format!("unknown keyword `{given}`"))
                .label(format!("did you mean `{meant}`?")),
        )
    }

    // --- tokens that must be there -----------------------------------------------------------

    fn expect(&mut self, kind: &Tok, what: &str) -> PResult<()> {
        if self.eat(kind) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn expect_word(&mut self, keyword: &'static str) -> PResult<()> {
        if self.eat_word(keyword) {
            return Ok(());
        }
        let word = self.word();
        if self.typo_of(word, &[keyword]).is_some() {
            let span = self.span();
            self.unknown_keyword(span, word, keyword);
            self.bump();
            return Ok(());
        }
        Err(self.expected(&format!("`{keyword}`")))
    }

    /// A name; any word will do.
    fn name(&mut self, what: &str) -> PResult<Ident> {
        match self.peek() {
            Tok::Word => {
                let ident = Ident::new(self.word(), self.span());
                self.bump();
                Ok(ident)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// A name after a dot: any word, but a clause keyword only if it is joined to the dot, so that
    /// `FROM eth0.` at the end of a line does not take the WHERE of the next.
    fn name_after_dot(&mut self, what: &str) -> PResult<Ident> {
        if self.at_clause() && self.span().start != self.last_span().end {
            return Err(self.expected(what));
        }
        self.name(what)
    }

    /// A name that is no reserved word, as needed where a clause could follow.
    fn free_name(&mut self, what: &str) -> PResult<Ident> {
        let word = self.word();
        if keyword::is_reserved(word) {
            let error = self
                .expected_diagnostic(what)
                .hint(format!("`{word}` is a keyword and cannot be used as a name here."));
            self.report(error);
            // It was meant as a name if what follows could not belong to the clause.
            let meant = match self.peek_at(1) {
                Tok::Comma | Tok::Semicolon | Tok::RParen | Tok::Eof => true,
                Tok::Word => keyword::is_reserved(self.word_at(1)),
                _ => false,
            };
            if meant {
                self.bump();
            }
            return Err(Reported);
        }
        self.name(what)
    }

    /// A whole number in any integer form.
    fn integer(&mut self, what: &str) -> PResult<u64> {
        let value = match self.peek() {
            Tok::Literal(Literal::Uint(v) | Literal::Hex(v)) => u64::from(*v),
            Tok::Literal(Literal::Ullong(v) | Literal::LongHex(v)) => *v,
            Tok::Bad => 0,
            _ => return Err(self.expected(what)),
        };
        self.bump();
        Ok(value)
    }

    /// A whole number of at most 32 bits.
    fn small_integer(&mut self, what: &str) -> PResult<u32> {
        let span = self.span();
        let value = self.integer(what)?;
        u32::try_from(value).map_err(|_| {
            self.report(
                Diagnostic::error("literal-range", span, format!("{what} is {value}, too large"))
                    .label("at most 4294967295"),
            )
        })
    }

    fn string(&mut self, what: &str) -> PResult<String> {
        let value = match self.peek() {
            Tok::Literal(Literal::String(text)) => text.clone(),
            Tok::Bad => String::new(),
            _ => return Err(self.expected(what)),
        };
        self.bump();
        Ok(value)
    }

    /// Consumes the bracket that closes `opener`, or reports with a pointer to the opener and goes
    /// on after the closing bracket, if there is one. `or` names what else could stand there.
    fn close(&mut self, kind: &Tok, opener: Span, or: &str) -> PResult<()> {
        if self.eat(kind) {
            return Ok(());
        }
        if !self.at(&Tok::Bad) {
            let (open, close) = match kind {
                Tok::RParen => ("(", ")"),
                Tok::RBracket => ("[", "]"),
                _ => ("{", "}"),
            };
            let found = self.found();
            let wanted = match or {
                "" => format!("`{close}`"),
                _ => format!("{or} or `{close}`"),
            };
            let error = Diagnostic::error(
                "unbalanced",
                self.span(),
                format!("expected {wanted}, found {found}"),
            )
            .label(format!("expected {wanted}"))
            .related(opener, format!("this `{open}` is not closed"));
            self.report(error);
        }
        self.leave(kind);
        Err(Reported)
    }

    /// After an error inside brackets: goes on behind the closing one, unless a clause comes first.
    fn leave(&mut self, close: &Tok) {
        self.skip_to(Self::at_clause);
        self.eat(close);
    }

    // --- bounds ------------------------------------------------------------------------------

    fn too_deep(&mut self, span: Span, what: &str, max: u32) -> Reported {
        self.report(
            Diagnostic::error("too-deep", span, format!("{what} is deeper than {max} levels"))
                .label("beyond the limit here")
                .hint("Split the expression; many alternatives are written `x IN [a, b, c]`."),
        )
    }

    /// Runs a rule one bracket deeper.
    fn nested<T>(&mut self, span: Span, rule: impl FnOnce(&mut Self) -> PResult<T>) -> PResult<T> {
        if self.nesting >= NESTING_MAX {
            return Err(self.too_deep(span, "the nesting", NESTING_MAX));
        }
        self.nesting += 1;
        let result = rule(self);
        self.nesting -= 1;
        result
    }

    // --- recovery ----------------------------------------------------------------------------

    /// Skips to a token that `stop` accepts, stepping over bracketed text as a whole; stops before
    /// a closing bracket that belongs further out, `;` outside braces, and the end.
    fn skip_to(&mut self, stop: impl Fn(&Self) -> bool) {
        let mut depth = 0u32;
        loop {
            match self.peek() {
                Tok::Eof => return,
                _ if depth == 0 && stop(self) => return,
                Tok::LParen | Tok::LBracket | Tok::LBrace => depth += 1,
                Tok::RParen | Tok::RBracket | Tok::RBrace => {
                    if depth == 0 {
                        return;
                    }
                    depth -= 1;
                }
                // An unclosed bracket must not swallow the statements after it.
                Tok::Semicolon => return,
                _ => {}
            }
            self.bump();
        }
    }

    /// `item {"," item}`, going on after a bad item at the next comma if `recover` lets it.
    fn comma_list<T>(
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
            if !self.eat(&Tok::Comma) {
                break;
            }
        }
        if failed { Err(Reported) } else { Ok(items) }
    }

    /// A bracketed, comma-separated list whose opener is the current token.
    fn bracketed<T>(
        &mut self,
        close: &Tok,
        item: impl FnMut(&mut Self) -> PResult<T>,
    ) -> PResult<Vec<T>> {
        let opener = self.span();
        self.bump();
        self.nested(opener, |p| {
            if p.eat(close) {
                return Ok(Vec::new());
            }
            match p.comma_list(item, Self::at_clause) {
                Ok(items) => p.close(close, opener, "`,`").map(|()| items),
                Err(Reported) => {
                    p.leave(close);
                    Err(Reported)
                }
            }
        })
    }

    /// Whether the current word opens a clause, so that whatever came before is over.
    fn at_clause(&self) -> bool {
        let word = self.word();
        if word.is_empty() {
            return false;
        }
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        let next_is = |keyword| self.word_at_is(1, keyword);
        let next = self.peek_at(1);
        match () {
            () if is("GROUP") || is("ORDER") => next_is("BY"),
            () if is("CLEANING") => next_is("WHEN") || next_is("BY"),
            () if is("CLOSING") => next_is("WHEN"),
            () if is("DEFINE") || is("PARAM") => {
                self.dialect == Dialect::Gsql && *next == Tok::LBrace
            }
            () if is("WATCHLIST") => next_is("FIELDS"),
            // As a field name it is not followed by a column.
            () if is("MERGE") => {
                *next == Tok::Word && matches!(self.peek_at(2), Tok::Dot | Tok::Colon)
            }
            () if is("LIMIT") => matches!(next, Tok::Literal(_) | Tok::Param | Tok::Bad),
            () => keyword::is_clause(word),
        }
    }
}
