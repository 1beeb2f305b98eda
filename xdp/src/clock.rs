//! The clock that programs stamp packets with.

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

/// The kernel's monotonic clock, ns, as `bpf_ktime_get_ns` tells it.
pub(crate) fn monotonic_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// From one tick of the kernel to the next, ns.
pub(crate) fn tick_ns() -> u64 {
    ns(clock_getres(ClockId::MonotonicCoarse))
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
    fn ticks_are_between_a_tenth_of_a_millisecond_and_a_tenth_of_a_second() {
        assert!((100_000..=100_000_000).contains(&tick_ns()), "{}", tick_ns());
    }

    #[test]
    fn the_offset_leads_to_the_epoch() {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let ours = monotonic_ns().wrapping_add(offset_ns());
        assert!(ours.abs_diff(since.as_nanos() as u64) < 1_000_000_000);
    }
}
