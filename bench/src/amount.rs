//! Numbers as people write them: `20GB`, `256KiB`, `3.6M`.

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an amount: a number and a unit of k, M, G, T (or Ki, Mi, Gi, Ti), as in 10M or 20GB"
)]
pub struct AmountError {
    given: String,
}

/// Reads an amount. Units are decimal, with `i` binary; a `B` at the end is left out.
///
/// # Errors
/// [`AmountError`] for anything else, and for numbers beyond 64 bits.
pub fn parse(text: &str) -> Result<u64, AmountError> {
    let refused = || AmountError { given: text.to_owned() };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let scale: u64 = match unit {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(refused()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut value =
        whole.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(refused)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        if !digit.is_ascii_digit() || !place.is_multiple_of(10) {
            return Err(refused());
        }
        place /= 10;
        value = value.checked_add(u64::from(digit - b'0') * place).ok_or_else(refused)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_and_fractions() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("10M", 10_000_000),
            ("3.6M", 3_600_000),
            ("1.28GB", 1_280_000_000),
            ("256KiB", 262_144),
            ("20GB", 20_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
        for text in ["", "M", "1.5", "-1", "1.x", "10 M", "99999999999T", "1..2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
