//! What came through the ring, put in the order of its stamps: CPUs fill the ring side by side.

use wt_engine::Tuple;
use wt_wire::{Direction, RecordRef};

use crate::decode::PacketRecord;

/// Tuples and packets that wait until nothing stamped before them can come.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    /// By query: its tuples, whose ordinal is their stamp.
    tuples: Vec<(u32, Tuple)>,
    packets: Vec<RecordRef>,
    /// The packets' bytes.
    bytes: Vec<u8>,
    /// Memory that is not in use.
    spare: Due,
}

impl Ordered {
    pub(super) fn tuple(&mut self, query: u32, tuple: Tuple) {
        self.tuples.push((query, tuple));
    }

    pub(super) fn packet(&mut self, packet: &PacketRecord<'_>) {
        self.packets.push(packet.at(self.bytes.len() as u32, Direction::Inbound));
        self.bytes.extend_from_slice(packet.data);
    }

    /// Memory that it takes, bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_tuples =
            |(_, tuple): &(u32, Tuple)| size_of::<(u32, Tuple)>() + size_of_val(&*tuple.values);
        let tuples = self.tuples.last().map_or(0, of_tuples) * self.tuples.len();
        tuples + size_of_val(&*self.packets) + self.bytes.len()
    }

    /// Gives the tuples stamped before `reached_ns` one by one, and the packets at once.
    pub(super) fn due(&mut self, reached_ns: u64, mut tuple: impl FnMut(u32, Tuple)) -> Due {
        self.tuples.sort_by_key(|(_, tuple)| tuple.ordinal);
        let due = self.tuples.partition_point(|(_, tuple)| tuple.ordinal < reached_ns);
        self.tuples.drain(..due).for_each(|(query, due)| tuple(query, due));
        self.packets.sort_by_key(|record| record.timestamp_ns);
        let due = self.packets.partition_point(|record| record.timestamp_ns < reached_ns);
        if due == 0 {
            return Due::default();
        }
        // Those that stay move, as they are the fewer.
        let mut kept = std::mem::take(&mut self.spare);
        kept.bytes.clear();
        kept.records.clear();
        for record in &self.packets[due..] {
            let mut moved = *record;
            moved.at = kept.bytes.len() as u32;
            kept.bytes
                .extend_from_slice(&self.bytes[record.at as usize..][..record.caplen as usize]);
            kept.records.push(moved);
        }
        self.packets.truncate(due);
        Due {
            records: std::mem::replace(&mut self.packets, kept.records),
            bytes: std::mem::replace(&mut self.bytes, kept.bytes),
        }
    }

    /// Takes back the memory of packets that were given.
    pub(super) fn reuse(&mut self, due: Due) {
        self.spare = due;
    }
}

/// Packets whose turn has come, in order.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) records: Vec<RecordRef>,
    /// Where their bytes lie.
    pub(super) bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(timestamp_ns: u64, data: &[u8]) -> PacketRecord<'_> {
        PacketRecord { timestamp_ns, ordinal: timestamp_ns, len: data.len() as u32, data }
    }

    /// What is given up to a time: tuples' ordinals, packets' bytes.
    fn given(ordered: &mut Ordered, reached_ns: u64) -> (Vec<u64>, Vec<Vec<u8>>) {
        let (mut tuples, mut packets) = (Vec::new(), Vec::new());
        let due = ordered.due(reached_ns, |_, tuple| tuples.push(tuple.ordinal));
        let data = |r: &RecordRef| due.bytes[r.at as usize..][..r.caplen as usize].to_vec();
        packets.extend(due.records.iter().map(data));
        ordered.reuse(due);
        (tuples, packets)
    }

    #[test]
    fn stamps_put_in_order_what_cpus_have_mixed() {
        let mut ordered = Ordered::default();
        for ordinal in [3, 1, 7] {
            ordered.tuple(0, Tuple { ordinal, values: Box::default() });
        }
        for (stamp, data) in [(5, &b"five"[..]), (2, b"two"), (9, b"nine")] {
            ordered.packet(&packet(stamp, data));
        }
        assert_eq!(given(&mut ordered, 5), (vec![1, 3], vec![b"two".to_vec()]));
        ordered.packet(&packet(8, b"eight"));
        let rest = [&b"five"[..], b"eight", b"nine"].map(<[u8]>::to_vec);
        assert_eq!(given(&mut ordered, u64::MAX), (vec![7], rest.to_vec()));
        assert_eq!(given(&mut ordered, u64::MAX), (vec![], vec![]));
    }
}
