//! Protocol declarations (ddl.md) and the schema forms of gsql.md §7.

use super::{Dialect, PResult, Parser, Reported};
use crate::ast::{
    Attr, DdlFile, DdlItem, EnumDecl, FieldDecl, Literal, OperatorView, OverDecl, PlaceDecl,
    ProtocolDecl, ProtocolItem, RecordFormat, SpanEq, StreamDecl, UnpackFcn,
};
use crate::diag::Diagnostic;
use crate::lexer::Tok;
use crate::span::{Ident, Span};

const ITEMS: [&str; 5] = ["ENUM", "PROTOCOL", "STREAM", "UNPACK_FCNS", "OPERATOR_VIEW"];

impl Parser<'_> {
    pub(super) fn ddl_file(&mut self) -> PResult<DdlFile> {
        let mut items = Vec::new();
        let mut failed = false;
        loop {
            while self.eat(&Tok::Semicolon) {}
            if self.at(&Tok::Eof) {
                break;
            }
            match self.ddl_item() {
                Ok(item) => items.push(item),
                Err(Reported) => {
                    failed = true;
                    self.skip_to_ddl_item();
                }
            }
        }
        if failed { Err(Reported) } else { Ok(DdlFile { items }) }
    }

    fn at_ddl_item(&self) -> bool {
        self.dialect == Dialect::Ddl
            && ITEMS.iter().any(|k| self.at_word(k))
            && matches!(self.peek_at(1), Tok::Word | Tok::LBrace)
    }

    /// The next declaration; unlike in queries, semicolons and brackets on the way mean nothing.
    fn skip_to_ddl_item(&mut self) {
        while !self.at(&Tok::Eof) && !self.at_ddl_item() {
            self.bump();
        }
    }

    fn ddl_item(&mut self) -> PResult<DdlItem> {
        let start = self.span();
        let word = self.word();
        let keyword = match ITEMS.iter().find(|k| k.eq_ignore_ascii_case(word)) {
            Some(keyword) => keyword,
            None => match self.typo_of(word, &ITEMS) {
                Some(meant) => {
                    self.unknown_keyword(start, word, meant);
                    meant
                }
                None => {
                    return Err(self.expected(
                        "`PROTOCOL`, `ENUM`, `STREAM`, `UNPACK_FCNS` or `OPERATOR_VIEW`",
                    ));
                }
            },
        };
        self.bump();
        match keyword {
            "ENUM" => self.enumeration().map(DdlItem::Enum),
            "PROTOCOL" => self.protocol(start).map(DdlItem::Protocol),
            "STREAM" => self.stream().map(DdlItem::Stream),
            "UNPACK_FCNS" => self.unpack_fcns().map(DdlItem::Unpack),
            _ => self.operator_view().map(DdlItem::OperatorView),
        }
    }

    /// `NAME ":" type "{" NAME "=" INT { "," NAME "=" INT } "}"`
    fn enumeration(&mut self) -> PResult<EnumDecl> {
        let name = self.name("the name of the enumeration")?;
        self.expect(&Tok::Colon, "`:` and the type of the enumeration")?;
        let base = self.name("a type")?;
        if !self.at(&Tok::LBrace) {
            return Err(self.expected("`{`"));
        }
        let members = self.bracketed(&Tok::RBrace, |p| {
            let name = p.name("the name of a member")?;
            p.expect(&Tok::Eq, "`=` and a value")?;
            Ok((name, p.integer("a whole number")?))
        })?;
        Ok(EnumDecl { name, base, members })
    }

    fn protocol(&mut self, start: Span) -> PResult<ProtocolDecl> {
        let name = self.name("the name of the protocol")?;
        let mut parents = Vec::new();
        if self.at(&Tok::LParen) {
            parents = self.bracketed(&Tok::RParen, |p| p.name("the name of a parent protocol"))?;
        }
        let unpack = self.unpack_list()?;
        let mut over = Vec::new();
        while self.eat_word("OVER") {
            let parent = self.name("the protocol that this one follows")?;
            let when = if self.eat_word("WHEN") { Some(self.expr()?) } else { None };
            over.push(OverDecl { parent, when });
        }
        let mut repeat = None;
        if self.eat_word("REPEAT") {
            let span = self.span();
            repeat = Some((self.small_integer("the number of repetitions")?, SpanEq(span)));
        }
        let record = if self.eat_word("RECORD") { Some(self.record_format()?) } else { None };
        if self.at_word("OVER") {
            let error = self
                .expected_diagnostic("`{`")
                .hint("All OVER clauses come first, then REPEAT, then RECORD.");
            return Err(self.report(error));
        }
        let items = self.braced_items("`OVER`, `REPEAT`, `RECORD` or `{`", Self::protocol_item)?;
        Ok(ProtocolDecl {
            name,
            parents,
            over,
            repeat,
            record,
            unpack,
            items,
            span: SpanEq(self.span_since(start)),
        })
    }

    fn record_format(&mut self) -> PResult<RecordFormat> {
        if self.eat_word("FIXED") {
            return self.small_integer("the record length in bytes").map(RecordFormat::Fixed);
        }
        if self.eat_word("VARIABLE") {
            return self.scalar().map(RecordFormat::Variable);
        }
        if self.eat_word("FRAMED") {
            return self.string("the framing pattern as a string").map(RecordFormat::Framed);
        }
        Err(self.expected("`FIXED`, `VARIABLE` or `FRAMED`"))
    }

    /// `"{" { item } "}"` where each item ends with `;`; a bad item does not hide the next.
    pub(super) fn braced_items<T>(
        &mut self,
        expected: &str,
        mut item: impl FnMut(&mut Self) -> PResult<T>,
    ) -> PResult<Vec<T>> {
        let opener = self.span();
        self.expect(&Tok::LBrace, expected)?;
        let mut items = Vec::new();
        let mut failed = false;
        loop {
            while self.eat(&Tok::Semicolon) {}
            if self.eat(&Tok::RBrace) {
                break;
            }
            if self.at(&Tok::Eof) || self.at_ddl_item() || self.at_query() {
                return Err(self.unclosed_brace(opener));
            }
            let result = item(self).and_then(|value| {
                if self.at_query() {
                    return Err(self.unclosed_brace(opener));
                }
                self.item_end().map(|()| value)
            });
            match result {
                Ok(value) => items.push(value),
                Err(Reported) => {
                    failed = true;
                    self.skip_to(|p| p.at_ddl_item() || p.at_query());
                    // A stray closing bracket of another kind would stop here for ever.
                    if matches!(self.peek(), Tok::RParen | Tok::RBracket) {
                        self.bump();
                    }
                }
            }
        }
        if failed { Err(Reported) } else { Ok(items) }
    }

    /// Whether a block of a query file was left open: the query itself begins here.
    fn at_query(&self) -> bool {
        // A name of a block is not followed by a dotted column.
        let merge = self.at_word("MERGE") && *self.peek_at(2) == Tok::Dot;
        self.dialect == Dialect::Gsql && (self.at_word("SELECT") || merge)
    }

    fn unclosed_brace(&mut self, opener: Span) -> Reported {
        let found = self.found();
        self.report(
            Diagnostic::error("unbalanced", self.span(), format!("expected `}}`, found {found}"))
                .label("expected `}`")
                .related(opener, "this `{` is not closed"),
        )
    }

    /// The `;` after an item; optional before `}`.
    fn item_end(&mut self) -> PResult<()> {
        if self.at(&Tok::RBrace) || self.eat(&Tok::Semicolon) {
            return Ok(());
        }
        let operand = matches!(self.peek(), Tok::RParen | Tok::RBracket);
        Err(if operand { self.after_operand("`;`") } else { self.expected("`;`") })
    }

    fn protocol_item(&mut self) -> PResult<ProtocolItem> {
        if self.at_word("HEADER") && self.word_at_is(1, "LENGTH") {
            self.bump();
            self.bump();
            let length = self.scalar()?;
            let min = self.optional_number("MIN")?;
            let max = self.optional_number("MAX")?;
            return Ok(ProtocolItem::HeaderLength { length, min, max });
        }
        if self.eat_word("CHECK") {
            return self.expr().map(ProtocolItem::Check);
        }
        self.field().map(|field| ProtocolItem::Field(Box::new(field)))
    }

    fn optional_number(&mut self, keyword: &'static str) -> PResult<Option<u32>> {
        if !self.eat_word(keyword) {
            return Ok(None);
        }
        self.small_integer("a length in bytes").map(Some)
    }

    /// `[REFINE] type name [ALIAS name] place [(attrs)] [unpack]`
    pub(super) fn field(&mut self) -> PResult<FieldDecl> {
        let start = self.span();
        let refine = self.at_word("REFINE") && *self.peek_at(2) == Tok::Word;
        if refine {
            self.bump();
        }
        let ty = self.name("a field (its type, then its name)")?;
        let name = self.name("the name of the field")?;
        let alias = if self.eat_word("ALIAS") { Some(self.name("the second name")?) } else { None };
        let place = self.place()?;
        let attrs = self.attrs()?;
        let unpack = self.unpack_list()?;
        let span = SpanEq(self.span_since(start));
        Ok(FieldDecl { refine, ty, name, alias, place, attrs, unpack, span })
    }

    fn place(&mut self) -> PResult<PlaceDecl> {
        if self.eat(&Tok::Eq) {
            return self.scalar().map(PlaceDecl::Derived);
        }
        if self.eat_word("AT") {
            let at = self.scalar()?;
            let bits = if self.eat_word("BITS") { Some(self.bits()?) } else { None };
            let length = if self.eat_word("LENGTH") { Some(self.scalar()?) } else { None };
            let little = self.eat_word("LITTLE");
            return Ok(PlaceDecl::At { at, bits, length, little });
        }
        match self.peek() {
            Tok::Word => self.name("an access function").map(PlaceDecl::Accessor),
            Tok::Semicolon
            | Tok::Comma
            | Tok::LParen
            | Tok::RParen
            | Tok::LBracket
            | Tok::RBrace => Ok(PlaceDecl::Abstract),
            _ => Err(self.expected("`AT`, `=`, an access function or `;`")),
        }
    }

    /// `from:width` after BITS; bit 0 is the most significant.
    fn bits(&mut self) -> PResult<(u32, u32)> {
        let from = self.small_integer("the first bit")?;
        self.expect(&Tok::Colon, "`:` and the number of bits")?;
        let span = self.span();
        let width = self.small_integer("the number of bits")?;
        if width == 0 {
            return Err(self.report(
                Diagnostic::error("syntax", span, "a bit field needs at least one bit")
                    .hint("BITS takes the first bit and the number of bits: `BITS 4:12`."),
            ));
        }
        Ok((from, width))
    }

    /// `"(" attr {"," attr} ")"`; empty if absent.
    pub(super) fn attrs(&mut self) -> PResult<Vec<Attr>> {
        if !self.at(&Tok::LParen) {
            return Ok(Vec::new());
        }
        self.bracketed(&Tok::RParen, |p| {
            let name = p.name("an attribute")?;
            let value = p.attr_value();
            Ok(Attr { name, value })
        })
    }

    fn attr_value(&mut self) -> Option<String> {
        let value = match self.peek() {
            Tok::Word => self.word().to_owned(),
            Tok::Literal(Literal::String(text)) => text.clone(),
            Tok::Literal(Literal::Uint(n) | Literal::Hex(n)) => n.to_string(),
            Tok::Literal(Literal::Ullong(n) | Literal::LongHex(n)) => n.to_string(),
            Tok::Bad => String::new(),
            _ => return None,
        };
        self.bump();
        Some(value)
    }

    /// `"[" unpack {"," unpack} "]"`; empty if absent.
    fn unpack_list(&mut self) -> PResult<Vec<Ident>> {
        if !self.at(&Tok::LBracket) {
            return Ok(Vec::new());
        }
        self.bracketed(&Tok::RBracket, |p| p.name("the name of an unpack function"))
    }

    /// `STREAM qname "{" fields "}"`
    fn stream(&mut self) -> PResult<StreamDecl> {
        let mut name = self.name("the name of the stream")?;
        while self.eat(&Tok::Slash) {
            let part = self.name("a name after `/`")?;
            name = Ident::new(format!("{name}/{part}"), name.span.to(part.span));
        }
        let fields = self.braced_items("`{`", Self::field)?;
        Ok(StreamDecl { name, fields })
    }

    /// `"{" NAME NAME INT { ";" NAME NAME INT } "}"`
    fn unpack_fcns(&mut self) -> PResult<Vec<UnpackFcn>> {
        self.braced_items("`{`", |p| {
            let name = p.name("the name of an unpack function")?;
            let routine = p.name("its routine")?;
            let cost = p.small_integer("its cost")?;
            Ok(UnpackFcn { name, routine, cost })
        })
    }

    fn operator_view(&mut self) -> PResult<OperatorView> {
        let name = self.name("the name of the view")?;
        let opener = self.span();
        self.expect(&Tok::LBrace, "`{`")?;
        self.expect_word("OPERATOR")?;
        let paren = self.span();
        self.expect(&Tok::LParen, "`(`")?;
        self.expect_word("file")?;
        let file = self.string("the operator's file as a string")?;
        self.close(&Tok::RParen, paren, "a string")?;
        self.expect_word("FIELDS")?;
        let fields = self.braced_items("`{`", Self::field)?;
        self.expect_word("SUBQUERIES")?;
        let subqueries = self.braced_items("`{`", |p| {
            let name = p.name("the name of a subquery")?;
            let fields = p.subquery_fields()?;
            Ok((name, fields))
        })?;
        self.expect_word("SELECTION_PUSHDOWN")?;
        let pushdown = self.attrs()?;
        self.close(&Tok::RBrace, opener, "attributes")?;
        Ok(OperatorView { name, file, fields, subqueries, pushdown })
    }

    /// The expected schema of a subquery: `(fields)` as the manual prints it, or `{fields}`.
    fn subquery_fields(&mut self) -> PResult<Vec<FieldDecl>> {
        if self.at(&Tok::LBrace) {
            return self.braced_items("`{`", Self::field);
        }
        let opener = self.span();
        self.expect(&Tok::LParen, "`(` or `{` and the fields of the subquery")?;
        let mut fields = Vec::new();
        while !self.at(&Tok::RParen) {
            fields.push(self.field()?);
            if !self.eat(&Tok::Semicolon) && !self.eat(&Tok::Comma) {
                break;
            }
        }
        self.close(&Tok::RParen, opener, "`;`")?;
        Ok(fields)
    }
}
