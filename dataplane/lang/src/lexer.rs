//! Text to tokens (gsql.md §2 with the literals of protocols.md).
//!
//! Keywords are not told apart from names here: which words are keywords depends on the place, so
//! that fields may be called `window`, `first` or `offset`. Lexical errors are reported once; the
//! token that stands for the damaged text lets the parser go on without a second message.

use crate::ast::Literal;
use crate::diag::Diagnostic;
use crate::literal::{self, LiteralError};
use crate::span::Span;

/// Longest accepted text in bytes; keeps spans in 32 bits and parsing in bounded memory.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Lexical errors reported per text; more would only bury the first.
const LEX_ERRORS_MAX: usize = 50;

/// A token with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub kind: Tok,
    pub span: Span,
}

/// Token kinds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    /// A name or keyword; its text is the span's.
    Word,
    /// A literal with its value.
    Literal(Literal),
    /// `$name`
    Param,
    /// `#name`
    Defined,
    /// `@name`
    Property,
    /// Text that was reported by the lexer and may stand for an operand.
    Bad,
    LParen,
    RParen,
    LBracket,
    RBracket,
    LBrace,
    RBrace,
    Comma,
    Semicolon,
    Dot,
    Colon,
    Dollar,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Amp,
    Pipe,
    Tilde,
    Bang,
    Shl,
    Shr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Reported by the lexer as a foreign spelling of AND (`&&`).
    AndAnd,
    /// Reported by the lexer as a foreign spelling of OR (`||`).
    OrOr,
    Eof,
}

/// All tokens of `text`, ended by [`Tok::Eof`], and the lexical errors.
pub(crate) fn lex(text: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    if text.len() > TEXT_BYTES_MAX {
        let error = Diagnostic::error(
            "text-too-long",
            Span::new(0, 0),
            format!("the text has {} bytes; at most {TEXT_BYTES_MAX} are accepted", text.len()),
        )
        .hint("Split the file; queries may refer to queries of other files by name.");
        return (vec![Token { kind: Tok::Eof, span: Span::new(0, 0) }], vec![error]);
    }
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), errors: Vec::new() };
    lexer.run();
    (lexer.tokens, lexer.errors)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
    errors: Vec<Diagnostic>,
}

fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

impl<'t> Lexer<'t> {
    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn span_from(&self, start: usize) -> Span {
        Span::new(start as u32, self.at as u32)
    }

    fn push(&mut self, kind: Tok, start: usize) {
        let span = self.span_from(start);
        self.tokens.push(Token { kind, span });
    }

    fn error(&mut self, error: Diagnostic) {
        if self.errors.len() < LEX_ERRORS_MAX {
            self.errors.push(error);
        }
    }

    fn run(&mut self) {
        if self.rest().starts_with('\u{feff}') {
            self.at += '\u{feff}'.len_utf8();
        }
        while let Some(c) = self.rest().chars().next() {
            let start = self.at;
            match c {
                _ if c.is_whitespace() => self.at += c.len_utf8(),
                '-' if self.byte(1) == b'-' => self.skip_line(),
                '/' if self.byte(1) == b'/' => self.skip_line(),
                '/' if self.byte(1) == b'*' => self.block_comment(),
                '\'' => self.string(start),
                '"' => self.double_quoted(),
                '$' | '#' | '@' => self.sigil(c),
                '0'..='9' => self.number(),
                '.' if self.byte(1).is_ascii_digit() && !self.after_operand() => self.number(),
                _ if c.is_ascii() && is_name_start(c as u8) => self.word(),
                _ => {
                    if !self.punctuation() && !self.typographic() {
                        self.foreign();
                    }
                }
            }
        }
        let end = self.text.len();
        self.at = end;
        self.push(Tok::Eof, end);
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    fn block_comment(&mut self) {
        let start = self.at;
        self.at += self.rest().find("*/").map_or(self.rest().len(), |n| n + 2);
        let opener = Span::new(start as u32, start as u32 + 2);
        self.error(
            Diagnostic::error("block-comment", opener, "`/*` does not start a comment")
                .label("not a comment here")
                .hint("Write `--` or `//`; the comment runs to the end of the line."),
        );
    }

    /// Whether the last token ends an operand right here, so that a dot means qualification.
    fn after_operand(&self) -> bool {
        self.tokens.last().is_some_and(|t| {
            t.span.end as usize == self.at
                && matches!(t.kind, Tok::Word | Tok::RBracket | Tok::RParen)
        })
    }

    /// Reads `'…'` with the opening quote at `self.at`; returns its content, or reports.
    fn quoted(&mut self, start: usize) -> Option<String> {
        let open = self.at;
        self.at += 1;
        let mut content = String::new();
        loop {
            let rest = self.rest();
            let stop = rest.find(['\'', '\n']).unwrap_or(rest.len());
            content.push_str(rest.get(..stop).unwrap_or(""));
            self.at += stop;
            match self.byte(0) {
                b'\'' if self.byte(1) == b'\'' => {
                    content.push('\'');
                    self.at += 2;
                }
                b'\'' => {
                    self.at += 1;
                    return Some(content);
                }
                _ => break,
            }
        }
        if self.text.as_bytes().get(self.at.wrapping_sub(1)) == Some(&b'\r') {
            self.at -= 1;
        }
        let span = Span::new(start as u32, self.at.max(open + 1) as u32);
        self.error(
            Diagnostic::error("unterminated-string", span, "this string is not closed")
                .label("expected `'` before the end of the line")
                .hint("A string stays on one line; a quote inside it is written twice: `'it''s'`."),
        );
        None
    }

    fn string(&mut self, start: usize) {
        let kind = match self.quoted(start) {
            Some(content) => Tok::Literal(Literal::String(content)),
            None => Tok::Bad,
        };
        self.push(kind, start);
    }

    fn double_quoted(&mut self) {
        let start = self.at;
        self.at += 1;
        let rest = self.rest();
        let stop = rest.find(['"', '\n']).unwrap_or(rest.len());
        let content = rest.get(..stop).unwrap_or("").to_owned();
        self.at += stop;
        if self.byte(0) == b'"' {
            self.at += 1;
        }
        let span = self.span_from(start);
        let shown: String = content.chars().take(40).collect();
        let fixed = if shown.len() == content.len() { shown } else { shown + "…" };
        self.error(
            Diagnostic::error("double-quoted-string", span, "GSQL strings take single quotes")
                .label("double-quoted")
                .hint(format!(
                    "Write '{}' for text; names of fields and streams are written bare.",
                    fixed.replace('\'', "''")
                )),
        );
        self.push(Tok::Bad, start);
    }

    fn sigil(&mut self, sigil: char) {
        let start = self.at;
        self.at += 1;
        if !is_name_start(self.byte(0)) {
            if sigil == '$' {
                return self.push(Tok::Dollar, start);
            }
            let span = self.span_from(start);
            let what = if sigil == '#' { "a DEFINE entry" } else { "an interface property" };
            self.error(
                Diagnostic::error("bad-character", span, format!("`{sigil}` needs a name"))
                    .label(format!("expected the name of {what}")),
            );
            return self.push(Tok::Bad, start);
        }
        self.skip_name();
        let kind = match sigil {
            '$' => Tok::Param,
            '#' => Tok::Defined,
            _ => Tok::Property,
        };
        self.push(kind, start);
    }

    fn skip_name(&mut self) {
        while is_name(self.byte(0)) {
            self.at += 1;
        }
    }

    fn word(&mut self) {
        let start = self.at;
        self.skip_name();
        let word = &self.text[start..self.at];
        if self.byte(0) == b'\''
            && let Some(parse) = literal::prefixed(word)
        {
            let kind = match self.quoted(start) {
                Some(content) => match parse(&content) {
                    Ok(value) => Tok::Literal(value),
                    Err(error) => self.literal_error(start, error),
                },
                None => Tok::Bad,
            };
            return self.push(kind, start);
        }
        self.push(Tok::Word, start);
    }

    fn number(&mut self) {
        let start = self.at;
        let hex = self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X');
        if hex {
            self.skip_name();
        } else {
            while self.byte(0).is_ascii_digit() {
                self.at += 1;
            }
            if self.byte(0) == b'.' {
                self.at += 1;
                while self.byte(0).is_ascii_digit() {
                    self.at += 1;
                }
            }
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if matches!(self.byte(0), b'e' | b'E') && self.byte(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
            }
            // Digits of the exponent and any suffix.
            self.skip_name();
        }
        let kind = match literal::number(&self.text[start..self.at]) {
            Ok(value) => Tok::Literal(value),
            Err(error) => self.literal_error(start, error),
        };
        self.push(kind, start);
    }

    fn literal_error(&mut self, start: usize, error: LiteralError) -> Tok {
        let span = self.span_from(start);
        self.error(error.diagnostic(span));
        Tok::Bad
    }

    fn punctuation(&mut self) -> bool {
        let start = self.at;
        let (kind, length) = match (self.byte(0), self.byte(1)) {
            (b'<', b'<') => (Tok::Shl, 2),
            (b'>', b'>') => (Tok::Shr, 2),
            (b'<', b'>') | (b'!', b'=') => (Tok::Ne, 2),
            (b'<', b'=') => (Tok::Le, 2),
            (b'>', b'=') => (Tok::Ge, 2),
            (b'=', b'=') => (Tok::Eq, 2),
            (b'=', b'>') => (Tok::Ge, 2),
            (b'=', b'<') => (Tok::Le, 2),
            (b'&', b'&') => (Tok::AndAnd, 2),
            (b'|', b'|') => (Tok::OrOr, 2),
            (b'(', _) => (Tok::LParen, 1),
            (b')', _) => (Tok::RParen, 1),
            (b'[', _) => (Tok::LBracket, 1),
            (b']', _) => (Tok::RBracket, 1),
            (b'{', _) => (Tok::LBrace, 1),
            (b'}', _) => (Tok::RBrace, 1),
            (b',', _) => (Tok::Comma, 1),
            (b';', _) => (Tok::Semicolon, 1),
            (b'.', _) => (Tok::Dot, 1),
            (b':', _) => (Tok::Colon, 1),
            (b'+', _) => (Tok::Plus, 1),
            (b'-', _) => (Tok::Minus, 1),
            (b'*', _) => (Tok::Star, 1),
            (b'/', _) => (Tok::Slash, 1),
            (b'%', _) => (Tok::Percent, 1),
            (b'&', _) => (Tok::Amp, 1),
            (b'|', _) => (Tok::Pipe, 1),
            (b'~', _) => (Tok::Tilde, 1),
            (b'!', _) => (Tok::Bang, 1),
            (b'=', _) => (Tok::Eq, 1),
            (b'<', _) => (Tok::Lt, 1),
            (b'>', _) => (Tok::Gt, 1),
            _ => return false,
        };
        self.at += length;
        let span = self.span_from(start);
        let foreign = match span.of(self.text) {
            "==" => Some("="),
            "&&" => Some("AND"),
            "||" => Some("OR"),
            "=>" => Some(">="),
            "=<" => Some("<="),
            _ => None,
        };
        if let Some(meant) = foreign {
            self.foreign_operator(span, meant);
        }
        self.tokens.push(Token { kind, span });
        true
    }

    fn foreign_operator(&mut self, span: Span, meant: &str) {
        let written = span.of(self.text);
        self.error(
            Diagnostic::error("foreign-operator", span, format!("unknown operator `{written}`"))
                .label(format!("write `{meant}`")),
        );
    }

    /// Operators and quotes as word processors write them; true if there was one.
    fn typographic(&mut self) -> bool {
        let start = self.at;
        let Some(c) = self.rest().chars().next() else { return false };
        let (kind, meant) = match c {
            '\u{2264}' => (Tok::Le, "<="),
            '\u{2265}' => (Tok::Ge, ">="),
            '\u{2260}' => (Tok::Ne, "<>"),
            '\u{2212}' | '\u{2013}' => (Tok::Minus, "-"),
            '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => {
                self.typographic_quotes();
                return true;
            }
            _ => return false,
        };
        self.at += c.len_utf8();
        let span = self.span_from(start);
        self.foreign_operator(span, meant);
        self.push(kind, start);
        true
    }

    /// `‘text’`: one message for both quotes.
    fn typographic_quotes(&mut self) {
        const QUOTES: [char; 5] = ['\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\''];
        let start = self.at;
        let opener = self.rest().chars().next().map_or(0, char::len_utf8);
        self.at += opener;
        let line = self.rest().lines().next().unwrap_or("");
        if let Some(end) = line.find(QUOTES) {
            let closer = line[end..].chars().next().map_or(0, char::len_utf8);
            self.at += end + closer;
        }
        let span = self.span_from(start);
        self.error(
            Diagnostic::error("typographic-quote", span, "strings take the straight quote `'`")
                .label("typographic quotes")
                .hint("Write `'text'`; word processors replace the quotes by others."),
        );
        self.push(Tok::Bad, start);
    }

    /// Characters that start nothing; a run of them is one message.
    fn foreign(&mut self) {
        let start = self.at;
        let first = self.rest().chars().next().unwrap_or(' ');
        while let Some(c) = self.rest().chars().next() {
            let starts_token = c.is_whitespace()
                || c.is_ascii_alphanumeric()
                || "_'\"$#@()[]{},;.:+-*/%&|~!=<>".contains(c);
            if starts_token {
                break;
            }
            self.at += c.len_utf8();
        }
        let span = self.span_from(start);
        let error = Diagnostic::error(
            "bad-character",
            span,
            format!("unexpected character `{}`", first.escape_debug()),
        );
        let error = match first {
            '`' => error.hint("Names are written bare, without quotes."),
            '^' => error.hint("There is no exclusive or; `a | b` and `a & b` combine bits."),
            _ => error,
        };
        self.error(error);
        self.push(Tok::Bad, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Tok> {
        let (tokens, errors) = lex(text);
        assert_eq!(errors, [], "{text}");
        tokens.into_iter().map(|t| t.kind).collect()
    }

    fn codes(text: &str) -> Vec<&'static str> {
        lex(text).1.iter().map(|d| d.code).collect()
    }

    #[test]
    fn literals_have_their_types() {
        let cases = [
            ("35", Literal::Uint(35)),
            ("17UL", Literal::Uint(17)),
            ("4294967295", Literal::Uint(u32::MAX)),
            ("1000ULL", Literal::Ullong(1000)),
            ("hex'7fff'", Literal::Hex(0x7fff)),
            ("LHEX'7abcdef012'", Literal::LongHex(0x7a_bcde_f012)),
            ("0x0800", Literal::Hex(0x800)),
            ("0x100000000", Literal::LongHex(1 << 32)),
            ("35.0", Literal::Float(35.0)),
            ("35.", Literal::Float(35.0)),
            (".5", Literal::Float(0.5)),
            ("1e6", Literal::Float(1e6)),
            ("1.5e-3", Literal::Float(1.5e-3)),
            ("'it''s'", Literal::String("it's".into())),
            ("'-- // no comment'", Literal::String("-- // no comment".into())),
            ("x'DEADBEEF'", Literal::Bytes(vec![0xde, 0xad, 0xbe, 0xef])),
            ("5ms", Literal::Duration(5_000_000)),
            ("1d", Literal::Duration(86_400_000_000_000)),
        ];
        for (text, value) in cases {
            assert_eq!(kinds(text), [Tok::Literal(value), Tok::Eof], "{text}");
        }
    }

    #[test]
    fn comments_and_sigils() {
        assert_eq!(
            kinds("$a #b @C T.@D -- rest '\n// more\n;"),
            [
                Tok::Param,
                Tok::Defined,
                Tok::Property,
                Tok::Word,
                Tok::Dot,
                Tok::Property,
                Tok::Semicolon,
                Tok::Eof
            ]
        );
        assert_eq!(
            kinds("sum$(x)"),
            [Tok::Word, Tok::Dollar, Tok::LParen, Tok::Word, Tok::RParen, Tok::Eof]
        );
    }

    #[test]
    fn errors_name_the_trouble() {
        assert_eq!(codes("5000000000"), ["literal-range"]);
        assert_eq!(codes("'open"), ["unterminated-string"]);
        assert_eq!(codes("\"text\""), ["double-quoted-string"]);
        assert_eq!(codes("a == b && c || d"), ["foreign-operator"; 3]);
        assert_eq!(codes("/* c */ a"), ["block-comment"]);
        assert_eq!(codes("a \u{2019}b"), ["typographic-quote"]);
        assert_eq!(codes("10sec"), ["bad-literal"]);
        assert_eq!(codes("HEX'xyz'"), ["bad-literal"]);
        assert_eq!(codes("HEX'123456789'"), ["literal-range"]);
    }
}
