//! The same tasks by a loop of libpcap, as most programs of the field are built.

use std::io::Write;
use std::path::Path;

use pcap::{Capture, Linktype};

use super::capture::{BoundError, Record, Task};
use super::count::Totals;
use super::many::write_rows;
use crate::filters::Filter;

/// Hands every packet that passes the filter to a task.
///
/// # Errors
/// [`BoundError::Pcap`].
pub fn with_pcap<T: Task>(
    path: &Path,
    filter: Option<&str>,
    mut task: T,
    output: &mut dyn Write,
) -> Result<T, BoundError> {
    let mut capture = Capture::from_file(path)?;
    if let Some(filter) = filter {
        capture.filter(filter, true)?;
    }
    let mut number = 0;
    capture.for_each(None, |packet| {
        let header = packet.header;
        task.record(&Record {
            seconds: header.ts.tv_sec as u32,
            len: header.len,
            offset: number,
            data: packet.data,
        });
        number += 1;
    })?;
    task.drain(output).map_err(BoundError::Write)?;
    Ok(task)
}

/// Runs one compiled filter after the other on every packet.
///
/// # Errors
/// [`BoundError::Pcap`].
pub fn many(path: &Path, filters: &[Filter], output: &mut dyn Write) -> Result<(), BoundError> {
    let compiler = Capture::dead(Linktype::ETHERNET)?;
    let programs = filters
        .iter()
        .map(|filter| compiler.compile(&filter.pcap, true))
        .collect::<Result<Vec<_>, _>>()?;
    let mut totals = vec![Totals::default(); programs.len()];
    Capture::from_file(path)?.for_each(None, |packet| {
        for (totals, program) in totals.iter_mut().zip(&programs) {
            if program.filter(packet.data) {
                totals.add(packet.header.len);
            }
        }
    })?;
    write_rows(&totals, output).map_err(BoundError::Write)
}
