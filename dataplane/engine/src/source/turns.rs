//! The order of packets of several interfaces, each of which is a lane.

use wt_wire::RecordRef;

/// Where the next packets of each lane stand among those of all.
#[derive(Default)]
pub(crate) struct Turns {
    /// By lane, ascending.
    of: Vec<Vec<u16>>,
    /// The lanes that have any, in the order of their first ones.
    lanes: Vec<usize>,
}

impl Turns {
    /// Most places there are.
    pub(crate) const MAX: usize = u16::MAX as usize;

    /// Puts what is at hand of each lane in the order of its stamps, at most `max`: each lane keeps its own order, also where its clock steps back,
    /// and of equal stamps those of the first lane come first. It ends where nothing more is at hand of a lane that had something, as nobody knows what
    /// comes next of it. How many there are.
    pub(crate) fn put<'a>(
        &mut self,
        at_hand: impl Iterator<Item = &'a [RecordRef]>,
        max: usize,
    ) -> usize {
        self.lanes.clear();
        let mut rest: Vec<(usize, &[RecordRef])> = Vec::new();
        for (lane, records) in at_hand.enumerate() {
            match self.of.get_mut(lane) {
                Some(places) => places.clear(),
                None => self.of.push(Vec::new()),
            }
            if !records.is_empty() {
                rest.push((lane, records));
            }
        }
        let max = max.min(Self::MAX);
        let mut placed = 0;
        while placed < max {
            // The earliest head, and the one behind it.
            let (mut first, mut second) = (None, None);
            for (at, (_, records)) in rest.iter().enumerate() {
                let Some(head) = records.first() else { return placed };
                let head = (head.timestamp_ns, at);
                if first.is_none_or(|first| head < first) {
                    (first, second) = (Some(head), first);
                } else if second.is_none_or(|second| head < second) {
                    second = Some(head);
                }
            }
            let Some((_, at)) = first else { break };
            let (lane, records) = rest[at];
            let is_before = |time_ns| second.is_none_or(|second| (time_ns, at) < second);
            // The first one is, whatever its clock says.
            let behind = records.iter().skip(1).position(|r| !is_before(r.timestamp_ns));
            let count = behind.map_or(records.len(), |behind| 1 + behind).min(max - placed);
            let places = &mut self.of[lane];
            if places.is_empty() {
                self.lanes.push(lane);
            }
            places.extend((placed..placed + count).map(|place| place as u16));
            rest[at].1 = &records[count..];
            placed += count;
        }
        placed
    }

    /// Those of a lane's first packets.
    pub(crate) fn of(&self, lane: usize) -> &[u16] {
        self.of.get(lane).map_or(&[], |places| places)
    }

    /// The lanes that have any, in the order of their first ones.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = usize> + '_ {
        self.lanes.iter().copied()
    }
}
