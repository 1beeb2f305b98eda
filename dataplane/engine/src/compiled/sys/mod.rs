//! The border to compiled code: entering it, what it asks of the host, and hints to the memory system.
#![expect(
    unsafe_code,
    reason = "machine code made at run time is called, and calls back, through raw pointers"
)]

mod words;

use wt_wire::RecordRef;

use super::frame;
use super::host::Host;
use super::vectors::{Filters, ROWS};
use crate::functions::lpm::{PrefixTable, id_of};

pub(crate) use words::Words;

/// Signature of compiled code: the frame, the bytes of the batch, its records, and how many there are; or the frame, nothing, rows, and how many.
type Entry = unsafe extern "C" fn(*mut u64, *const u8, *const RecordRef, u64);

/// Code ready to run, with the memory that holds it.
pub(super) struct Code {
    /// Keeps the pages of `entry` mapped.
    module: Option<cranelift_jit::JITModule>,
    entry: Entry,
    /// What is asked of packets in arrays that `entry` fills.
    filters: Option<Filters>,
}

// SAFETY: finished code is not written any more, and what it reads and writes comes to it in arguments. The module only holds its pages, until it is dropped
// by whoever has it last.
unsafe impl Send for Code {}
// SAFETY: as above; calls at the same time have frames and hosts of their own.
unsafe impl Sync for Code {}

impl Code {
    /// Code that a module has finished; `entry` is its address. With `filters` it fills arrays of the frame.
    pub(super) fn new(
        module: cranelift_jit::JITModule,
        entry: *const u8,
        filters: Option<Filters>,
    ) -> Self {
        // SAFETY: it is a finished function of `module`, compiled with the parameters of `Entry` and the host's C calling convention.
        let entry = unsafe { std::mem::transmute::<*const u8, Entry>(entry) };
        Self { module: Some(module), entry, filters }
    }

    /// Runs the code over the records of a batch, as far as to one with a number that is cut in arrays; the result is how many that were. Their bytes
    /// must lie in `data`; the code checks that.
    pub(super) fn run(
        &self,
        frame: &mut [u64],
        data: &[u8],
        records: &[RecordRef],
        host: &mut Host,
    ) -> usize {
        frame[frame::HOST] = std::ptr::from_mut(host) as u64;
        frame[frame::DATA_END] = data.as_ptr_range().end as u64;
        frame[frame::OUTSIDE] = 0;
        for chunk in records.chunks(ROWS) {
            let filters = self.filters.as_ref();
            let rows = filters.map_or(0, |filters| frame[filters.rows.cursor] as usize / 2);
            if rows + chunk.len() > ROWS {
                self.ask_filters(frame);
            }
            // SAFETY: the frame has the length the code was compiled for (`Frame::words`), the code leaves a record alone that does not lie in `data`, and both
            // live until the call returns. Arrays have room for a row of each record.
            unsafe {
                let (records, count) = (chunk.as_ptr(), chunk.len() as u64);
                (self.entry)(frame.as_mut_ptr(), data.as_ptr(), records, count);
            }
            assert!(frame[frame::OUTSIDE] == 0, "a record lies outside its batch");
            let cut = filters.map_or(0, |filters| frame[filters.rows.cut] as usize);
            if cut != 0 {
                return (cut - records.as_ptr() as usize) / size_of::<RecordRef>() + 1;
            }
        }
        records.len()
    }

    /// Asks the filters of packets that are in arrays. These are empty then.
    pub(super) fn ask_filters(&self, frame: &mut [u64]) {
        let Some(filters) = self.filters.as_ref().filter(|filters| frame[filters.rows.cursor] > 0)
        else {
            return;
        };
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has AVX2.
            return unsafe { ask_by_avx2(filters, frame) };
        }
        filters.ask(frame);
    }

    /// Runs code for rows of `stride` words, which is what it was compiled for, over some. Where it writes to has room for as many.
    pub(super) fn run_rows(&self, frame: &mut [u64], rows: &[u64], stride: usize, host: &mut Host) {
        frame[frame::HOST] = std::ptr::from_mut(host) as u64;
        let count = rows.len() / stride;
        // SAFETY: the frame has the length the code was compiled for (`Frame::words`), rows have as many words as every load is inside of, and both
        // live until the call returns. What the frame's cursor points at is the caller's, who has room for a row made of each.
        unsafe {
            (self.entry)(frame.as_mut_ptr(), std::ptr::null(), rows.as_ptr().cast(), count as u64);
        }
    }
}

/// [`Filters::ask`], made for vectors of 256 bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn ask_by_avx2(filters: &Filters, frame: &mut [u64]) {
    filters.ask(frame);
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: nothing calls `entry` any more: it is private to this value, which is going away.
            unsafe { module.free_memory() };
        }
    }
}

/// Address of [`evaluate`] for compiled code.
pub(super) fn evaluate_address() -> u64 {
    evaluate as *const () as u64
}

/// Address of [`keep`] for compiled code.
pub(super) fn keep_address() -> u64 {
    keep as *const () as u64
}

/// Evaluates a node that only the host can: operands are in the frame, and so is the result. Returns a lack, 0 for none.
extern "C" fn evaluate(host: *mut Host, frame: *mut u64, frame_words: u64, node: u64) -> u64 {
    // SAFETY: compiled code passes the pointer that `Code::run` put into the frame, where the host outlives the call.
    let host = unsafe { &mut *host };
    // SAFETY: compiled code passes its own frame and that frame's length; nothing else uses it meanwhile.
    let frame = unsafe { std::slice::from_raw_parts_mut(frame, frame_words as usize) };
    host.evaluate(frame, node as usize)
}

/// Keeps a copy of bytes until the batch ends, and returns its number.
extern "C" fn keep(host: *mut Host, address: u64, len: u64) -> u64 {
    // SAFETY: as in `evaluate`.
    let host = unsafe { &mut *host };
    host.keep(bytes(&address, len))
}

/// Address of [`settle`] for compiled code.
pub(super) fn settle_address() -> u64 {
    settle as *const () as u64
}

/// Settles the counters of the packet at hand: they count unless `counts` is 0.
extern "C" fn settle(host: *mut Host, frame: *mut u64, frame_words: u64, counts: u64) -> u64 {
    // SAFETY: as in `evaluate`.
    let host = unsafe { &*host };
    // SAFETY: as in `evaluate`.
    let frame = unsafe { std::slice::from_raw_parts_mut(frame, frame_words as usize) };
    host.settle(frame, counts != 0);
    0
}

/// Address of [`walk`] for compiled code.
pub(super) fn walk_address() -> u64 {
    walk as *const () as u64
}

/// Walks the headers of a packet on a path without code; how the path ended.
extern "C" fn walk(
    host: *mut Host,
    frame: *mut u64,
    frame_words: u64,
    record: *const RecordRef,
    start: u64,
    at: u64,
) -> u64 {
    // SAFETY: as in `evaluate`.
    let host = unsafe { &mut *host };
    // SAFETY: as in `evaluate`.
    let frame = unsafe { std::slice::from_raw_parts_mut(frame, frame_words as usize) };
    // SAFETY: compiled code passes the record that it is at, one of those given to `Code::run`.
    let record = unsafe { &*record };
    let data = bytes(&start, u64::from(record.caplen));
    host.walk(frame, record, (start, data), at as usize)
}

/// Address of [`lpm`] for compiled code.
pub(super) fn lpm_address() -> u64 {
    lpm as *const () as u64
}

/// The identifier of an address, whose words are as [`wt_catalog::layout::Class::Inet`] says.
extern "C" fn lpm(table: *const PrefixTable, family: u64, high: u64, low: u64) -> u64 {
    // SAFETY: compiled code passes the address of a table among the host's handles, which live as long as the code.
    let table = unsafe { &*table };
    let found = match family {
        4 => table.get_v4(low as u32),
        _ => table.get_v6(u128::from(high) << 64 | u128::from(low)),
    };
    id_of(found) as u64
}

/// Bytes that compiled code points at. They live at least as long as the call it is making.
pub(super) fn bytes(address: &u64, len: u64) -> &[u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: compiled code only forms addresses of captured bytes of the batch (checked against their end) and of values that the host keeps.
    unsafe { std::slice::from_raw_parts(*address as *const u8, len as usize) }
}

/// Asks for the cache line of an element that will be read soon.
#[inline]
pub(super) fn prefetch<T>(slice: &[T], index: usize) {
    if let Some(element) = slice.get(index) {
        prefetch_at(element);
    }
}

/// Asks for the cache line of an address.
#[inline]
fn prefetch_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect but on caches, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
