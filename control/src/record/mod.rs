//! `wiretable record`: packets of interfaces or traces into a store.

mod by_socket;
mod control;
mod device;
pub mod filter;
mod in_driver;
mod live;
mod show;
mod traces;

use std::sync::Arc;

use wt_trace::record::{Books, Ended, Notice, OnFull, RecordOptions};
use wt_trace::store::{Keep, OwnStore, Recovered, StoreError};

use self::filter::Condition;
use crate::cli::CaptureWay;
use crate::cli::record::{FullArg, RecordArgs};
use crate::failure::Failure;
use crate::live::parse_interfaces;

/// Level of zstd: fast, as segments are compressed while others are written.
const COMPRESS_LEVEL: i32 = 3;

/// Records until the traces end, or someone ends it.
pub fn record(args: &RecordArgs) -> Result<(), Failure> {
    let is_live = !args.interface.is_empty();
    let ring = args.kernel_ring().map_err(Failure::Input)?;
    let pre_trigger = args.pre_trigger().map_err(Failure::Input)?;
    refuse_of_traces(args, pre_trigger.is_some(), is_live)?;
    let capture = crate::cli::CaptureArgs {
        no_promiscuous: args.no_promiscuous,
        ring,
        capture: args.capture,
        disposition: args.disposition,
        stamps: args.stamps,
        ..Default::default()
    };
    let interfaces = parse_interfaces(&args.interface, &capture, CaptureWay::Auto)?;
    live::refuse(&interfaces)?;
    let options = options(args, is_live)?;
    let condition = Condition::of(&args.condition)?;
    // What cannot be read or captured from leaves no store behind.
    let run = match is_live {
        true => Run::Live(live::open(args, &interfaces, &options, condition.as_ref())?),
        false => Run::Traces(traces::open(args)?),
    };
    let (store, recovered) =
        OwnStore::open(&args.write, args.store.index_ratio).map_err(failure)?;
    recovered.iter().for_each(say_recovered);
    let store = Arc::new(store);
    match run {
        Run::Live(sources) => {
            live::record(args, pre_trigger, &store, sources, &options, condition.as_ref())
        }
        Run::Traces(traces) => traces::record(args, &store, traces, &options, condition.as_ref()),
    }
}

enum Run {
    Live(Vec<live::Opened>),
    Traces(traces::Opened),
}

fn refuse_of_traces(args: &RecordArgs, is_kept: bool, is_live: bool) -> Result<(), Failure> {
    let given = [
        (args.until.is_given(), "--for and --packets end a live capture; traces end by themselves"),
        (args.queues > 1, "--queues is for interfaces; traces have one order"),
        (
            is_kept,
            "--pre-trigger, or --ring with a time, is for interfaces; traces can be read again",
        ),
        (!args.ring.is_empty(), "--ring is for interfaces; traces wait in their files"),
        (
            args.control.is_some(),
            "--control is for interfaces; a recording of traces ends by itself",
        ),
        (args.no_promiscuous, "--no-promiscuous is for interfaces"),
        (
            args.capture.is_some() || args.disposition.is_some() || args.stamps.is_some(),
            "--capture, --disposition and --stamps are for interfaces",
        ),
        (
            args.store.on_full == Some(FullArg::Pause),
            "--on-full pause is for interfaces, whose packets come whether there is room or not; traces can be read again later",
        ),
    ];
    let refused = given.iter().find(|(is_given, _)| *is_given && !is_live);
    refused.map_or(Ok(()), |(_, why)| Err(Failure::Input((*why).to_owned())))
}

fn options(args: &RecordArgs, is_live: bool) -> Result<RecordOptions, Failure> {
    let store = &args.store;
    let on_full = match store.on_full {
        Some(FullArg::Stop) => OnFull::Stop,
        Some(FullArg::DropOldest) => OnFull::DropOldest,
        Some(FullArg::Pause) => OnFull::Pause,
        None if is_live => OnFull::Pause,
        None => OnFull::Stop,
    };
    if store.keep_bytes.is_some_and(|bytes| bytes < 2 * store.segment_size) {
        return Err(Failure::Input(format!(
            "--keep-bytes has to hold two segments: one that is written and one that is kept\n  help: {} or more, or a smaller --segment-size",
            2 * store.segment_size
        )));
    }
    Ok(RecordOptions {
        segment_bytes: store.segment_size,
        segment_time: store.segment_time,
        sync_interval: store.sync_interval,
        buffer_bytes: store.buffer,
        snap_len: args.snaplen.unwrap_or(wt_wire::CAPLEN_MAX),
        keep: Keep {
            bytes_max: store.keep_bytes,
            age_max: store.keep_for,
            free_min: store.keep_free,
        },
        on_full,
        index: !store.no_index && store.compress.is_none(),
        compress: store.compress.map(|_| COMPRESS_LEVEL),
        waits: !is_live,
        notice: Notice::new(|what| eprintln!("wiretable: {what}")),
    })
}

/// A store that cannot be used, as the command says it.
pub fn failure(error: StoreError) -> Failure {
    let help = error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
    let message = format!("{error}{help}");
    match error {
        StoreError::Io { .. } | StoreError::Locked { .. } | StoreError::NotAStore { .. } => {
            Failure::Environment(message)
        }
        _ => Failure::Input(message),
    }
}

fn say_recovered(recovered: &Recovered) {
    let Recovered { segment, packets, cut_bytes, lost_packets, is_deleted, is_indexed } = recovered;
    let outcome = match (is_deleted, is_indexed) {
        (true, _) => "deleted",
        (false, true) => "closed and indexed",
        (false, false) => "closed",
    };
    eprintln!(
        "wiretable: segment {segment} had not been closed: {outcome} with {packets} packets; {cut_bytes} bytes at its end were not complete, and {lost_packets} packets are lost that were written and not synced"
    );
}

/// Prints the books, and tells how the recording ended.
fn finish(args: &RecordArgs, unread: u64, ended: Vec<(String, Ended)>) -> Result<(), Failure> {
    if args.ledger {
        eprint!("{}", show::ledger(&ended));
    }
    eprintln!("wiretable: {}", show::summary(args, &ended));
    let mut all = Books::default();
    for (name, Ended { books, .. }) in &ended {
        if !books.balance() {
            return Err(Failure::Environment(format!(
                "the books of {name} do not balance, which is a fault of this program: {books}"
            )));
        }
        all += *books;
    }
    let Books { received, os_dropped, captured, .. } = all;
    if received > 0 && received != os_dropped + captured + unread {
        return Err(Failure::Environment(format!(
            "the books do not balance, which is a fault of this program: received {received}, kernel dropped {os_dropped}, captured {captured}, not read {unread}"
        )));
    }
    match ended.into_iter().find_map(|(_, ended)| ended.failure) {
        Some(error) => Err(failure(error)),
        None => Ok(()),
    }
}
