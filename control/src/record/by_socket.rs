//! Packets of a packet socket, for one writer.

use std::time::Instant;

use wt_engine::live::{LiveSource, Polled};
use wt_engine::{EngineError, PacketBatch};
use wt_trace::record::{Feed, Interface};
use wt_wire::LinkType;
use wt_xdp::packet_socket::PacketSource;

use super::filter::{Condition, Judge};
use super::live::{COUNT_EVERY, Stop, TICK, Told};
use crate::failure::Failure;
use crate::live::LiveInterface;

/// Gives what comes by the socket to its writer, until the recording stops.
pub(super) fn capture(
    interface: LiveInterface,
    source: PacketSource,
    feed: Feed,
    stop: &Stop,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let told = Told::new(&interface);
    let judge = Judge::new(condition);
    let mut capture = Capture { interface, source, feed, judge, told, counted: Instant::now() };
    let done = capture.run(stop);
    capture.count();
    capture.feed.finish();
    done
}

struct Capture<'a> {
    interface: LiveInterface,
    source: PacketSource,
    feed: Feed,
    judge: Judge<'a>,
    told: Told,
    counted: Instant,
}

impl Capture<'_> {
    fn run(&mut self, stop: &Stop) -> Result<(), Failure> {
        let device = self.interface.device.clone();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Environment(format!("cannot capture from {device}: {error}"))
        };
        let mut is_stopping = false;
        loop {
            if !is_stopping && (stop.is_due() || self.feed.has_failed()) {
                is_stopping = true;
                self.source.stop().map_err(|error| failed(&error))?;
            }
            let polled = self.poll(stop).map_err(|error| failed(&error))?;
            let as_of_ns = match polled {
                Polled::Packets => None,
                Polled::Idle { as_of_ns } => Some(as_of_ns),
                Polled::Ended => return Ok(()),
            };
            self.feed.tick(as_of_ns);
            let link = self.source.link();
            if !is_stopping {
                self.told.tell(link);
            }
            if self.counted.elapsed() >= COUNT_EVERY {
                self.count();
            }
        }
    }

    fn poll(&mut self, stop: &Stop) -> Result<Polled, EngineError> {
        let Self { source, feed, interface, judge, .. } = self;
        source.poll(TICK, &mut |batch| {
            let taken = stop.claim(batch.records.len() as u64) as usize;
            let snap_len = feed.snap_len();
            let number = feed.interface(&Interface {
                name: Some(interface.interface.as_str().into()),
                link_type: LinkType(batch.link_type),
                snap_len,
            });
            judge.give(feed, number, &PacketBatch { records: &batch.records[..taken], ..*batch })
        })
    }

    fn count(&mut self) {
        self.counted = Instant::now();
        let counters = self.source.counters();
        self.feed.counted(counters.seen, counters.dropped);
    }
}
