//! Processor time: of the machine, and of those of its threads that take part.
//!
//! The kernel counts what interfaces do (softirq) to whoever runs at that moment: the sender, `ksoftirqd`, or the thread that serves an
//! interface. The times of these threads, in ns, therefore include it. `/proc/stat` has it apart, but of the whole machine and in ticks.

use std::fs;
use std::io;
use std::time::Duration;

/// Processor time of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// All but idle and waiting.
    pub busy: Duration,
    /// In softirq, of that.
    pub softirq: Duration,
}

impl Machine {
    /// As it is now.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub fn now() -> io::Result<Self> {
        Ok(Self::of(&fs::read_to_string("/proc/stat")?))
    }

    fn of(text: &str) -> Self {
        // user nice system idle iowait irq softirq steal …, in hundredths of a second
        let line = text.lines().next().unwrap_or("");
        let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
        let time = |ticks: u64| Duration::from_millis(10 * ticks);
        Self { busy: time(at(0) + at(1) + at(2) + at(5) + at(6)), softirq: time(at(6)) }
    }

    /// What came since.
    pub fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            softirq: self.softirq.saturating_sub(before.softirq),
        }
    }
}

/// Processor time of a process, all its threads, or of a thread of the kernel; none when it is not there.
pub fn of_process(process: u32) -> Duration {
    let mut ns = 0;
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(ns)
}

/// Processor time of the threads that serve interfaces when nobody else does: `ksoftirqd`, and the one given.
pub fn of_interfaces(napi: Option<u32>) -> Duration {
    let softirq = processes().filter(|(_, name)| name.starts_with("ksoftirqd/"));
    softirq.map(|(process, _)| process).chain(napi).map(of_process).sum()
}

/// Processes by id and name, with the kernel's.
pub(super) fn processes() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((process, name.trim_end().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_machine() {
        let machine = Machine::of("cpu  100 20 3 4000 5 6 70 8 0 0\ncpu0 1 1\n");
        assert_eq!(machine.busy, Duration::from_millis(1_990));
        assert_eq!(machine.softirq, Duration::from_millis(700));
    }
}
