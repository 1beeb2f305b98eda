//! Timestamps: what a tick is, and how it becomes nanoseconds.

/// Nanoseconds in a second.
const NS_PER_S: u64 = 1_000_000_000;

/// Length of a tick as a fraction of a second, the `if_tsresol` of pcapng.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeResolution {
    /// 10 to the minus n seconds.
    Decimal(u8),
    /// 2 to the minus n seconds.
    Binary(u8),
}

impl TimeResolution {
    /// Microseconds, where a file says nothing.
    pub const MICRO: Self = Self::Decimal(6);
    /// Nanoseconds.
    pub const NANO: Self = Self::Decimal(9);

    /// From the option's byte: the top bit chooses the base.
    pub fn from_option(byte: u8) -> Self {
        match byte {
            0..=0x7f => Self::Decimal(byte),
            0x80..=0xff => Self::Binary(byte & 0x7f),
        }
    }

    /// The option's byte; exponents are cut to seven bits.
    pub fn to_option(self) -> u8 {
        match self {
            Self::Decimal(exponent) => exponent & 0x7f,
            Self::Binary(exponent) => exponent | 0x80,
        }
    }

    /// Time of `ticks` since the epoch plus `offset_s` seconds, in nanoseconds, rounded down, held
    /// between 0 and `u64::MAX`.
    #[inline]
    pub fn to_ns(self, ticks: u64, offset_s: i64) -> u64 {
        match self {
            Self::MICRO if offset_s == 0 => ticks.saturating_mul(1000),
            Self::NANO if offset_s == 0 => ticks,
            _ => self.to_ns_exact(ticks, offset_s),
        }
    }

    fn to_ns_exact(self, ticks: u64, offset_s: i64) -> u64 {
        let scaled = u128::from(ticks) * u128::from(NS_PER_S);
        let ns = match self {
            // 10^38 is the last power of ten in 128 bits; beyond, the quotient is 0 anyway.
            Self::Decimal(exponent) => {
                10u128.checked_pow(u32::from(exponent)).map_or(0, |divisor| scaled / divisor)
            }
            Self::Binary(exponent) => scaled.checked_shr(u32::from(exponent)).unwrap_or(0),
        };
        // Both terms stay below 2^94, so the sum cannot wrap.
        let shifted = i128::try_from(ns).unwrap_or(i128::MAX / 2)
            + i128::from(offset_s) * i128::from(NS_PER_S);
        u64::try_from(shifted).unwrap_or(if shifted < 0 { 0 } else { u64::MAX })
    }

    /// Ticks of a time in nanoseconds, rounded down, held at `u64::MAX`: what a writer stores.
    pub fn from_ns(self, ns: u64) -> u64 {
        let ns = u128::from(ns);
        let ticks = match self {
            Self::Decimal(exponent) => 10u128
                .checked_pow(u32::from(exponent))
                .and_then(|factor| ns.checked_mul(factor))
                .map(|scaled| scaled / u128::from(NS_PER_S)),
            Self::Binary(exponent) if exponent < 64 => {
                Some((ns << exponent) / u128::from(NS_PER_S))
            }
            Self::Binary(_) => None,
        };
        ticks.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds() {
        let second = TimeResolution::Decimal(0);
        assert_eq!(second.to_ns(3, 0), 3 * NS_PER_S);
        assert_eq!(second.to_ns(3, -1), 2 * NS_PER_S);
        assert_eq!(second.to_ns(3, -4), 0);
        assert_eq!(second.to_ns(u64::MAX, 0), u64::MAX);
        assert_eq!(TimeResolution::MICRO.to_ns(1_500_000, 0), 1_500_000_000);
        assert_eq!(TimeResolution::MICRO.to_ns(u64::MAX, 0), u64::MAX);
        assert_eq!(TimeResolution::MICRO.to_ns(1, 1), 1_000_001_000);
        assert_eq!(TimeResolution::NANO.to_ns(7, 0), 7);
        assert_eq!(TimeResolution::NANO.to_ns(7, i64::MAX), u64::MAX);
        assert_eq!(TimeResolution::NANO.to_ns(u64::MAX, i64::MIN), 0);
        assert_eq!(TimeResolution::Decimal(12).to_ns(1_999, 0), 1);
        assert_eq!(TimeResolution::Decimal(127).to_ns(u64::MAX, 0), 0);
        assert_eq!(TimeResolution::Binary(32).to_ns(3 << 31, 0), 1_500_000_000);
        assert_eq!(TimeResolution::Binary(127).to_ns(u64::MAX, 0), 0);
    }

    #[test]
    fn options_and_ticks_round_trip() {
        for byte in 0..=255 {
            assert_eq!(TimeResolution::from_option(byte).to_option(), byte);
        }
        for resolution in [TimeResolution::MICRO, TimeResolution::NANO, TimeResolution::Decimal(0)]
        {
            let ns = 1_700_000_000 * NS_PER_S;
            assert_eq!(resolution.to_ns(resolution.from_ns(ns), 0), ns);
        }
        assert_eq!(TimeResolution::Binary(10).from_ns(2 * NS_PER_S), 2048);
        assert_eq!(TimeResolution::Decimal(127).from_ns(1), u64::MAX);
        assert_eq!(TimeResolution::Decimal(19).from_ns(u64::MAX), u64::MAX);
    }
}
