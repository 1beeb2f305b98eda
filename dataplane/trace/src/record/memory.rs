//! The last seconds in memory, written out when someone asks: what happened before an alarm is there when the alarm comes.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Watch;
use super::books::{Books, add};
use super::encode;
use super::feed::{CHUNK_LEN, Chunk, Feed, Order, Shared};
use crate::store::{StoreError, blocks, sync_dir};

/// How often saves that wait for their end are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long after its end a save is written, when no packet says that the end has passed.
const END_PATIENCE_NS: u64 = 1_000_000_000;

/// What is kept.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// How old packets may become, by their stamps.
    pub age_max: Duration,
    /// Most bytes of blocks.
    pub bytes_max: u64,
    /// Memory for packets that the keeping thread has not taken yet, bytes.
    pub buffer_bytes: u64,
    /// Bytes kept of a packet.
    pub snap_len: u32,
}

/// What was written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// Packets in it.
    pub packets: u64,
    /// From the earliest packet on, ns since the epoch; later than asked for when what came before was not kept any more. `None` without packets.
    pub from_ns: Option<u64>,
}

/// Is told how a save ended.
pub type SavedReceiver = Receiver<Result<Saved, StoreError>>;

/// Packets as blocks, in no more memory than they need.
struct Kept {
    blocks: Box<[u8]>,
    min_ns: u64,
    max_ns: u64,
    interfaces: u32,
}

#[derive(Debug)]
struct Ask {
    path: PathBuf,
    from_ns: u64,
    to_ns: u64,
    done: Sender<Result<Saved, StoreError>>,
}

/// Keeps the packets of one feed in memory.
#[derive(Debug)]
pub struct Memory {
    thread: JoinHandle<()>,
    asks: Sender<Ask>,
    shared: Arc<Shared>,
}

/// Starts to keep packets.
///
/// # Errors
/// There is no thread to be had.
pub fn start(number: u16, options: &MemoryOptions) -> io::Result<(Feed, Memory)> {
    let shared = Arc::new(Shared::default());
    let (orders, ordered) = mpsc::channel();
    let (give_back, written) = mpsc::channel();
    let (asks, asked) = mpsc::channel();
    let keeper = Keeper {
        shared: Arc::clone(&shared),
        options: options.clone(),
        kept: VecDeque::new(),
        kept_bytes: 0,
        newest_ns: 0,
        saves: Vec::new(),
    };
    let thread = thread::Builder::new().name(format!("memory {number}"));
    let thread = thread.spawn(move || keeper.run(&ordered, &asked, &give_back))?;
    let feed = Feed::new(
        Arc::clone(&shared),
        (orders, written),
        options.buffer_bytes,
        options.snap_len,
        false,
    );
    Ok((feed, Memory { thread, asks, shared }))
}

/// A hold on what is kept, for other threads.
#[derive(Clone, Debug)]
pub struct MemoryHandle {
    asks: Sender<Ask>,
}

impl MemoryHandle {
    /// Has packets of a time written to a file, which must not be there and is when it is whole: at once what is kept, later what is still to come.
    /// Who receives hears how it went.
    pub fn save(&self, path: &Path, from_ns: u64, to_ns: u64) -> SavedReceiver {
        let (done, saved) = mpsc::channel();
        // A thread that has ended drops the sender, which the receiver notices.
        let _ = self.asks.send(Ask { path: path.to_owned(), from_ns, to_ns, done });
        saved
    }
}

impl Memory {
    /// A hold on it for other threads.
    pub fn handle(&self) -> MemoryHandle {
        MemoryHandle { asks: self.asks.clone() }
    }

    /// A look at its books: `written` are packets that were kept, `segments` files that were saved.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Waits for the end, which [`Feed::finish`] brings about. Saves that wait for more are written as they are.
    pub fn join(self) -> Books {
        drop(self.asks);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.shared.account.books()
    }
}

/// The thread's state.
struct Keeper {
    shared: Arc<Shared>,
    options: MemoryOptions,
    kept: VecDeque<Kept>,
    kept_bytes: u64,
    /// The latest stamp so far, or a time that all packets are behind.
    newest_ns: u64,
    saves: Vec<Save>,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>, asks: &Receiver<Ask>, written: &Sender<Chunk>) {
        loop {
            let order = orders.recv_timeout(LOOK_EVERY);
            // Before the packets that came meanwhile: a save begins with what is kept.
            while let Ok(ask) = asks.try_recv() {
                self.begin(ask);
            }
            match order {
                Ok(Order::Chunk(chunk)) => {
                    self.keep(&chunk);
                    let _ = written.send(chunk);
                }
                Ok(Order::Idle { as_of_ns }) => self.newest_ns = self.newest_ns.max(as_of_ns),
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.forget();
            self.end_saves(false);
        }
        self.end_saves(true);
    }

    fn keep(&mut self, chunk: &Chunk) {
        let kept = Kept {
            blocks: chunk.buffer.body().into(),
            min_ns: chunk.min_ns,
            max_ns: chunk.max_ns,
            interfaces: chunk.interfaces,
        };
        let Self { saves, shared, .. } = self;
        saves.retain_mut(|save| save.take(&kept, shared));
        self.kept_bytes += kept.blocks.len() as u64;
        self.newest_ns = self.newest_ns.max(kept.max_ns).max(chunk.as_of_ns);
        self.kept.push_back(kept);
        add(&self.shared.account.written, chunk.packets);
        add(&self.shared.account.packet_bytes, chunk.packet_bytes);
    }

    /// Lets go of what is too old or too much.
    fn forget(&mut self) {
        let age_ns = u64::try_from(self.options.age_max.as_nanos()).unwrap_or(u64::MAX);
        let oldest_ns = self.newest_ns.saturating_sub(age_ns);
        while let Some(first) = self.kept.front() {
            if first.max_ns >= oldest_ns && self.kept_bytes <= self.options.bytes_max {
                break;
            }
            self.kept_bytes -= first.blocks.len() as u64;
            self.kept.pop_front();
        }
    }

    fn begin(&mut self, ask: Ask) {
        let Some(mut save) = Save::begin(ask) else { return };
        let Self { kept, shared, .. } = self;
        if kept.iter().all(|kept| save.take(kept, shared)) {
            self.saves.push(save);
        }
    }

    /// Ends saves whose time has come, or all.
    fn end_saves(&mut self, all: bool) {
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ns = now_ns.map_or(0, |since| since.as_nanos() as u64);
        let newest_ns = self.newest_ns;
        let is_due = |save: &mut Save| {
            all || newest_ns > save.to_ns || now_ns > save.to_ns.saturating_add(END_PATIENCE_NS)
        };
        for save in self.saves.extract_if(.., is_due) {
            if let Some(bytes) = save.end() {
                add(&self.shared.account.segments, 1);
                add(&self.shared.account.segment_bytes, bytes);
            }
        }
    }
}

/// A file that is being written.
struct Save {
    path: PathBuf,
    part: PathBuf,
    from_ns: u64,
    to_ns: u64,
    done: Sender<Result<Saved, StoreError>>,
    out: BufWriter<File>,
    described: u32,
    packets: u64,
    bytes: u64,
    earliest_ns: Option<u64>,
}

impl Save {
    /// Begins the file. When that fails, who asked is told, and there is nothing to go on with.
    fn begin(ask: Ask) -> Option<Self> {
        let Ask { path, from_ns, to_ns, done } = ask;
        let mut part = path.as_os_str().to_owned();
        part.push(crate::store::PART);
        let part = PathBuf::from(part);
        let mut head = Vec::new();
        encode::section(&mut head, "packets that were kept in memory, saved by wiretable");
        let create = || -> io::Result<BufWriter<File>> {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let mut out = BufWriter::with_capacity(CHUNK_LEN, File::create(&part)?);
            out.write_all(&head)?;
            Ok(out)
        };
        match create() {
            Ok(out) => Some(Self {
                path,
                part,
                from_ns,
                to_ns,
                done,
                out,
                described: 0,
                packets: 0,
                bytes: head.len() as u64,
                earliest_ns: None,
            }),
            Err(error) => {
                let _ = done.send(Err(StoreError::io("save to", &path)(error)));
                None
            }
        }
    }

    /// Writes what of these packets belongs to it. When that fails, who asked is told, and it is over.
    fn take(&mut self, kept: &Kept, shared: &Shared) -> bool {
        match self.write(kept, shared) {
            Ok(()) => true,
            Err(error) => {
                let _ = fs::remove_file(&self.part);
                let _ = self.done.send(Err(StoreError::io("save to", &self.path)(error)));
                false
            }
        }
    }

    fn write(&mut self, kept: &Kept, shared: &Shared) -> io::Result<()> {
        if kept.max_ns < self.from_ns || kept.min_ns > self.to_ns {
            return Ok(());
        }
        if kept.interfaces > self.described {
            let known = shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
            let new = &known[self.described as usize..kept.interfaces as usize];
            let mut described = Vec::new();
            new.iter().for_each(|interface| encode::interface(&mut described, interface));
            self.out.write_all(&described)?;
            self.bytes += described.len() as u64;
            self.described = kept.interfaces;
        }
        for (timestamp_ns, block) in blocks::stamped(&kept.blocks) {
            if (self.from_ns..=self.to_ns).contains(&timestamp_ns) {
                self.out.write_all(block)?;
                self.packets += 1;
                self.bytes += block.len() as u64;
                let earliest_ns = self.earliest_ns.unwrap_or(u64::MAX);
                self.earliest_ns = Some(earliest_ns.min(timestamp_ns));
            }
        }
        Ok(())
    }

    /// Puts the file in its place; its length, if that could be done.
    fn end(mut self) -> Option<u64> {
        let mut place = || -> io::Result<()> {
            self.out.flush()?;
            self.out.get_ref().sync_all()?;
            fs::rename(&self.part, &self.path)?;
            sync_dir(&self.path)
        };
        let placed = place();
        if placed.is_err() {
            let _ = fs::remove_file(&self.part);
        }
        let is_placed = placed.is_ok();
        let Self { path, packets, earliest_ns, .. } = self;
        let saved = Saved { path: path.clone(), packets, from_ns: earliest_ns };
        // Who asked may have gone; the file is there.
        let _ = self.done.send(placed.map(|()| saved).map_err(StoreError::io("save to", &path)));
        is_placed.then_some(self.bytes)
    }
}
