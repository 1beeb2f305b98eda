//! A store as the source of a live run: its packets, and what its recorder goes on to write.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use wt_catalog::Value;
use wt_engine::ledger::IndexLedger;
use wt_engine::live::{
    Link, LiveInput, LiveSource, Polled, SKEW_NS_DEFAULT, SourceCounters, TakePackets,
    WAITING_PACKETS_MAX,
};
use wt_engine::{EngineError, LftaSetup, PacketBatch};
use wt_trace::index::Wanted;
use wt_trace::store::{Findings, Follow, Followed, RUN, Store, StoreError};

use super::LiveInterface;
use crate::failure::Failure;
use crate::indexed::Within;
use crate::record::failure;
use crate::session::Traces;

/// How long a store that has nothing new is left alone.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a store is read for.
pub struct Past {
    /// Its name and place.
    pub traces: Traces,
    /// The interface that its recorder records, if it is followed.
    pub followed: Option<LiveInterface>,
    /// What the plan needs of its packets, where it does not need all of them.
    pub within: Option<Within>,
}

/// Opens a store; what is found in it while it is read comes beside it.
pub fn open(past: &Past) -> Result<(LiveInput, Findings), Failure> {
    let name = &past.traces.interface;
    let dir = past.traces.files.first().cloned().unwrap_or_default();
    let store = Store::open(&dir).map_err(failure)?;
    if let Some(interface) = &past.followed {
        let device = &interface.device;
        let recorder = store.recorder();
        let devices = recorder.as_ref().and_then(|table| table.get("devices")?.as_array());
        let is_it = |recorded: &toml::Value| recorded.as_str() == Some(device);
        if devices.is_some_and(|devices| devices.iter().any(is_it) && !devices.iter().all(is_it)) {
            return Err(Failure::Input(format!(
                "the recorder of {} writes what comes by other interfaces beside `{device}`, too\n  help: record each interface into a store of its own",
                dir.display()
            )));
        }
        if !devices.is_some_and(|devices| devices.iter().any(is_it)) {
            return Err(Failure::Environment(format!(
                "no recorder writes what comes by `{device}` to {}, so nothing follows THEN\n  help: start one, and leave it running: wiretable record -i {device} -w {}",
                dir.display(),
                dir.display()
            )));
        }
    }
    let mut follow = Follow::new(store).map_err(failure)?;
    if let Some(within) = &past.within {
        follow.leave_out(within.wanted.clone());
    }
    if past.followed.is_none() {
        follow.without_waiting();
    }
    let link_type = follow.first_link_type().map_err(failure)?;
    let findings = follow.findings();
    let source = StoreSource {
        name: name.clone(),
        follow,
        // What comes first says what it is; code for other kinds is made when they come.
        link_type: link_type.unwrap_or(LINKTYPE_ETHERNET),
        goes_on: past.followed.is_some(),
        is_stopped: false,
        given: 0,
        names: HashMap::new(),
    };
    let input = LiveInput {
        interface: name.clone(),
        source: Box::new(source),
        cpu: None,
        skew_ns: past.followed.as_ref().map_or(SKEW_NS_DEFAULT, LiveInterface::skew_ns),
    };
    Ok((input, findings))
}

/// Whether another user writes to a store: its directory is that user's, or what its recorder says of itself.
pub fn is_of_another_user(past: &Past) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let files = past.traces.files.iter().flat_map(|dir| [dir.clone(), dir.join(RUN)]);
    files.filter_map(|file| std::fs::metadata(file).ok()).any(|file| file.uid() != user)
}

const LINKTYPE_ETHERNET: u16 = 1;

struct StoreSource {
    name: String,
    follow: Follow,
    link_type: u16,
    /// The recorder is followed; else the store ends where it ended when all had been read.
    goes_on: bool,
    is_stopped: bool,
    given: u64,
    /// By name of an interface in the store: as a value, and its number.
    names: HashMap<Option<Box<str>>, (Value, u32)>,
}

impl StoreSource {
    fn error(&self, error: &StoreError) -> EngineError {
        let source = io::Error::other(error.to_string());
        EngineError::Capture { interface: self.name.clone(), source }
    }
}

impl LiveSource for StoreSource {
    fn link_type(&self) -> u16 {
        self.link_type
    }

    fn waits(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut TakePackets<'_>,
    ) -> Result<Polled, EngineError> {
        if self.is_stopped {
            return Ok(Polled::Ended);
        }
        let Self { follow, names, name, .. } = self;
        let run = match follow.next(WAITING_PACKETS_MAX) {
            Ok(Followed::Packets(run)) => run,
            Ok(Followed::CaughtUp { as_of_ns }) if self.goes_on => {
                std::thread::sleep(timeout.min(LOOK_EVERY));
                return Ok(Polled::Idle { as_of_ns });
            }
            Ok(Followed::CaughtUp { .. } | Followed::Ended) => {
                self.is_stopped = true;
                return Ok(Polled::Ended);
            }
            Err(error) => return Err(self.error(&error)),
        };
        let next = names.len() as u32;
        let (interface, ifindex) = names
            .entry(run.interface.name.clone())
            .or_insert_with(|| (Value::bytes(run.interface.name.as_deref().unwrap_or(name)), next));
        take(&PacketBatch {
            data: run.data,
            records: run.records,
            link_type: run.interface.link_type.0,
            interface,
            ifindex: *ifindex,
            meanwhile: None,
        })?;
        self.given += run.records.len() as u64;
        Ok(Polled::Packets)
    }

    fn link(&mut self) -> Link {
        Link::Up
    }

    fn stop(&mut self) -> io::Result<()> {
        // What is in the store stays there.
        self.is_stopped = true;
        Ok(())
    }

    fn counters(&mut self) -> SourceCounters {
        let taken = self.follow.taken();
        let index = (taken.packets_skipped > 0).then_some(IndexLedger {
            segments: taken.segments,
            blocks: taken.blocks,
            bytes: taken.bytes,
            skipped: taken.packets_skipped,
            packets: None,
        });
        SourceCounters { seen: self.given, index, ..SourceCounters::default() }
    }

    fn prepare(&mut self, _setup: &LftaSetup<'_>) -> Result<(), EngineError> {
        // Another plan may need what this one does not.
        self.follow.leave_out(Wanted::Any);
        Ok(())
    }
}
