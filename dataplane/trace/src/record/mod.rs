//! The recorder: packets into the segments of a store, without ever waiting for the disk.
//!
//! ```text
//! capture thread: Feed ─ chunks of encoded blocks ─▶ writing thread: frames, segments, syncs, retention ─▶ DIR
//!                  ▲                                     │
//!                  └────────── chunks, emptied ──────────┘
//! ```
//!
//! There are as many chunks as the buffer has room for. When all are under way, packets are given up and counted; the capture goes on. A frame is
//! written whole, then the mark moves behind it, and once in a while all is synced: what a power failure takes is what came since.
//!
//! Where packets come from is not known here: a file, an interface, a test.

mod books;
mod disk;
pub(crate) mod encode;
mod feed;
pub mod memory;
mod segment;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use books::Books;
pub use encode::Interface;
pub use feed::Feed;

use self::disk::Disk;
use self::feed::Shared;
use crate::store::{Keep, OwnStore, StoreError, WRITERS_MAX};

/// Least and most bytes of a segment.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;

/// What happens when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The recording ends.
    Stop,
    /// The oldest segment that may be is deleted; when there is none, as [`Self::Pause`].
    DropOldest,
    /// Packets are lost and counted until there is room again.
    Pause,
}

/// What is told while a recording goes on.
#[derive(Clone)]
pub struct Notice(Arc<Say>);

type Say = dyn Fn(&dyn fmt::Display) + Send + Sync;

impl Notice {
    /// Tells it to `say`.
    pub fn new(say: impl Fn(&dyn fmt::Display) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }

    fn say(&self, what: &dyn fmt::Display) {
        (self.0)(what);
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notice")
    }
}

/// How a recording is done.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Bytes after which a segment ends.
    pub segment_bytes: u64,
    /// Time after which a segment ends.
    pub segment_time: Option<Duration>,
    /// How often what was written is synced.
    pub sync_interval: Duration,
    /// Memory for packets that the disk has not taken yet, bytes per writer.
    pub buffer_bytes: u64,
    /// Bytes kept of a packet.
    pub snap_len: u32,
    /// What the store may take.
    pub keep: Keep,
    /// What happens when the disk is full.
    pub on_full: OnFull,
    /// Make an index of each segment while it is written. Compressing a segment takes its index away.
    pub index: bool,
    /// Level of zstd by which closed segments are compressed.
    pub compress: Option<i32>,
    /// The source can wait for the disk, so that nothing is lost for want of room: a file.
    pub waits: bool,
    /// Is told what happens on the way.
    pub notice: Notice,
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            segment_time: None,
            sync_interval: Duration::from_secs(1),
            buffer_bytes: 128 << 20,
            snap_len: wt_wire::CAPLEN_MAX,
            keep: Keep::default(),
            on_full: OnFull::Pause,
            index: true,
            compress: None,
            waits: false,
            notice: Notice::new(|_| {}),
        }
    }
}

/// A writer at work: its threads.
#[derive(Debug)]
pub struct Writer {
    disk: JoinHandle<disk::Outcome>,
    /// Compresses closed segments.
    tending: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// How a writer ended.
#[derive(Debug)]
pub struct Ended {
    /// Where every packet went.
    pub books: Books,
    /// Why not all was written, where the disk was the reason.
    pub failure: Option<StoreError>,
}

/// Starts a writer of a store.
///
/// # Errors
/// The store cannot be written, or there is no thread to be had.
///
/// # Panics
/// When `number` is not below [`WRITERS_MAX`], or there is no interface to describe.
pub fn start(
    store: &Arc<OwnStore>,
    number: u16,
    options: &RecordOptions,
) -> Result<(Feed, Writer), StoreError> {
    assert!(number < WRITERS_MAX, "writer {number} of {WRITERS_MAX}");
    let shared = Arc::new(Shared::default());
    let (orders, ordered) = mpsc::channel();
    let (give_back, written) = mpsc::channel();
    let no_thread = || StoreError::io("start a thread for", store.dir());
    let (mut closed, mut tending) = (None, None);
    if let Some(level) = options.compress {
        let (sender, to_tend) = mpsc::channel();
        let (store, notice) = (Arc::clone(store), options.notice.clone());
        let work = move || disk::tend(&store, &to_tend, level, &notice);
        let thread = thread::Builder::new().name(format!("closed {number}")).spawn(work);
        (closed, tending) = (Some(sender), Some(thread.map_err(no_thread())?));
    }
    let disk = Disk::new(
        Arc::clone(store),
        number,
        options,
        Arc::clone(&shared),
        (ordered, give_back),
        closed,
    )?;
    let thread = thread::Builder::new().name(format!("writer {number}"));
    let thread = thread.spawn(move || disk.run()).map_err(no_thread())?;
    let feed = Feed::new(
        Arc::clone(&shared),
        (orders, written),
        options.buffer_bytes,
        options.snap_len,
        options.waits,
    );
    Ok((feed, Writer { disk: thread, tending, shared }))
}

/// A look at a recording from elsewhere.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// The books so far.
    pub fn books(&self) -> Books {
        self.0.account.books()
    }
}

impl Writer {
    /// A look at it from elsewhere.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Waits for the end, which [`Feed::finish`] brings about.
    pub fn join(self) -> Ended {
        let failure = self.disk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if let Some(tending) = self.tending {
            tending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        Ended { books: self.shared.account.books(), failure }
    }
}
