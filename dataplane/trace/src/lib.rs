//! Plain capture files, read in batches as fast as one core allows, and in ranges by several.
//!
//! [`TraceFile::open`] takes regular files that hold a plain classic pcap, or pcapng of one interface; what else there is, it
//! hands back as a [`wt_wire::CaptureReader`], which reads everything. A [`TraceReader`] gives what
//! that reader gives: the same records in the same order, the same damage at the same place.
//!
//! ```
//! use wt_trace::{Opened, TraceFile};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/captures/http.pcap");
//! let mut bytes = 0;
//! if let Opened::Plain(trace) = TraceFile::open(path.as_ref())? {
//!     let mut reader = trace.reader();
//!     while let Some(batch) = reader.next_batch()? {
//!         bytes += batch.records.iter().map(|record| u64::from(record.len)).sum::<u64>();
//!     }
//! }
//! assert!(bytes > 10_000);
//! # Ok(())
//! # }
//! ```

mod far;
mod file;
pub mod index;
mod mapped;
mod reader;
pub mod record;
mod resync;
mod scout;
pub mod store;
mod sys;
mod walk;
mod window;

pub use file::{Opened, SideBySide, TraceFile};
pub use mapped::{MapFile, Tuning};
pub use reader::{Meanwhile, TraceReader};
