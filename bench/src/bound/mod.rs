//! Hand-written programs: each task as a careful expert writes it for this task alone. They define the ratio 1.0.

pub mod capture;
mod count;
mod flows;
mod libpcap;
mod many;
pub mod packet;
pub mod resync;
mod seconds;
pub mod slice;
mod table;

use std::io::Write;
use std::path::Path;

use capture::{BoundError, Mapped, Task};
use clap::ValueEnum;

use crate::filters;

/// What is asked of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum TaskName {
    /// Packets and bytes
    T1,
    /// TCP with port 80 or 443: packets and bytes
    T2,
    /// Packets and bytes per destination address and second, as rows
    T3,
    /// TCP flows: how many, their packets and bytes
    T4,
    /// TCP port 80, and its segments with a line that has HTTP/1
    T5,
    /// Twenty filters, packets and bytes of each
    T8,
    /// A hundred filters, packets and bytes of each
    Wide,
}

/// How a program goes through a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Method {
    /// One cursor, read() into a buffer of 256 KiB
    Read,
    /// One cursor over a mapping, which waits for each header
    Mmap,
    /// One cursor over a mapping, which asks for all lines ahead of itself
    Ahead,
    /// Eight cursors over a mapping
    Cursors,
    /// A loop of libpcap
    Pcap,
}

/// Cursors on one core: enough to cover a miss of memory by the work of the others.
pub const CURSORS: usize = 8;

/// Runs a task over a trace and writes its rows.
///
/// # Errors
/// [`BoundError`].
pub fn run(
    task: TaskName,
    method: Method,
    cores: usize,
    path: &Path,
    output: &mut dyn Write,
) -> Result<(), BoundError> {
    let how = How { method, cores, path };
    match (task, method) {
        (TaskName::T2, Method::Pcap) => {
            const FILTER: &str = "tcp and (port 80 or port 443)";
            let all = libpcap::with_pcap(path, Some(FILTER), count::All::default(), output)?;
            all.finish(output).map_err(BoundError::Write)
        }
        (TaskName::T8, Method::Pcap) => libpcap::many(path, &filters::twenty(), output),
        (TaskName::Wide, Method::Pcap) => libpcap::many(path, &filters::hundred(), output),
        (TaskName::T1, _) => how.run(count::All::default, false, output),
        (TaskName::T2, _) => how.run(count::Web::default, false, output),
        // Rows may leave early only when one cursor sees the file from its beginning.
        (TaskName::T3, Method::Cursors) => how.run(seconds::Seconds::default, false, output),
        (TaskName::T3, _) if cores > 1 => how.run(seconds::Seconds::default, false, output),
        (TaskName::T3, _) => how.run(seconds::Seconds::whole, false, output),
        // One table for all cursors: popular flows are in the cache once.
        (TaskName::T4, _) => how.run(flows::Flows::default, true, output),
        (TaskName::T5, _) => how.run(count::Http::default, false, output),
        (TaskName::T8, _) => how.run(many::Twenty::default, false, output),
        (TaskName::Wide, _) => how.run(many::Hundred::default, false, output),
    }
}

struct How<'a> {
    method: Method,
    cores: usize,
    path: &'a Path,
}

impl How<'_> {
    fn run<T: Task>(
        &self,
        new: impl Fn() -> T + Sync,
        shared: bool,
        output: &mut dyn Write,
    ) -> Result<(), BoundError> {
        let task = match (self.method, self.cores) {
            (Method::Pcap, _) => libpcap::with_pcap(self.path, None, new(), output)?,
            (Method::Cursors, 0 | 1) => {
                Mapped::open(self.path)?.cursors::<T, CURSORS>(new, shared, output)?
            }
            (Method::Cursors, cores) => {
                Mapped::open(self.path)?.cursors_on::<T, CURSORS>(cores, new, shared, output)?
            }
            (Method::Read, 0 | 1) => capture::with_read(self.path, new(), output)?,
            (Method::Read, cores) => Mapped::open(self.path)?.read_on(cores, new, output)?,
            (Method::Mmap, 0 | 1) => Mapped::open(self.path)?.single(new(), output)?,
            (Method::Ahead, 0 | 1) => Mapped::open(self.path)?.ahead(new(), output)?,
            (Method::Mmap | Method::Ahead, cores) => {
                Mapped::open(self.path)?.cursors_on::<T, 1>(cores, new, shared, output)?
            }
        };
        task.finish(output).map_err(BoundError::Write)
    }
}
