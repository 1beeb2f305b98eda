//! Expressions and predicates (gsql.md §4, §5; protocols.md): precedence climbing.
//!
//! Loosest first: `OR`; `AND`; `NOT`; comparison, `IN`, `BETWEEN`, `LIKE`; `|`; `&`; `<< >>`; `+ -`;
//! `* / %`; prefix operators.

use super::{HEIGHT_MAX, PResult, Parser, Reported};
use crate::ast::{
    BinaryOp, Call, CmpOp, ColumnRef, Expr, ExprKind, HeaderIndex, InSet, Literal, Qualifier,
    UnaryOp,
};
use crate::diag::Diagnostic;
use crate::keyword;
use crate::lexer::Tok;
use crate::prec;
use crate::span::{Ident, Span};

/// Dotted parts of a column: `a.b.c.d`.
const PATH_PARTS_MAX: usize = 16;

/// Attributes that a parenthesis after a DDL expression may open with. `key` is not among them: it
/// is a field of several protocols and may be an argument.
const DDL_ATTRIBUTES: [&str; 7] = [
    "increasing",
    "decreasing",
    "strictly_increasing",
    "required",
    "snap_len",
    "subtype",
    "low_cardinality",
];

/// What to tell those who look for NULL.
pub(super) const NO_NULL: &str = "There is no NULL: a missing value is its type's default, and a \
                                  tuple whose field is absent is not selected.";

/// An expression with the height of its tree.
struct Tall {
    expr: Expr,
    height: u32,
}

impl Tall {
    fn leaf(kind: ExprKind, span: Span) -> Self {
        Self { expr: Expr::new(kind, span), height: 1 }
    }
}

/// What stands between two operands.
enum Infix {
    Or,
    And,
    Compare(CmpOp),
    Binary(BinaryOp),
    In,
    Between,
    Like,
}

impl Infix {
    fn precedence(&self) -> u8 {
        match self {
            Self::Or => prec::OR,
            Self::And => prec::AND,
            Self::Compare(_) | Self::In | Self::Between | Self::Like => prec::COMPARE,
            Self::Binary(op) => prec::binary(*op),
        }
    }
}

impl Parser<'_> {
    /// The whole text as one expression.
    pub(super) fn whole_expr(&mut self) -> PResult<Expr> {
        let expr = self.expr()?;
        if self.at(&Tok::Eof) { Ok(expr) } else { Err(self.after_operand("the end of the text")) }
    }

    /// A predicate or scalar expression.
    pub(super) fn expr(&mut self) -> PResult<Expr> {
        self.level(prec::OR).map(|t| t.expr)
    }

    /// A scalar expression: no AND, OR, NOT or comparison outside parentheses.
    pub(super) fn scalar(&mut self) -> PResult<Expr> {
        self.level(prec::BIT_OR).map(|t| t.expr)
    }

    /// "expected an operator or …" after a complete operand, with the likely cause.
    pub(super) fn after_operand(&mut self, what: &str) -> Reported {
        let error = match self.peek() {
            Tok::RParen | Tok::RBracket | Tok::RBrace => {
                let found = self.found();
                Diagnostic::error("unbalanced", self.span(), format!("unexpected {found}"))
                    .label("closes nothing")
            }
            Tok::Word if self.at_word("IS") => {
                self.expected_diagnostic(&format!("an operator or {what}")).hint(NO_NULL)
            }
            _ => self.expected_diagnostic(&format!("an operator or {what}")),
        };
        if self.at(&Tok::Bad) { Reported } else { self.report(error) }
    }

    fn grow(&mut self, span: Span, height: u32) -> PResult<u32> {
        if height >= HEIGHT_MAX {
            return Err(self.too_deep(span, "the expression", HEIGHT_MAX));
        }
        Ok(height + 1)
    }

    /// Operators of precedence `min` and tighter.
    fn level(&mut self, min: u8) -> PResult<Tall> {
        if self.levels >= HEIGHT_MAX {
            let span = self.span();
            return Err(self.too_deep(span, "the expression", HEIGHT_MAX));
        }
        self.levels += 1;
        let result = self.level_inner(min);
        self.levels -= 1;
        result
    }

    fn level_inner(&mut self, min: u8) -> PResult<Tall> {
        let mut left = if self.at_word("NOT") && !matches!(self.peek_at(1), Tok::Dot) {
            self.not(min)?
        } else {
            self.prefix()?
        };
        let mut compared: Option<Span> = None;
        while let Some((infix, negated)) = self.infix() {
            let precedence = infix.precedence();
            // `a IN [1] + 2`: a list takes no operator, and a comparison is no operand.
            if precedence < min || (compared.is_some() && precedence > prec::COMPARE) {
                break;
            }
            let op_span = self.span();
            if precedence == prec::COMPARE {
                if let Some(first) = compared {
                    self.chained(op_span, first);
                }
                compared = Some(op_span);
            } else if precedence < prec::COMPARE {
                compared = None;
            }
            if negated {
                self.bump();
            }
            self.bump();
            left = self.join(left, infix, negated, op_span)?;
        }
        Ok(left)
    }

    fn chained(&mut self, span: Span, first: Span) {
        self.report(
            Diagnostic::error("chained-comparison", span, "comparisons do not chain")
                .label("a second comparison")
                .related(first, "the first comparison")
                .hint("Write `a < b AND b < c`, or `b BETWEEN a AND c`.")
                .hint("To compare a predicate with TRUE or FALSE, put it in parentheses."),
        );
    }

    /// `NOT operand`.
    fn not(&mut self, min: u8) -> PResult<Tall> {
        let start = self.span();
        if min > prec::NOT {
            self.report(
                Diagnostic::error("syntax", start, "`NOT` cannot stand inside an operand")
                    .label("binds looser than the operator before it")
                    .hint("Put it in parentheses: `(NOT x)`."),
            );
        }
        self.bump();
        let operand = self.level(prec::NOT)?;
        let height = self.grow(start, operand.height)?;
        let span = start.to(operand.expr.span());
        Ok(Tall { expr: Expr::new(ExprKind::Not(Box::new(operand.expr)), span), height })
    }

    /// The operator at the cursor and whether `NOT` stands before it.
    fn infix(&self) -> Option<(Infix, bool)> {
        let infix = match self.peek() {
            Tok::Pipe => Infix::Binary(BinaryOp::BitOr),
            Tok::Amp => Infix::Binary(BinaryOp::BitAnd),
            Tok::Shl => Infix::Binary(BinaryOp::Shl),
            Tok::Shr => Infix::Binary(BinaryOp::Shr),
            Tok::Plus => Infix::Binary(BinaryOp::Add),
            Tok::Minus => Infix::Binary(BinaryOp::Sub),
            Tok::Star => Infix::Binary(BinaryOp::Mul),
            Tok::Slash => Infix::Binary(BinaryOp::Div),
            Tok::Percent => Infix::Binary(BinaryOp::Rem),
            Tok::Eq => Infix::Compare(CmpOp::Eq),
            Tok::Ne => Infix::Compare(CmpOp::Ne),
            Tok::Lt => Infix::Compare(CmpOp::Lt),
            Tok::Le => Infix::Compare(CmpOp::Le),
            Tok::Gt => Infix::Compare(CmpOp::Gt),
            Tok::Ge => Infix::Compare(CmpOp::Ge),
            Tok::AndAnd => Infix::And,
            Tok::OrOr => Infix::Or,
            Tok::Word => {
                let negated = self.at_word("NOT");
                let word = self.word_at(usize::from(negated));
                let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
                let infix = match () {
                    () if is("IN") => Infix::In,
                    () if is("BETWEEN") => Infix::Between,
                    () if is("LIKE") => Infix::Like,
                    () if negated => return None,
                    () if is("AND") => Infix::And,
                    () if is("OR") => Infix::Or,
                    () => return None,
                };
                return Some((infix, negated));
            }
            _ => return None,
        };
        Some((infix, false))
    }

    /// Reads what follows an operator and joins it with the left operand.
    fn join(&mut self, left: Tall, infix: Infix, negated: bool, op: Span) -> PResult<Tall> {
        let start = left.expr.span();
        let mut height = left.height;
        let value = Box::new(left.expr);
        let mut operand = |p: &mut Self, precedence: u8| -> PResult<Box<Expr>> {
            let right = p.level(precedence)?;
            height = height.max(right.height);
            Ok(Box::new(right.expr))
        };
        let kind = match infix {
            Infix::Or => ExprKind::Or(value, operand(self, prec::AND)?),
            Infix::And => ExprKind::And(value, operand(self, prec::NOT)?),
            Infix::Compare(cmp) => ExprKind::Compare(cmp, value, operand(self, prec::COMPARE + 1)?),
            Infix::Binary(bin) => {
                ExprKind::Binary(bin, value, operand(self, prec::binary(bin) + 1)?)
            }
            Infix::Like => ExprKind::Like { value, pattern: operand(self, prec::BIT_OR)?, negated },
            Infix::Between => {
                let low = operand(self, prec::BIT_OR)?;
                if !self.eat_word("AND") {
                    return Err(self.expected("`AND` and the upper bound of BETWEEN"));
                }
                let high = operand(self, prec::BIT_OR)?;
                ExprKind::Between { value, low, high, negated }
            }
            Infix::In => {
                let (set, set_height) = self.in_set()?;
                height = height.max(set_height);
                ExprKind::In { value, set, negated }
            }
        };
        let height = self.grow(op, height)?;
        let span = self.span_since(start);
        Ok(Tall { expr: Expr::new(kind, span), height })
    }

    /// `[a, b]`, `(a, b)` or a name after IN.
    fn in_set(&mut self) -> PResult<(InSet, u32)> {
        let close = match self.peek() {
            Tok::LBracket => Tok::RBracket,
            Tok::LParen if self.word_at_is(1, "SELECT") => return Err(self.misplaced_subquery(1)),
            Tok::LParen => Tok::RParen,
            Tok::Word => {
                return Ok((InSet::Named(self.free_name("a list or a name after IN")?), 0));
            }
            _ => return Err(self.expected("a list `[a, b]` or the name of a watchlist after IN")),
        };
        let start = self.span();
        let mut height = 0;
        let list = self.bracketed(&close, |p| {
            let item = p.level(prec::BIT_OR)?;
            height = height.max(item.height);
            Ok(item.expr)
        })?;
        if list.is_empty() {
            let span = self.span_since(start);
            return Err(self.report(
                Diagnostic::error("syntax", span, "the list after IN is empty")
                    .label("expected at least one value"),
            ));
        }
        Ok((InSet::List(list), height))
    }

    /// A subquery where only FROM may have one; `ahead` is where its SELECT stands.
    fn misplaced_subquery(&mut self, ahead: usize) -> Reported {
        let span = self.span_at(ahead);
        self.report(
            Diagnostic::error("syntax", span, "a subquery can only stand in FROM")
                .label("not a value")
                .hint(
                    "Give the inner query a name and join with it, or write \
                       `FROM (SELECT …) AS q`.",
                ),
        )
    }

    /// Prefix operators, read without recursion so that `- - - x` costs no stack while reading.
    fn prefix(&mut self) -> PResult<Tall> {
        let mut ops = Vec::new();
        loop {
            let op = match self.peek() {
                Tok::Minus => UnaryOp::Neg,
                Tok::Plus => UnaryOp::Plus,
                Tok::Bang => UnaryOp::Not,
                Tok::Tilde => UnaryOp::BitNot,
                _ => break,
            };
            ops.push((op, self.span()));
            self.bump();
        }
        let mut operand = self.primary()?;
        for (op, start) in ops.into_iter().rev() {
            let height = self.grow(start, operand.height)?;
            let span = start.to(operand.expr.span());
            operand =
                Tall { expr: Expr::new(ExprKind::Unary(op, Box::new(operand.expr)), span), height };
        }
        Ok(operand)
    }

    fn sigil_name(&mut self) -> Ident {
        let span = self.span();
        let name = Span::new(span.start + 1, span.end);
        self.bump();
        Ident::new(name.of(self.text), name)
    }

    fn primary(&mut self) -> PResult<Tall> {
        let start = self.span();
        match self.peek() {
            Tok::Literal(literal) => {
                let literal = literal.clone();
                self.bump();
                Ok(Tall::leaf(ExprKind::Literal(literal), start))
            }
            Tok::Bad => {
                // Reported by the lexer; go on as if a value stood here.
                self.bump();
                Ok(Tall::leaf(ExprKind::Literal(Literal::Uint(0)), start))
            }
            Tok::Param => {
                let name = self.sigil_name();
                Ok(Tall::leaf(ExprKind::Param(name), start))
            }
            Tok::Defined => {
                let name = self.sigil_name();
                Ok(Tall::leaf(ExprKind::Defined(name), start))
            }
            Tok::Property => {
                let name = self.sigil_name();
                Ok(Tall::leaf(ExprKind::IfProp { table: None, name }, start))
            }
            Tok::LParen if self.word_at_is(1, "SELECT") => Err(self.misplaced_subquery(1)),
            Tok::LParen => self.parenthesised(start),
            Tok::Word => self.word_operand(start),
            _ => Err(self.expected("an expression")),
        }
    }

    fn parenthesised(&mut self, opener: Span) -> PResult<Tall> {
        self.bump();
        self.nested(opener, |p| {
            let mut inner = match p.level(prec::OR) {
                Ok(inner) => inner,
                Err(Reported) => {
                    p.leave(&Tok::RParen);
                    return Err(Reported);
                }
            };
            p.close(&Tok::RParen, opener, "an operator")?;
            inner.expr.span.0 = p.span_since(opener);
            Ok(inner)
        })
    }

    fn word_operand(&mut self, start: Span) -> PResult<Tall> {
        let word = self.word();
        let dotted = matches!(self.peek_at(1), Tok::Dot);
        if !dotted {
            let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
            if is("TRUE") || is("FALSE") {
                self.bump();
                return Ok(Tall::leaf(ExprKind::Literal(Literal::Bool(is("TRUE"))), start));
            }
            if is("CASE") {
                return self.case(start);
            }
            let in_case = self.case_nesting > 0 && (is("THEN") || is("ELSE") || is("END"));
            if in_case || keyword::is_reserved(word) || self.at_clause() {
                return Err(self.expected("an expression"));
            }
        }
        self.path_or_call(start)
    }

    /// `f(…)`, `f$(…)`, `p[…]`, or a column with its qualifiers.
    fn path_or_call(&mut self, start: Span) -> PResult<Tall> {
        let mut qualifiers: Vec<Qualifier> = Vec::new();
        loop {
            if let (Tok::Property, [table]) = (self.peek(), qualifiers.as_slice())
                && table.index.is_none()
            {
                let table = Some(table.name.clone());
                let name = self.sigil_name();
                let span = self.span_since(start);
                return Ok(Tall::leaf(ExprKind::IfProp { table, name }, span));
            }
            let name = match qualifiers.is_empty() {
                true => self.name("a name")?,
                false => self.name_after_dot("a field name after `.`")?,
            };
            if qualifiers.is_empty()
                && let Some(call) = self.call(&name)?
            {
                return Ok(call);
            }
            let index = self.header_index()?;
            if !self.eat(&Tok::Dot) {
                let span = self.span_since(start);
                let column = ColumnRef { qualifiers, field: name };
                return Ok(Tall::leaf(ExprKind::Column(column), span));
            }
            qualifiers.push(Qualifier { name, index });
            if qualifiers.len() >= PATH_PARTS_MAX {
                let span = self.span();
                let max = u32::try_from(PATH_PARTS_MAX).unwrap_or(u32::MAX);
                return Err(self.too_deep(span, "this dotted name", max));
            }
        }
    }

    /// `[i]` or `[last]` when a dot follows; otherwise the bracket is a predicate call.
    fn header_index(&mut self) -> PResult<Option<HeaderIndex>> {
        if !self.at_header_index() {
            return Ok(None);
        }
        self.bump();
        let index = match self.peek() {
            Tok::Word => HeaderIndex::Last,
            Tok::Literal(Literal::Uint(n) | Literal::Hex(n)) => HeaderIndex::Nth(*n),
            _ => return Err(self.expected("an index or `last`")),
        };
        self.bump();
        self.bump();
        Ok(Some(index))
    }

    fn at_header_index(&self) -> bool {
        self.at(&Tok::LBracket)
            && (matches!(self.peek_at(1), Tok::Literal(Literal::Uint(_) | Literal::Hex(_)))
                || self.word_at_is(1, "last"))
            && *self.peek_at(2) == Tok::RBracket
            && *self.peek_at(3) == Tok::Dot
    }

    /// A call if a bracket follows the name.
    fn call(&mut self, name: &Ident) -> PResult<Option<Tall>> {
        let superaggregate = self.at(&Tok::Dollar) && *self.peek_at(1) == Tok::LParen;
        let brackets = self.at(&Tok::LBracket);
        let call = superaggregate
            || (brackets && !self.at_header_index())
            || (self.at(&Tok::LParen) && !self.at_attributes());
        if !call {
            return Ok(None);
        }
        if superaggregate {
            self.bump();
        }
        let mut call = Call {
            name: name.clone(),
            superaggregate,
            brackets,
            star: false,
            distinct: false,
            args: Vec::new(),
        };
        let mut height = 0;
        if !brackets && *self.peek_at(1) == Tok::Star {
            call.star = true;
            let opener = self.span();
            self.bump();
            self.bump();
            self.close(&Tok::RParen, opener, "")?;
        } else {
            let close = if brackets { Tok::RBracket } else { Tok::RParen };
            let mut first = true;
            call.args = self.bracketed(&close, |p| {
                if std::mem::take(&mut first) && !brackets && p.eat_word("DISTINCT") {
                    call.distinct = true;
                }
                if p.at_word("SELECT") {
                    return Err(p.misplaced_subquery(0));
                }
                let arg = p.level(prec::OR)?;
                height = height.max(arg.height);
                Ok(arg.expr)
            })?;
        }
        let height = self.grow(name.span, height)?;
        let span = self.span_since(name.span);
        Ok(Some(Tall { expr: Expr::new(ExprKind::Call(call), span), height }))
    }

    /// In DDL, whether the parenthesis opens an attribute list rather than arguments.
    fn at_attributes(&self) -> bool {
        self.dialect == super::Dialect::Ddl
            && DDL_ATTRIBUTES.iter().any(|a| self.word_at_is(1, a))
            && matches!(self.peek_at(2), Tok::RParen | Tok::Comma | Tok::Word | Tok::Literal(_))
    }

    /// `CASE [x] WHEN a THEN b … [ELSE c] END`
    fn case(&mut self, start: Span) -> PResult<Tall> {
        self.bump();
        self.case_nesting += 1;
        let result = self.nested(start, |p| p.case_inner(start));
        self.case_nesting -= 1;
        result
    }

    fn case_inner(&mut self, start: Span) -> PResult<Tall> {
        let mut height = 0;
        let mut part = |p: &mut Self| -> PResult<Expr> {
            let part = p.level(prec::OR)?;
            height = height.max(part.height);
            Ok(part.expr)
        };
        let operand = match self.at_word("WHEN") {
            true => None,
            false => Some(Box::new(part(self)?)),
        };
        let mut arms = Vec::new();
        while self.eat_word("WHEN") {
            let when = part(self)?;
            if !self.eat_word("THEN") {
                return Err(self.expected("`THEN`"));
            }
            arms.push((when, part(self)?));
        }
        if arms.is_empty() {
            return Err(self.expected("`WHEN`"));
        }
        let otherwise = match self.eat_word("ELSE") {
            true => Some(Box::new(part(self)?)),
            false => None,
        };
        if !self.eat_word("END") {
            let error = self
                .expected_diagnostic("`WHEN`, `ELSE` or `END`")
                .related(start, "this CASE is not ended");
            return Err(self.report(error));
        }
        let height = self.grow(start, height)?;
        let span = self.span_since(start);
        Ok(Tall { expr: Expr::new(ExprKind::Case { operand, arms, otherwise }, span), height })
    }
}
