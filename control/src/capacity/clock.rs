//! The clock that stands while we wait: processor time of this process, all its threads, user mode and kernel.

use rustix::time::{ClockId, clock_gettime};

/// Processor time so far, ns.
pub fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
