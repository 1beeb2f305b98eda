//! Packets of several interfaces in time order, or of one whose streams meet in an operator.
//!
//! What operators see is what they would see packet by packet, but LFTAs are given many at once: a part of the packets is put in order first, each
//! LFTA takes those of its interface, and what they send goes to the operators in the order of the packets that it follows. A part ends where more
//! has to be read of an interface, before it is known which packet comes next. Bounds are asked for after every so many packets, wherever parts
//! end, so that rows do not depend on that.

use wt_plan::physical::{HftaOp, PhysicalPlan};

use super::{BATCH_PACKETS_MAX, Run};
use crate::error::EngineError;
use crate::source::{Feed, InterfaceIndices, Turns};
use crate::tuple::Message;

/// Parts of a queue's limit by which it may grow beyond before bounds are asked for.
const BOUNDS_PER_LIMIT: u32 = 4;
/// Most packets between that.
const PACKETS_PER_BOUND_MAX: u32 = 1024;

const _: () = assert!(BATCH_PACKETS_MAX <= Turns::MAX);

/// The packets of several interfaces.
pub(super) struct Among {
    /// Packets of the plan between two looks at who asks for bounds; nothing where nobody does.
    packets_per_bound: Option<u64>,
    /// Most packets of a part.
    part_packets_max: usize,
    /// By interface, in the part.
    turns: Turns,
    /// What LFTAs send, with the place of the packet that it follows.
    sent: Vec<(u16, Sent)>,
    /// The latest stamp so far.
    clock_ns: u64,
}

/// The interface, its query, and the message.
type Sent = (usize, u32, Message);

impl Among {
    pub(super) fn new(plan: &PhysicalPlan, part_packets_max: usize) -> Self {
        // No other operator waits for bounds.
        let limits = plan.nodes.iter().filter_map(|node| match node.op {
            HftaOp::Merge { queue_tuples_max, .. } => Some(queue_tuples_max),
            _ => None,
        });
        let packets = |limit: u32| (limit / BOUNDS_PER_LIMIT).clamp(1, PACKETS_PER_BOUND_MAX);
        Self {
            packets_per_bound: limits.min().map(|limit| packets(limit).into()),
            part_packets_max: part_packets_max.min(BATCH_PACKETS_MAX),
            turns: Turns::default(),
            sent: Vec::new(),
            clock_ns: 0,
        }
    }

    /// Takes the next packets, and says how many there were: none at the end of all interfaces. `ordinal` is that of the first one.
    pub(super) fn part(
        &mut self,
        run: &mut Run<'_>,
        feeds: &mut [Feed],
        indices: &mut InterfaceIndices,
        ordinal: u64,
    ) -> Result<u64, EngineError> {
        for (interface, feed) in feeds.iter_mut().enumerate() {
            if !run.lftas[interface].ended && !feed.load() {
                run.broke_off(interface, feed.broken())?;
                run.end_interface(interface)?;
            }
        }
        let to_bound = self.packets_per_bound.map(|packets| packets - ordinal % packets);
        let max = to_bound
            .map_or(self.part_packets_max, |packets| self.part_packets_max.min(packets as usize));
        let count = self.turns.put(feeds.iter().map(Feed::at_hand), max) as u64;
        self.sent.clear();
        for interface in self.turns.lanes() {
            let (feed, places) = (&mut feeds[interface], self.turns.of(interface));
            feed.name_next(indices);
            let (backend, memory) = (&mut run.lftas[interface].backend, &mut run.memory);
            let sent = &mut self.sent;
            feed.give(places.len(), |batch| {
                let stamps = batch.records.iter().map(|record| record.timestamp_ns);
                self.clock_ns = stamps.fold(self.clock_ns, u64::max);
                let mut send = |place, query, message| {
                    sent.push((place, (interface, query, message)));
                };
                backend.batch_among(batch, ordinal, places, memory, &mut send)
            })?;
        }
        self.send(run)?;
        if count > 0 && to_bound == Some(count) {
            run.give_bounds(self.clock_ns)?;
        }
        Ok(count)
    }

    /// Gives the operators what was sent.
    fn send(&mut self, run: &mut Run<'_>) -> Result<(), EngineError> {
        self.sent.sort_by_key(|(place, _)| *place);
        let mut last = None;
        for (place, (interface, query, message)) in self.sent.drain(..) {
            if last.is_some_and(|last| last != place) {
                run.run_graph()?;
            }
            last = Some(place);
            run.graph.push(interface, query, message);
        }
        run.run_graph()
    }
}
