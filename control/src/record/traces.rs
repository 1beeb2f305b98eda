//! Records traces, merged in time order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wt_catalog::Value;
use wt_engine::PacketBatch;
use wt_trace::record::{self, Interface, RecordOptions};
use wt_trace::store::{Findings, OwnStore};
use wt_wire::{CaptureReader, LinkType, MergedCaptures, RecordRef};

use super::filter::{self, Condition, Judge};
use super::finish;
use crate::cli::record::RecordArgs;
use crate::execute::{cancelled_by_signal, progress_bar, said_of_inputs};
use crate::failure::Failure;
use crate::session::{self, DEFAULT_INTERFACE};

/// Packets taken at a time.
const BATCH_PACKETS: usize = 512;

/// Traces that are open.
pub(super) struct Opened {
    captures: MergedCaptures,
    /// By capture: the name given to its interface.
    names: Vec<Option<Box<str>>>,
    /// What is said of files that are no captures at all (lenient only).
    unreadable: Vec<String>,
    /// What is found of stores while they are read.
    findings: Vec<Findings>,
}

pub(super) fn open(args: &RecordArgs) -> Result<Opened, Failure> {
    let mut readers = Vec::new();
    let mut names = Vec::new();
    let mut unreadable = Vec::new();
    let mut findings = Vec::new();
    for traces in session::parse_traces(&args.read) {
        let name =
            (traces.interface != DEFAULT_INTERFACE).then(|| traces.interface.as_str().into());
        let opened = session::open_readers(&traces.files, args.lenient, None)?;
        names.resize(names.len() + opened.readers.len(), name);
        readers.extend(opened.readers);
        unreadable.extend(opened.unreadable);
        findings.extend(opened.findings);
    }
    Ok(Opened { captures: MergedCaptures::new(readers), names, unreadable, findings })
}

pub(super) fn record(
    args: &RecordArgs,
    store: &Arc<OwnStore>,
    opened: Opened,
    options: &RecordOptions,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let Opened { mut captures, names, unreadable, findings } = opened;
    let (mut feed, writer) = record::start(store, 0, options).map_err(super::failure)?;
    let cancel = cancelled_by_signal();
    let bar = progress_bar(!args.no_progress);
    if let Some(bar) = &bar {
        let sizes: Option<u64> = captures.readers().map(CaptureReader::size_hint).sum();
        if let Some(bytes) = sizes {
            bar.set_length(bytes);
        }
    }
    let mut damage = unreadable;
    let mut judge = Judge::new(condition);
    let mut numbers: HashMap<(usize, u32), (u32, Value)> = HashMap::new();
    let mut records = Vec::new();
    let mut batches = 0_u64;
    while !cancel.load(Ordering::Relaxed) && !feed.has_failed() {
        while let Err(error) = captures.prime() {
            damage.push(error.to_string());
        }
        // Damage was met above, so that what follows cannot meet any.
        let Ok(Some(sourced)) = captures.next_batch(&mut records, BATCH_PACKETS) else { break };
        let (source, batch) = (sourced.source, sourced.batch);
        let key = (source, batch.interface);
        let link_type = batch.link_type;
        let given = if let Some((number, interface)) = numbers.get(&key) {
            let (data, records) = (batch.data, batch.records);
            let batch = packets(data, records, link_type, interface);
            judge.give(&mut feed, *number, &batch)
        } else {
            // The reader that knows the interface is lent out with the batch: keep the bytes, then look.
            let (data, kept) = (batch.data.to_vec(), batch.records.to_vec());
            let info = captures.reader(source).map(CaptureReader::interfaces);
            let info = info.and_then(|interfaces| interfaces.get(key.1 as usize));
            let snap_len = info.map_or(0, |info| info.snap_len);
            let snap_len = args.snaplen.map_or(snap_len, |snap| match snap_len {
                0 => snap,
                known => known.min(snap),
            });
            let name = names[source].clone().or_else(|| info?.name.clone());
            let value = filter::name(name.as_deref());
            let number = feed.interface(&Interface { name, link_type, snap_len });
            let batch = packets(&data, &kept, link_type, &value);
            let given = judge.give(&mut feed, number, &batch);
            numbers.insert(key, (number, value));
            given
        };
        if let Err(error) = given {
            feed.finish();
            writer.join();
            return Err(Failure::Input(error.to_string()));
        }
        batches += 1;
        if let Some(bar) = bar.as_ref().filter(|_| batches.is_multiple_of(64)) {
            bar.set_position(captures.readers().map(CaptureReader::bytes_read).sum());
            bar.set_message(format!("{} packets", feed.books().captured));
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if cancel.load(Ordering::Relaxed) {
        eprintln!("wiretable: interrupted; what was read so far is recorded");
    }
    feed.finish();
    let damage = said_of_inputs(damage, &findings);
    damage.iter().for_each(|message| eprintln!("wiretable: {message}"));
    finish(args, 0, vec![("traces".to_owned(), writer.join())])?;
    if damage.is_empty() || args.lenient {
        return Ok(());
    }
    Err(Failure::Input(
        "what is not damaged was recorded, of captures what stands before the damage; --lenient makes this no failure".to_owned(),
    ))
}

fn packets<'a>(
    data: &'a [u8],
    records: &'a [RecordRef],
    link_type: LinkType,
    interface: &'a Value,
) -> PacketBatch<'a> {
    let link_type = link_type.0;
    PacketBatch { data, records, link_type, interface, ifindex: 0, meanwhile: None }
}
