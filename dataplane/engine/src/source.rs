//! Sources: the captures of one interface, and what is counted of them.

use std::collections::HashMap;

use wt_catalog::Value;
use wt_wire::{CaptureError, Direction, MergedCaptures, Record};

use crate::ledger::{CaptureDamage, InterfaceLedger};
use crate::packet::Packet;

/// The captures of one interface, read in time order.
#[derive(Debug)]
pub struct Source {
    /// Interface name, as the plan knows it.
    pub interface: String,
    /// Its captures.
    pub captures: MergedCaptures,
}

/// Indices of interfaces by order of first appearance, over all sources of a run.
#[derive(Default)]
pub(crate) struct InterfaceIndices {
    known: HashMap<(usize, Option<Box<str>>, u32), u32>,
}

impl InterfaceIndices {
    fn index(&mut self, key: (usize, Option<Box<str>>, u32)) -> u32 {
        let next = self.known.len() as u32;
        *self.known.entry(key).or_insert(next)
    }
}

/// What the packets of one interface of one capture have in common.
#[derive(Clone)]
struct Label {
    name: Value,
    ifindex: u32,
}

/// A source at work.
pub(crate) struct Feed {
    number: usize,
    captures: MergedCaptures,
    /// Name for packets of captures that give none.
    name: Value,
    /// By capture, then interface within it.
    labels: Vec<Vec<Option<Label>>>,
    /// A packet whose interface has not been seen before, while that is looked up.
    scratch: Vec<u8>,
    ledger: InterfaceLedger,
}

impl Feed {
    pub(crate) fn new(number: usize, source: Source) -> Self {
        let Source { interface, captures } = source;
        Self {
            number,
            name: Value::bytes(&interface),
            labels: vec![Vec::new(); captures.len()],
            captures,
            scratch: Vec::new(),
            ledger: InterfaceLedger { name: interface, ..Default::default() },
        }
    }

    /// Time of the packet that comes next; nothing when all captures have ended.
    pub(crate) fn head_timestamp_ns(&mut self) -> Option<u64> {
        while let Err(error) = self.captures.prime() {
            self.note(&error);
        }
        let heads = (0..self.captures.len()).filter_map(|i| self.captures.head_timestamp_ns(i));
        heads.min()
    }

    /// Gives the next packet to `take`; says whether there was one.
    pub(crate) fn next(
        &mut self,
        indices: &mut InterfaceIndices,
        mut take: impl FnMut(&Packet<'_>),
    ) -> bool {
        // Damage is noted here, so that what follows cannot meet any.
        while let Err(error) = self.captures.prime() {
            self.note(&error);
        }
        let Ok(Some(sourced)) = self.captures.next() else { return false };
        let (capture, record) = (sourced.source, sourced.record);
        let ledger = &mut self.ledger;
        ledger.records += 1;
        ledger.processed += 1;
        ledger.wire_bytes += u64::from(record.len);
        ledger.captured_bytes += record.data.len() as u64;
        ledger.truncated += u64::from((record.data.len() as u64) < u64::from(record.len));
        let known = self.labels[capture].get(record.interface as usize);
        if let Some(Some(label)) = known {
            take(&packet(&record, label, record.data));
            return true;
        }
        // The reader that knows the interface is lent out with the record: keep the record's bytes, then look.
        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        data.extend_from_slice(record.data);
        let record = Record { data: &[], ..record };
        let label = self.label(indices, capture, record.interface);
        take(&packet(&record, &label, &data));
        self.scratch = data;
        true
    }

    /// Looks up an interface that has not been seen before.
    fn label(&mut self, indices: &mut InterfaceIndices, capture: usize, interface: u32) -> Label {
        let info = self.captures.reader(capture);
        let info = info.and_then(|reader| reader.interfaces().get(interface as usize));
        let name = info.and_then(|info| info.name.clone());
        let label = Label {
            name: name.as_ref().map_or_else(|| self.name.clone(), |n| Value::bytes(n.as_bytes())),
            // Interfaces of one name are one; those without are told apart by their place.
            ifindex: match name {
                Some(name) => indices.index((self.number, Some(name), 0)),
                None => indices.index((self.number, None, interface)),
            },
        };
        let labels = &mut self.labels[capture];
        let place = interface as usize;
        if labels.len() <= place {
            labels.resize(place + 1, None);
        }
        labels[place] = Some(label.clone());
        label
    }

    fn note(&mut self, error: &CaptureError) {
        if let Some(damage) = error.damage() {
            let capture = error.name().to_owned();
            self.ledger.damage.push(CaptureDamage { capture, damage: damage.clone() });
        }
    }

    /// Captures that broke off so far.
    pub(crate) fn broken(&self) -> u64 {
        self.ledger.damage.len() as u64
    }

    /// Bytes of the files read so far, and their sizes where all are known.
    pub(crate) fn bytes(&self) -> (u64, Option<u64>) {
        let read = self.captures.readers().map(|reader| reader.bytes_read()).sum();
        let total = self.captures.readers().map(|reader| reader.size_hint()).sum();
        (read, total)
    }

    /// Records read so far.
    pub(crate) fn records(&self) -> u64 {
        self.ledger.records
    }

    /// The books, without what the backend counts.
    pub(crate) fn ledger(&self) -> InterfaceLedger {
        self.ledger.clone()
    }
}

fn packet<'a>(record: &Record<'_>, label: &'a Label, data: &'a [u8]) -> Packet<'a> {
    Packet {
        timestamp_ns: record.timestamp_ns,
        len: record.len,
        link_type: record.link_type.0,
        interface: &label.name,
        ifindex: label.ifindex,
        direction: match record.direction {
            Direction::Unknown => 0,
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        },
        data,
    }
}
