//! Values of literals (gsql.md §2, protocols.md): numbers, durations, addresses, times.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::ast::Literal;
use crate::diag::Diagnostic;
use crate::span::Span;

/// Nanoseconds in the units a duration may take, largest first.
pub(crate) const DURATION_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const NS_PER_S: u64 = 1_000_000_000;

/// Why a literal has no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum LiteralError {
    #[error("`{given}` does not fit {ty}, which holds {range}")]
    Range { given: String, ty: &'static str, range: &'static str, hint: Option<String> },
    #[error("`{given}` is not {what}")]
    Form { given: String, what: &'static str, hint: &'static str },
}

impl LiteralError {
    fn form(given: &str, what: &'static str, hint: &'static str) -> Self {
        Self::Form { given: given.to_owned(), what, hint }
    }

    /// The message for a literal at a place.
    pub(crate) fn diagnostic(&self, span: Span) -> Diagnostic {
        match self {
            Self::Range { hint, .. } => {
                let error = Diagnostic::error("literal-range", span, self.to_string())
                    .label("out of range");
                match hint {
                    Some(hint) => error.hint(hint.clone()),
                    None => error,
                }
            }
            Self::Form { hint, .. } => {
                Diagnostic::error("bad-literal", span, self.to_string()).hint(*hint)
            }
        }
    }
}

const UINT_RANGE: &str = "0 to 4294967295";
const ULLONG_RANGE: &str = "0 to 18446744073709551615";

/// A number as the lexer cut it out: digits, fraction, exponent, suffix; or `0x…`.
pub(crate) fn number(text: &str) -> Result<Literal, LiteralError> {
    const SUFFIXES: &str = "Numbers take the suffix `UL` (uint) or `ULL` (ullong); durations take \
                            `ns`, `us`, `ms`, `s`, `m`, `h` or `d`.";
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return hex(text, digits, None);
    }
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    if suffix.starts_with('.') || is_exponent(suffix) {
        return match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Literal::Float(value)),
            Ok(_) => Err(LiteralError::Range {
                given: text.to_owned(),
                ty: "a float",
                range: "magnitudes up to 1.8e308",
                hint: None,
            }),
            Err(_) => Err(LiteralError::form(
                text,
                "a number",
                "A float is written `35.0`, `.5` or `1e6`; durations take whole numbers, \
                 so 1.5 s is `1500ms`.",
            )),
        };
    }
    let value = digits.parse::<u64>();
    if let Some((_, unit)) = DURATION_UNITS.iter().find(|(name, _)| *name == suffix) {
        return value.ok().and_then(|v| v.checked_mul(*unit)).map(Literal::Duration).ok_or(
            LiteralError::Range {
                given: text.to_owned(),
                ty: "a duration",
                range: "0 to 18446744073709551615 ns (about 584 years)",
                hint: None,
            },
        );
    }
    let long = suffix.eq_ignore_ascii_case("ULL");
    if !long && !suffix.is_empty() && !suffix.eq_ignore_ascii_case("UL") {
        return Err(LiteralError::form(text, "a number", SUFFIXES));
    }
    match value {
        Ok(value) if long => Ok(Literal::Ullong(value)),
        Ok(value) => u32::try_from(value).map(Literal::Uint).map_err(|_| LiteralError::Range {
            given: text.to_owned(),
            ty: "uint",
            range: UINT_RANGE,
            hint: Some(format!("Write {value}ULL for a 64-bit number.")),
        }),
        Err(_) => Err(LiteralError::Range {
            given: text.to_owned(),
            ty: "ullong",
            range: ULLONG_RANGE,
            hint: Some("Write a float, such as `1e20`, for larger magnitudes.".to_owned()),
        }),
    }
}

/// Whether a suffix begins with an exponent: `e6`, `E-3`.
fn is_exponent(suffix: &str) -> bool {
    let mut chars = suffix.chars();
    if !matches!(chars.next(), Some('e' | 'E')) {
        return false;
    }
    match chars.next() {
        Some('+' | '-') => chars.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => c.is_ascii_digit(),
        None => false,
    }
}

/// Hex digits as uint or ullong: `long` fixes the type, without it the size decides.
fn hex(given: &str, digits: &str, long: Option<bool>) -> Result<Literal, LiteralError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(LiteralError::form(
            given,
            "a hexadecimal number",
            "Hexadecimal digits are 0-9 and a-f: `HEX'7fff'`, `LHEX'7abcdef012'`, `0x0800`.",
        ));
    }
    let value = u64::from_str_radix(digits, 16).ok();
    match (value.map(|v| (v, u32::try_from(v))), long) {
        (Some((_, Ok(short))), Some(false) | None) => Ok(Literal::Hex(short)),
        (Some((value, _)), Some(true) | None) => Ok(Literal::LongHex(value)),
        (Some((value, Err(_))), Some(false)) => Err(LiteralError::Range {
            given: given.to_owned(),
            ty: "uint",
            range: UINT_RANGE,
            hint: Some(format!("Write LHEX'{value:x}' for a 64-bit number.")),
        }),
        (None, _) => Err(LiteralError::Range {
            given: given.to_owned(),
            ty: "ullong",
            range: "up to 16 hexadecimal digits",
            hint: Some("Longer byte strings are written `x'…'`.".to_owned()),
        }),
    }
}

type Parse = fn(&str) -> Result<Literal, LiteralError>;

/// The reader of a literal that is a word followed at once by a quoted text, if `word` is one.
pub(crate) fn prefixed(word: &str) -> Option<Parse> {
    const FORMS: [(&str, Parse); 7] = [
        ("HEX", |t| hex(t, t, Some(false))),
        ("LHEX", |t| hex(t, t, Some(true))),
        ("X", bytes),
        ("IP_VAL", ipv4),
        ("IPV6_VAL", ipv6),
        ("TIMEVAL", timeval),
        ("TIME", time),
    ];
    FORMS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, parse)| *parse)
}

fn bytes(text: &str) -> Result<Literal, LiteralError> {
    let error = || {
        LiteralError::form(
            text,
            "a byte string",
            "A byte string has two hexadecimal digits per byte: `x'DEADBEEF'`.",
        )
    };
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(error());
    }
    digits
        .chunks_exact(2)
        .map(|pair| match (hex_digit(pair[0]), hex_digit(pair[1])) {
            (Some(high), Some(low)) => Some(high << 4 | low),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .map(Literal::Bytes)
        .ok_or_else(error)
}

fn hex_digit(b: u8) -> Option<u8> {
    (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn ipv4(text: &str) -> Result<Literal, LiteralError> {
    text.parse::<Ipv4Addr>().map(Literal::Ip).map_err(|_| {
        LiteralError::form(
            text,
            "an IPv4 address",
            "An IPv4 address has four numbers from 0 to 255: `IP_VAL'135.207.26.120'`.",
        )
    })
}

fn ipv6(text: &str) -> Result<Literal, LiteralError> {
    let colons = || text.parse::<Ipv6Addr>().ok();
    // The manual's own form: eight groups with dots between them.
    let dots = || {
        let mut groups = [0u16; 8];
        let mut parts = text.split('.');
        for group in &mut groups {
            let part = parts.next().filter(|p| (1..=4).contains(&p.len()))?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *group = u16::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then(|| Ipv6Addr::from(groups))
    };
    colons().or_else(dots).map(Literal::Ipv6).ok_or_else(|| {
        LiteralError::form(
            text,
            "an IPv6 address",
            "An IPv6 address has eight hexadecimal groups with colons or dots between them, \
             or `::` for a run of zeros: `IPV6_VAL'2001:db8::1'`.",
        )
    })
}

fn timeval(text: &str) -> Result<Literal, LiteralError> {
    const HINT: &str = "A timeval is seconds, a dot and milliseconds (0 to 999): \
                        `TIMEVAL'1234567890.250'`.";
    let error = || LiteralError::form(text, "a timeval", HINT);
    let (seconds, millis) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(millis) || millis.len() > 3 {
        return Err(error());
    }
    let seconds = seconds.parse().map_err(|_| LiteralError::Range {
        given: text.to_owned(),
        ty: "a timeval",
        range: "0 to 4294967295 seconds",
        hint: None,
    })?;
    let millis = millis.parse().map_err(|_| error())?;
    Ok(Literal::TimeVal { seconds, millis })
}

/// RFC 3339 §5.6 `date-time`, as nanoseconds since 1970.
fn time(text: &str) -> Result<Literal, LiteralError> {
    let form = || {
        LiteralError::form(
            text,
            "a time",
            "A time is written as in RFC 3339, with its offset: `TIME'2026-01-31T12:00:00Z'` or \
             `TIME'2026-01-31 12:00:00.5+01:00'`.",
        )
    };
    let seconds_and_ns = rfc3339(text.as_bytes()).ok_or_else(form)?;
    let (seconds, nanos) = seconds_and_ns;
    u64::try_from(seconds)
        .ok()
        .and_then(|s| s.checked_mul(NS_PER_S))
        .and_then(|ns| ns.checked_add(nanos))
        .map(Literal::Time)
        .ok_or_else(|| LiteralError::Range {
            given: text.to_owned(),
            ty: "TIME",
            range: "1970-01-01T00:00:00Z to 2554-07-21T23:34:33Z",
            hint: None,
        })
}

/// Seconds since 1970 and the nanoseconds within the second.
fn rfc3339(text: &[u8]) -> Option<(i64, u64)> {
    let field = |at: usize, len: usize| -> Option<i64> {
        let part = text.get(at..at + len)?;
        part.iter()
            .try_fold(0i64, |value, b| b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0')))
    };
    let mark = |at: usize, of: &[u8]| text.get(at).filter(|b| of.contains(b)).copied();
    let (year, month, day) = (field(0, 4)?, field(5, 2)?, field(8, 2)?);
    mark(4, b"-")?;
    mark(7, b"-")?;
    mark(10, b"Tt ")?;
    let (hour, minute, second) = (field(11, 2)?, field(14, 2)?, field(17, 2)?);
    mark(13, b":")?;
    mark(16, b":")?;
    // RFC 3339 allows second 60 for a leap second; it counts as the next second, as in POSIX.
    if !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0u64;
    if mark(at, b".").is_some() {
        at += 1;
        let start = at;
        while let Some(b) = text.get(at).filter(|b| b.is_ascii_digit()) {
            if at - start == 9 {
                return None;
            }
            nanos = nanos * 10 + u64::from(b - b'0');
            at += 1;
        }
        if at == start {
            return None;
        }
        nanos *= 10u64.pow(9 - (at - start) as u32);
    }
    let offset_s = match mark(at, b"Zz+-")? {
        sign @ (b'+' | b'-') => {
            let (hours, minutes) = (field(at + 1, 2)?, field(at + 4, 2)?);
            mark(at + 3, b":")?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            at += 6;
            let offset = hours * 3600 + minutes * 60;
            if sign == b'-' { -offset } else { offset }
        }
        _ => {
            at += 1;
            0
        }
    };
    if at != text.len() {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_s, nanos))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day number; the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// A time as RFC 3339 in UTC, with as many fraction digits as it needs.
pub fn format_time(ns_since_epoch: u64) -> String {
    let (seconds, nanos) = (ns_since_epoch / NS_PER_S, ns_since_epoch % NS_PER_S);
    let (year, month, day) = civil_from_days((seconds / 86_400) as i64);
    let s = seconds % 86_400;
    let mut out =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    if nanos != 0 {
        let digits = format!("{nanos:09}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
    out.push('Z');
    out
}

/// A duration in the largest unit that divides it: `90s`, `1m`, `1500ms`.
pub fn format_duration(ns: u64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let (name, unit) =
        DURATION_UNITS.iter().find(|(_, unit)| ns.is_multiple_of(*unit)).unwrap_or(&("ns", 1));
    format!("{}{name}", ns / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        let ns = |t: &str| match time(t) {
            Ok(Literal::Time(ns)) => Some(ns),
            _ => None,
        };
        assert_eq!(ns("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ns("2026-01-31T12:00:00Z"), Some(1_769_860_800 * NS_PER_S));
        assert_eq!(ns("2026-01-31 13:00:00.25+01:00"), Some(1_769_860_800_250_000_000));
        assert_eq!(ns("2026-01-31t07:00:00.000000001-05:00"), Some(1_769_860_800_000_000_001));
        assert_eq!(ns("2000-02-29T00:00:00z"), Some(951_782_400 * NS_PER_S));
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.1234567890Z",
            "2026-01-31T12:00:00+25:00",
            "2026-01-31T12:00:00Zz",
            "1969-12-31T23:59:59Z",
            "2600-01-01T00:00:00Z",
            "\u{1d7d8}026-01-31T12:00:00Z",
        ] {
            assert_eq!(ns(bad), None, "{bad}");
        }
        assert_eq!(ns(&format_time(1_769_860_800_250_000_000)), Some(1_769_860_800_250_000_000));
        assert_eq!(format_time(u64::MAX), "2554-07-21T23:34:33.709551615Z");
        assert_eq!(ns(&format_time(u64::MAX)), Some(u64::MAX));
    }

    #[test]
    fn addresses() {
        let v6 = |t| ipv6(t).ok();
        let one = Literal::Ipv6("2001:db8::1".parse().unwrap());
        assert_eq!(v6("2001:db8::1"), Some(one.clone()));
        assert_eq!(v6("2001.db8.0.0.0.0.0.1"), Some(one.clone()));
        assert_eq!(v6("2001:0db8:0:0:0:0:0:1"), Some(one));
        for bad in ["", "1.2.3.4", "1:2:3:4:5:6:7", "1.2.3.4.5.6.7.8.9", "1.2.3.4.5.6.7.12345"] {
            assert_eq!(v6(bad), None, "{bad}");
        }
        assert_eq!(ipv4("135.207.26.120"), Ok(Literal::Ip(Ipv4Addr::new(135, 207, 26, 120))));
        assert!(ipv4("256.1.1.1").is_err());
    }

    #[test]
    fn timevals_and_durations() {
        assert_eq!(timeval("12.5"), Ok(Literal::TimeVal { seconds: 12, millis: 5 }));
        assert_eq!(timeval("12.250"), Ok(Literal::TimeVal { seconds: 12, millis: 250 }));
        for bad in ["", ".5", "1.", "1.2345", "-1.0", "4294967296.0"] {
            assert!(timeval(bad).is_err(), "{bad}");
        }
        for (ns, text) in [(90_000_000_000, "90s"), (60_000_000_000, "1m"), (1, "1ns"), (0, "0s")] {
            assert_eq!(format_duration(ns), text);
            assert_eq!(number(text), Ok(Literal::Duration(ns)));
        }
        assert!(matches!(number("999999999d"), Err(LiteralError::Range { .. })));
    }
}
