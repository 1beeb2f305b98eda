//! The clock that programs stamp packets with.

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// The kernel's monotonic clock, ns, as `bpf_ktime_get_ns` tells it.
pub(crate) fn monotonic_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// The kernel's monotonic clock as of its last tick, ns, as `bpf_ktime_get_coarse_ns` tells it.
fn coarse_ns() -> u64 {
    ns(clock_gettime(ClockId::MonotonicCoarse))
}

/// Ticks that the coarse clock can be behind: a processor at work moves it itself when its own ticks have found it where it was five times. The
/// tick at hand, the one in which it stopped, and one more.
const TICKS_BEHIND: u64 = 8;

/// The most that the coarse clock is taken to be behind, ns.
const BEHIND_MAX_NS: u64 = 100_000_000;

/// How far the coarse clock can be behind, ns.
pub(crate) fn coarse_slack_ns() -> u64 {
    ns(clock_getres(ClockId::MonotonicCoarse)).saturating_mul(TICKS_BEHIND).min(BEHIND_MAX_NS)
}

/// What a program that begins from now on takes for a time, at least: it reads the fine clock, or takes a window from the coarse one that this one's end is
/// farther from than the slack. Should the coarse clock stand, time does not go on here either.
pub(crate) fn reached_ns() -> u64 {
    monotonic_ns().min(coarse_ns().saturating_add(coarse_slack_ns()))
}

/// What is added to it for the time since the epoch, ns.
pub(crate) fn offset_ns() -> u64 {
    // Of a few tries the one with least between the two looks is the best.
    let look = || {
        let before = monotonic_ns();
        let epoch = ns(clock_gettime(ClockId::Realtime));
        let took = monotonic_ns() - before;
        (took, epoch.wrapping_sub(before + took / 2))
    };
    let looks: [_; 3] = std::array::from_fn(|_| look());
    looks.into_iter().min().map_or(0, |(_, offset)| offset)
}

fn ns(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_of_programs_is_behind_what_they_have_reached() {
        assert!((1..1_000_000_000).contains(&coarse_slack_ns()));
        for _ in 0..100 {
            let reached = reached_ns();
            assert!(reached <= monotonic_ns());
            assert!(reached <= coarse_ns() + coarse_slack_ns());
        }
    }

    #[test]
    fn the_offset_leads_to_the_epoch() {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let ours = monotonic_ns().wrapping_add(offset_ns());
        assert!(ours.abs_diff(since.as_nanos() as u64) < 1_000_000_000);
    }
}
