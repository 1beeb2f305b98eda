//! Points in time as people write them: RFC 3339, seconds since the epoch, or so long ago.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::parse_duration;

const NS_PER_S: u64 = 1_000_000_000;

/// The clock, ns since the epoch.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Reads `2026-11-21T10:00:00Z` (or with `.5`, `+02:00`, a space for the T, or the day alone), `1795255200.5`, `now`, `-10m` or `+10s`.
pub fn parse(text: &str, now_ns: u64) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no time; write 2026-11-21T10:00:00Z, seconds since the epoch, now, or -10m for 10 minutes ago"
        )
    };
    if text == "now" {
        return Ok(now_ns);
    }
    let bytes = text.as_bytes();
    let is_date = bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-';
    if is_date {
        return rfc3339(text).ok_or_else(wrong);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago).map_err(|_| wrong())?;
        return Ok(now_ns.saturating_sub(ago.as_nanos() as u64));
    }
    if let Some(ahead) = text.strip_prefix('+') {
        let ahead = parse_duration(ahead).map_err(|_| wrong())?;
        return Ok(now_ns.saturating_add(ahead.as_nanos() as u64));
    }
    seconds(text).ok_or_else(wrong)
}

/// `12.5` in ns.
fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let ns: u64 = format!("{fraction:0<9}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(NS_PER_S)?.checked_add(ns)
}

fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, '-')?;
    if !(1970..=2500).contains(&year)
        || !(1..=12).contains(&month)
        || day == 0
        || day > days(year, month)
    {
        return None;
    }
    let since = day_number(year, month, day).checked_mul(86_400)?;
    if rest.is_empty() {
        return since.checked_mul(NS_PER_S);
    }
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (time, offset_s) = zone(time)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = match clock.matches(':').count() {
        1 => numbers(&format!("{clock}:00"), ':')?,
        _ => numbers(clock, ':')?,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction_ns = seconds(&format!("0.{fraction}"))?;
    let local = since + hour * 3600 + minute * 60 + second;
    local.checked_add_signed(-offset_s)?.checked_mul(NS_PER_S)?.checked_add(fraction_ns)
}

/// Splits the zone off: what it is ahead of UTC, s. Without one it is UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at(at);
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let ahead = hours * 3600 + minutes * 60;
    Some((time, if zone.starts_with('-') { -ahead } else { ahead }))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Option<Vec<u64>> = text
        .split(separator)
        .map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?)
        .collect();
    parts?.try_into().ok()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since the epoch.
fn day_number(year: u64, month: u64, day: u64) -> u64 {
    let of_years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let of_months: u64 = (1..month).map(|month| days(year, month)).sum();
    of_years + of_months + day - 1
}

/// The time in UTC: `2026-11-21T10:00:00.5Z`, as exact as it is.
pub fn show(ns: u64) -> String {
    let (mut rest, fraction) = (ns / NS_PER_S, ns % NS_PER_S);
    let clock = rest % 86_400;
    rest /= 86_400;
    let mut year = 1970;
    loop {
        let of_year = if is_leap(year) { 366 } else { 365 };
        if rest < of_year {
            break;
        }
        rest -= of_year;
        year += 1;
    }
    let mut month = 1;
    while rest >= days(year, month) {
        rest -= days(year, month);
        month += 1;
    }
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let mut text =
        format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}", rest + 1);
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_are_shown() {
        let now = 1_795_255_200 * NS_PER_S;
        for (text, expected) in [
            ("2026-11-21T10:00:00Z", now),
            ("2026-11-21 10:00", now),
            ("2026-11-21T12:00:00+02:00", now),
            ("2026-11-21T05:30:00.25-04:30", now + NS_PER_S / 4),
            ("1795255200", now),
            ("1795255200.000000001", now + 1),
            ("now", now),
            ("-10m", now - 600 * NS_PER_S),
            ("+10s", now + 10 * NS_PER_S),
            ("1970-01-01", 0),
            ("2000-02-29T23:59:59Z", 951_868_799 * NS_PER_S),
        ] {
            assert_eq!(parse(text, now), Ok(expected), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-11-21T25:00:00Z",
            "2026-11-21T10:00:00+99:00",
            "1e9",
            "-",
            "12.0000000001",
            "2026-11-21Z10",
            "-10",
            "99999999999999",
        ] {
            assert!(parse(text, now).is_err(), "{text}");
        }
        for ns in [0, now, now + 1, now + NS_PER_S / 2, 951_868_799 * NS_PER_S, u64::MAX] {
            let shown = show(ns);
            assert!(ns == u64::MAX || parse(&shown, 0) == Ok(ns), "{shown}");
        }
        assert_eq!(show(now + NS_PER_S / 2), "2026-11-21T10:00:00.5Z");
    }
}
