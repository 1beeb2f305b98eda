//! What is said of a recording at its end.

use crate::cli::record::RecordArgs;
use std::fmt::Write as _;

use wt_trace::record::{Books, Ended};

/// One line: what was recorded, and what was not.
pub fn summary(args: &RecordArgs, ended: &[(String, Ended)]) -> String {
    let dir = &args.write;
    let mut all = Books::default();
    ended.iter().for_each(|(_, ended)| all += ended.books);
    let Books { written, segment_bytes, segments, .. } = all;
    // What is wrong about it was said before the recording began.
    let mut text = match args.pre_trigger().ok().flatten() {
        None => format!(
            "recorded {written} packets, {segment_bytes} bytes in {segments} segments of {}",
            dir.display()
        ),
        Some(_) => format!(
            "kept {written} packets in memory, each for a while, and saved {segments} files, {segment_bytes} bytes, in {}",
            dir.display()
        ),
    };
    let parts = [
        (all.filtered, "not wanted"),
        (all.os_dropped, "dropped by the kernel, as its ring was full (--ring)"),
        (all.lost_buffer, "lost, as the buffer was full (--buffer)"),
        (all.lost_disk, "lost, as the disk was full or failed"),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, "; {count} {what}");
    }
    if all.deleted > 0 {
        let _ = write!(text, "; {} segments deleted", all.deleted);
    }
    text
}

/// A table: a line per writer.
pub fn ledger(ended: &[(String, Ended)]) -> String {
    let head = [
        "writer",
        "received",
        "kernel dropped",
        "captured",
        "written",
        "filtered",
        "lost (buffer)",
        "lost (disk)",
        "packet bytes",
        "segment bytes",
        "segments",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, Ended { books, .. }) in ended {
        let counts = [
            books.received,
            books.os_dropped,
            books.captured,
            books.written,
            books.filtered,
            books.lost_buffer,
            books.lost_disk,
            books.packet_bytes,
            books.segment_bytes,
            books.segments,
        ];
        let mut row = vec![name.clone()];
        row.extend(counts.iter().map(u64::to_string));
        rows.push(row);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}
