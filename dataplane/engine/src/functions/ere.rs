//! POSIX extended regular expressions over bytes, newline-sensitive (gsql.md §20.3), as an expression tree for
//! the automata.
//!
//! The syntax is IEEE 1003.1 §9.4 as `regcomp(REG_EXTENDED | REG_NEWLINE)` reads it: `.` and `[^…]` never match a
//! newline, `^` and `$` also match after and before one. Added, because programs and people write them: `\n \r \t \f \v
//! \xHH`, `\d \w \s \D \W \S`, `\b \B \< \>`, all of them inside brackets where they make sense (POSIX takes a backslash
//! there literally, which nobody means), and `(?i)` at the very start for ASCII case folding. There are no back references.
//!
//! The pattern is bytes, and so is what it matches: a character outside ASCII is the sequence of its UTF-8 bytes.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Look, Repetition};

/// Longest pattern, bytes.
pub const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of brackets.
pub const GROUP_DEPTH_MAX: u32 = 100;
/// Most repetitions that an interval may ask for.
pub const REPEAT_MAX: u32 = 1000;
/// Most quantifiers on one atom (`a+*?`).
const QUANTIFIERS_MAX: u32 = 8;

// Building and compiling recurse over the tree; this depth fits the smallest default thread stack many times over.
const _: () = assert!(GROUP_DEPTH_MAX * (QUANTIFIERS_MAX + 2) <= 1024);

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternErrorKind {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// Brackets nest deeper than [`GROUP_DEPTH_MAX`].
    #[error("groups nest deeper than {GROUP_DEPTH_MAX}")]
    TooDeep,
    /// `(` without `)`.
    #[error("`(` has no `)`; write `\\(` for the character")]
    UnclosedGroup,
    /// `)` without `(`.
    #[error("`)` has no `(`; write `\\)` for the character")]
    UnopenedGroup,
    /// `[` without `]`.
    #[error("`[` has no `]`; write `\\[` for the character")]
    UnclosedBracket,
    /// `*`, `+`, `?` or `{n}` after nothing.
    #[error(
        "there is nothing to repeat before the quantifier; escape it with `\\` for the character"
    )]
    NothingToRepeat,
    /// More than the stated number of quantifiers in a row.
    #[error("more than {QUANTIFIERS_MAX} quantifiers in a row")]
    TooManyQuantifiers,
    /// `{m,n}` with m > n.
    #[error("the interval's lower bound is above its upper bound")]
    IntervalReversed,
    /// `{n}` beyond [`REPEAT_MAX`].
    #[error("the interval asks for more than {REPEAT_MAX} repetitions")]
    IntervalTooLarge,
    /// `[z-a]`.
    #[error("the range's end comes before its start")]
    RangeReversed,
    /// `[[:name:]]` with an unknown name.
    #[error(
        "unknown character class; POSIX has alpha, digit, alnum, upper, lower, space, blank, punct, print, graph, cntrl and xdigit"
    )]
    UnknownClass,
    /// `\1`.
    #[error("back references are not regular; write the repeated text out")]
    BackReference,
    /// A backslash before a letter that means nothing.
    #[error("unknown escape")]
    UnknownEscape,
    /// A backslash at the end.
    #[error("the pattern ends in a backslash")]
    TrailingBackslash,
    /// `(?` with anything but `(?i)` at the start.
    #[error("the only option is `(?i)`, at the very start")]
    UnknownOption,
}

/// A pattern that is not understood, with the byte where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (byte {position} of the pattern)")]
pub struct PatternError {
    /// What is wrong.
    pub kind: PatternErrorKind,
    /// Offset from 0.
    pub position: usize,
}

/// Parses a pattern. The tree matches any bytes, UTF-8 or not.
pub fn parse(pattern: &[u8]) -> Result<Hir, PatternError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(PatternError { kind: PatternErrorKind::TooLong, position: PATTERN_BYTES_MAX });
    }
    let (fold_case, start) = if pattern.starts_with(b"(?i)") { (true, 4) } else { (false, 0) };
    let mut parser = Parser { pattern, at: start, fold_case };
    let hir = parser.alternatives(0)?;
    match parser.peek() {
        None => Ok(hir),
        Some(_) => Err(parser.error(PatternErrorKind::UnopenedGroup)),
    }
}

struct Parser<'a> {
    pattern: &'a [u8],
    at: usize,
    fold_case: bool,
}

/// `{min,max}` and the offset behind it.
struct Interval {
    min: u32,
    max: Option<u32>,
    end: usize,
}

/// What an escape stands for.
enum Escape {
    Byte(u8),
    Class(ClassBytes),
    Look(Look),
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.pattern.get(self.at + ahead).copied()
    }

    fn error(&self, kind: PatternErrorKind) -> PatternError {
        PatternError { kind, position: self.at.min(self.pattern.len()) }
    }

    fn alternatives(&mut self, depth: u32) -> Result<Hir, PatternError> {
        let mut branches = vec![self.branch(depth)?];
        while self.peek() == Some(b'|') {
            self.at += 1;
            branches.push(self.branch(depth)?);
        }
        Ok(Hir::alternation(branches))
    }

    fn branch(&mut self, depth: u32) -> Result<Hir, PatternError> {
        let mut pieces = Vec::new();
        while let Some(byte) = self.peek() {
            if byte == b'|' || byte == b')' {
                break;
            }
            let atom = self.atom(byte, depth)?;
            pieces.push(self.quantified(atom)?);
        }
        Ok(Hir::concat(pieces))
    }

    fn atom(&mut self, byte: u8, depth: u32) -> Result<Hir, PatternError> {
        match byte {
            b'(' => self.group(depth),
            b'[' => self.bracket(),
            b'*' | b'+' | b'?' => Err(self.error(PatternErrorKind::NothingToRepeat)),
            b'{' if self.interval()?.is_some() => {
                Err(self.error(PatternErrorKind::NothingToRepeat))
            }
            b'.' => {
                self.at += 1;
                Ok(Hir::class(Class::Bytes(not_newline())))
            }
            b'^' => {
                self.at += 1;
                Ok(Hir::look(Look::StartLF))
            }
            b'$' => {
                self.at += 1;
                Ok(Hir::look(Look::EndLF))
            }
            b'\\' => match self.escape()? {
                Escape::Byte(b) => Ok(self.literal(b)),
                Escape::Class(class) => Ok(Hir::class(Class::Bytes(class))),
                Escape::Look(look) => Ok(Hir::look(look)),
            },
            other => {
                self.at += 1;
                Ok(self.literal(other))
            }
        }
    }

    fn literal(&self, byte: u8) -> Hir {
        if self.fold_case && byte.is_ascii_alphabetic() {
            let mut class = ClassBytes::new([ClassBytesRange::new(byte, byte)]);
            class.case_fold_simple();
            Hir::class(Class::Bytes(class))
        } else {
            Hir::literal([byte])
        }
    }

    fn group(&mut self, depth: u32) -> Result<Hir, PatternError> {
        let open = self.at;
        if depth >= GROUP_DEPTH_MAX {
            return Err(self.error(PatternErrorKind::TooDeep));
        }
        if self.peek_at(1) == Some(b'?') {
            return Err(self.error(PatternErrorKind::UnknownOption));
        }
        self.at += 1;
        let inner = self.alternatives(depth + 1)?;
        if self.peek() != Some(b')') {
            return Err(PatternError { kind: PatternErrorKind::UnclosedGroup, position: open });
        }
        self.at += 1;
        Ok(inner)
    }

    fn quantified(&mut self, atom: Hir) -> Result<Hir, PatternError> {
        let mut hir = atom;
        for _ in 0..=QUANTIFIERS_MAX {
            let (min, max) = match self.peek() {
                Some(b'*') => {
                    self.at += 1;
                    (0, None)
                }
                Some(b'+') => {
                    self.at += 1;
                    (1, None)
                }
                Some(b'?') => {
                    self.at += 1;
                    (0, Some(1))
                }
                Some(b'{') => match self.interval()? {
                    Some(interval) => {
                        self.at = interval.end;
                        (interval.min, interval.max)
                    }
                    None => return Ok(hir),
                },
                _ => return Ok(hir),
            };
            hir = Hir::repetition(Repetition { min, max, greedy: true, sub: Box::new(hir) });
        }
        Err(self.error(PatternErrorKind::TooManyQuantifiers))
    }

    /// The interval at a `{`; `None` when the brace is an ordinary character.
    fn interval(&self) -> Result<Option<Interval>, PatternError> {
        let mut at = self.at + 1;
        let first = self.number(&mut at);
        let (min, max) = if self.pattern.get(at) == Some(&b',') {
            at += 1;
            let second = self.number(&mut at);
            if first.is_none() && second.is_none() {
                return Ok(None);
            }
            (first.unwrap_or(0), second)
        } else {
            let Some(exact) = first else { return Ok(None) };
            (exact, Some(exact))
        };
        if self.pattern.get(at) != Some(&b'}') {
            return Ok(None);
        }
        if min > REPEAT_MAX || max.is_some_and(|m| m > REPEAT_MAX) {
            return Err(self.error(PatternErrorKind::IntervalTooLarge));
        }
        if max.is_some_and(|m| m < min) {
            return Err(self.error(PatternErrorKind::IntervalReversed));
        }
        Ok(Some(Interval { min, max, end: at + 1 }))
    }

    fn number(&self, at: &mut usize) -> Option<u32> {
        let start = *at;
        let mut value = 0u32;
        while let Some(digit) = self.pattern.get(*at).filter(|b| b.is_ascii_digit()) {
            value = value.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
            *at += 1;
        }
        (*at > start).then_some(value)
    }

    /// Reads the escape at a backslash and moves behind it.
    fn escape(&mut self) -> Result<Escape, PatternError> {
        let Some(byte) = self.peek_at(1) else {
            return Err(self.error(PatternErrorKind::TrailingBackslash));
        };
        let escape = match byte {
            b'n' => Escape::Byte(b'\n'),
            b'r' => Escape::Byte(b'\r'),
            b't' => Escape::Byte(b'\t'),
            b'f' => Escape::Byte(0x0c),
            b'v' => Escape::Byte(0x0b),
            b'x' => {
                let digit = |ahead| {
                    self.peek_at(ahead).and_then(|b| char::from(b).to_digit(16)).map(|d| d as u8)
                };
                let (Some(high), Some(low)) = (digit(2), digit(3)) else {
                    return Err(self.error(PatternErrorKind::UnknownEscape));
                };
                self.at += 2;
                Escape::Byte(high << 4 | low)
            }
            b'd' => Escape::Class(ranges(DIGIT)),
            b'w' => Escape::Class(ranges(WORD)),
            b's' => Escape::Class(ranges(SPACE)),
            b'D' => Escape::Class(complement(ranges(DIGIT))),
            b'W' => Escape::Class(complement(ranges(WORD))),
            b'S' => Escape::Class(complement(ranges(SPACE))),
            b'b' => Escape::Look(Look::WordAscii),
            b'B' => Escape::Look(Look::WordAsciiNegate),
            b'<' => Escape::Look(Look::WordStartAscii),
            b'>' => Escape::Look(Look::WordEndAscii),
            b'0'..=b'9' => return Err(self.error(PatternErrorKind::BackReference)),
            b'a'..=b'z' | b'A'..=b'Z' => {
                return Err(self.error(PatternErrorKind::UnknownEscape));
            }
            other => Escape::Byte(other),
        };
        self.at += 2;
        Ok(escape)
    }

    fn bracket(&mut self) -> Result<Hir, PatternError> {
        let open = self.at;
        let unclosed = PatternError { kind: PatternErrorKind::UnclosedBracket, position: open };
        self.at += 1;
        let negated = self.peek() == Some(b'^');
        if negated {
            self.at += 1;
        }
        let mut class = ClassBytes::empty();
        let mut first = true;
        loop {
            let byte = self.peek().ok_or(unclosed)?;
            // A `]` that comes first is a member.
            if byte == b']' && !first {
                self.at += 1;
                break;
            }
            first = false;
            let element = self.bracket_element(open)?;
            let low = match element {
                Escape::Byte(b) => b,
                Escape::Class(set) => {
                    class.union(&set);
                    continue;
                }
                Escape::Look(_) => return Err(self.error(PatternErrorKind::UnknownEscape)),
            };
            // A `-` makes a range unless it comes last.
            let is_range = self.peek() == Some(b'-') && self.peek_at(1) != Some(b']');
            if !is_range {
                class.push(ClassBytesRange::new(low, low));
                continue;
            }
            let dash = self.at;
            self.at += 1;
            if self.peek().is_none() {
                return Err(unclosed);
            }
            match self.bracket_element(open)? {
                Escape::Byte(high) if low <= high => class.push(ClassBytesRange::new(low, high)),
                Escape::Byte(_) | Escape::Class(_) | Escape::Look(_) => {
                    return Err(PatternError {
                        kind: PatternErrorKind::RangeReversed,
                        position: dash,
                    });
                }
            }
        }
        if self.fold_case {
            class.case_fold_simple();
        }
        if negated {
            class = complement(class);
        }
        Ok(Hir::class(Class::Bytes(class)))
    }

    fn bracket_element(&mut self, open: usize) -> Result<Escape, PatternError> {
        let unclosed = PatternError { kind: PatternErrorKind::UnclosedBracket, position: open };
        let byte = self.peek().ok_or(unclosed)?;
        if byte == b'\\' {
            return self.escape();
        }
        if byte != b'[' {
            self.at += 1;
            return Ok(Escape::Byte(byte));
        }
        let Some(delimiter @ (b':' | b'=' | b'.')) = self.peek_at(1) else {
            self.at += 1;
            return Ok(Escape::Byte(b'['));
        };
        let name_start = self.at + 2;
        let rest = self.pattern.get(name_start..).unwrap_or(&[]);
        let length = rest.windows(2).position(|w| w == [delimiter, b']']).ok_or(unclosed)?;
        let name = &rest[..length];
        let unknown = self.error(PatternErrorKind::UnknownClass);
        self.at = name_start + length + 2;
        if delimiter == b':' {
            return named_class(name).map(|c| Escape::Class(ranges(c))).ok_or(unknown);
        }
        // In the C locale an equivalence class or collating element is one byte.
        match name {
            [byte] => Ok(Escape::Byte(*byte)),
            _ => Err(unknown),
        }
    }
}

type Ranges = &'static [(u8, u8)];

const DIGIT: Ranges = &[(b'0', b'9')];
const WORD: Ranges = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];
const SPACE: Ranges = &[(b'\t', b'\r'), (b' ', b' ')];

fn named_class(name: &[u8]) -> Option<Ranges> {
    Some(match name {
        b"alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        b"digit" => DIGIT,
        b"alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        b"upper" => &[(b'A', b'Z')],
        b"lower" => &[(b'a', b'z')],
        b"space" => SPACE,
        b"blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        b"punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        b"print" => &[(b' ', b'~')],
        b"graph" => &[(b'!', b'~')],
        b"cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        b"xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    })
}

fn ranges(ranges: Ranges) -> ClassBytes {
    ClassBytes::new(ranges.iter().map(|&(a, b)| ClassBytesRange::new(a, b)))
}

/// Everything else but a newline.
fn complement(mut class: ClassBytes) -> ClassBytes {
    class.negate();
    class.intersect(&not_newline());
    class
}

pub(super) fn not_newline() -> ClassBytes {
    let mut class = ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]);
    class.negate();
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pattern: &str) -> (PatternErrorKind, usize) {
        let error = parse(pattern.as_bytes()).expect_err(pattern);
        (error.kind, error.position)
    }

    #[test]
    fn errors_carry_their_position() {
        use PatternErrorKind::*;
        for (pattern, kind, position) in [
            ("a(b", UnclosedGroup, 1),
            ("ab)", UnopenedGroup, 2),
            ("x[ab", UnclosedBracket, 1),
            ("x[]ab", UnclosedBracket, 1),
            ("x[^]", UnclosedBracket, 1),
            ("[[:alpha:", UnclosedBracket, 0),
            ("*a", NothingToRepeat, 0),
            ("a|+", NothingToRepeat, 2),
            ("(?a)", UnknownOption, 0),
            ("a(?i)", UnknownOption, 1),
            ("{2}", NothingToRepeat, 0),
            ("a{3,2}", IntervalReversed, 1),
            ("a{1001}", IntervalTooLarge, 1),
            ("a{99999999999}", IntervalTooLarge, 1),
            ("[z-a]", RangeReversed, 2),
            ("[a-[:digit:]]", RangeReversed, 2),
            ("[[:latin:]]", UnknownClass, 1),
            ("[[.hyphen.]]", UnknownClass, 1),
            (r"(a)\1", BackReference, 3),
            (r"a\q", UnknownEscape, 1),
            (r"\xZZ", UnknownEscape, 0),
            (r"\x1", UnknownEscape, 0),
            (r"a\", TrailingBackslash, 1),
            ("a*********", TooManyQuantifiers, 10),
        ] {
            assert_eq!(error(pattern), (kind, position), "{pattern}");
        }
    }

    #[test]
    fn limits_hold() {
        let deep = |n: usize| "(".repeat(n) + "a" + &")".repeat(n);
        assert!(parse(deep(GROUP_DEPTH_MAX as usize).as_bytes()).is_ok());
        assert_eq!(error(&deep(GROUP_DEPTH_MAX as usize + 1)).0, PatternErrorKind::TooDeep);
        assert!(parse(&vec![b'a'; PATTERN_BYTES_MAX]).is_ok());
        assert_eq!(error(&"a".repeat(PATTERN_BYTES_MAX + 1)).0, PatternErrorKind::TooLong);
        assert!(parse(b"a{1000}").is_ok());
    }

    #[test]
    fn message_names_the_byte() {
        let error = parse(b"a(b").expect_err("unclosed");
        assert_eq!(
            error.to_string(),
            "`(` has no `)`; write `\\(` for the character (byte 1 of the pattern)"
        );
    }
}
