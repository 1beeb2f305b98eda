//! Packets for the queries on the host: those that one of them may want, cut to what they read.

use wt_plan::ir::{LftaQuery, NodeId};

use super::clock::Asked;
use super::emit::{Emitter, FRAME, HEADER, LINEAR_BYTES_MAX, S, Unportable, stack};
use super::query::{Queries, record, sees_all};
use super::scope::{Lacks, Scope};
use super::socket::BySocket;
use super::spec::{PACKET_HEAD_WORDS, RECORD_HEAD_WORDS, control_words, packet_counters};
use super::{Clock, shallow};
use crate::asm::{AluOp, Cond, Helper, Label, Reg, Size};

/// Room that packets are copied into: the least that holds them, as the kernel wants a size that is known beforehand.
const ROOMS_BYTES: [u32; 5] = [128, 512, 1536, 4096, 16_384];
const _: () = assert!(ROOMS_BYTES[4] as i32 > LINEAR_BYTES_MAX);

/// Least bytes of a packet that are kept, also for queries that look at none: those of the shortest frame.
pub(super) const KEPT_BYTES_MIN: u32 = 64;

/// Least bytes of a packet: an Ethernet header.
pub(super) const BYTES_MIN: i32 = 14;

/// The query that a record with a packet names: none.
const NO_QUERY: u32 = u32::MAX;

impl Queries<'_, '_> {
    /// Sends the packet to the host if one of its queries may want it: at once, or as the last thing that is done with it
    /// ([`Emitter::send_by_socket`]). `end` is where the program ends.
    pub(super) fn feed(
        &self,
        e: &mut Emitter,
        host: &[u32],
        bytes_max: u32,
        by_socket: Option<&BySocket>,
        end: Label,
    ) -> Result<(), Unportable> {
        let send = e.asm.label();
        for index in host {
            let query = &self.program.queries[*index as usize];
            e.asm.comment(format!("does {} want the packet?", query.name));
            let next = e.asm.label();
            if !sees_all(query) {
                self.unwanted(e, query, send, next)?;
            }
            e.asm.jump(send);
            e.asm.place(next);
        }
        e.asm.jump(end);
        e.asm.place(send);
        e.stamp();
        match by_socket {
            Some(by_socket) => by_socket.mark(e, 1),
            None => e.send_packet(bytes_max, end),
        }
        Ok(())
    }

    /// Goes to `next` when the query does not want the packet, which the quals tell up to the first that has no code here: whatever comes
    /// behind it is judged behind it on the host. Where a value is missing the host decides, and counts.
    fn unwanted(
        &self,
        e: &mut Emitter,
        query: &LftaQuery,
        send: Label,
        next: Label,
    ) -> Result<(), Unportable> {
        let roots: Vec<NodeId> = query.quals.iter().map(|qual| qual.node).collect();
        let mark = e.memory_mark();
        let mut scope = self.scope(&roots, Lacks { absent: send, failed: send });
        self.requires(e, &mut scope, query, next, None)?;
        let mut asked = Asked::default();
        if shallow(&self.program.exprs, query).is_ok() {
            for qual in &query.quals {
                let before = (e.asm.len(), e.memory_mark(), scope.mark(), scope.lacks);
                e.asm.comment(format!("where {}", qual.text));
                let node = qual.node;
                e.ask(&mut asked, scope.exprs, &[node]);
                let mut branch =
                    |e: &mut Emitter, scope: &mut Scope<'_>| e.branch(scope, node, false, next, 0);
                if e.rooted(&mut scope, node, &mut branch).is_err() {
                    e.asm.truncate(before.0);
                    e.memory_reset(before.1);
                    scope.forget(before.2);
                    scope.lacks = before.3;
                    break;
                }
            }
        }
        e.memory_reset(mark);
        Ok(())
    }
}

impl Emitter {
    /// Sends the packet, at most `bytes_max` of it.
    fn send_packet(&mut self, bytes_max: u32, end: Label) {
        let (sent, lost) = (self.asm.label(), self.asm.label());
        let bytes_max = bytes_max.clamp(KEPT_BYTES_MIN, ROOMS_BYTES[ROOMS_BYTES.len() - 1]);
        let bytes_max = bytes_max.next_multiple_of(8);
        let rooms = ROOMS_BYTES.iter().copied().filter(|room| *room < bytes_max);
        for room in rooms.chain([bytes_max]) {
            let is_last = room == bytes_max;
            self.asm.comment(format!("a packet of up to {room} bytes goes to the host"));
            let (larger, failed) = (self.asm.label(), self.asm.label());
            if !is_last {
                self.length(S[4]);
                self.asm.branch(Cond::Gt, S[4], room as i32, larger);
            }
            self.reserve(PACKET_HEAD_WORDS + room / 8, NO_QUERY, record::PACKET, lost);
            self.asm.mov(HEADER, Reg::R0);
            self.packet_head(room);
            let copied = S[4];
            self.length(copied);
            if is_last {
                let fits = self.asm.label();
                self.asm.branch(Cond::Le, copied, room as i32, fits);
                self.asm.mov(copied, room as i32);
                self.asm.place(fits);
            } else {
                self.asm.branch(Cond::Gt, copied, room as i32, failed);
            }
            self.asm.branch(Cond::Lt, copied, BYTES_MIN, failed);
            self.asm.load(Size::Dw, Reg::R1, Reg::R10, stack::CONTEXT);
            self.asm.mov(Reg::R2, 0);
            self.asm.mov(Reg::R3, HEADER);
            self.asm.alu(AluOp::Add, Reg::R3, 8 * PACKET_HEAD_WORDS as i32);
            self.asm.call(Helper::XdpLoadBytes);
            self.asm.branch(Cond::Ne, Reg::R0, 0, failed);
            self.asm.mov(Reg::R0, HEADER);
            self.submit();
            self.asm.jump(sent);
            self.asm.place(failed);
            self.asm.mov(Reg::R1, HEADER);
            self.asm.mov(Reg::R2, 0);
            self.asm.call(Helper::RingbufDiscard);
            self.asm.jump(lost);
            self.asm.place(larger);
        }
        self.asm.place(lost);
        self.add_to_frame(FRAME, packet_counters::UNSENT, 1, S[0]);
        self.asm.jump(end);
        self.asm.place(sent);
        self.add_to_frame(FRAME, packet_counters::SENT, 1, S[0]);
    }

    /// Writes what precedes the packet's bytes into the record in [`HEADER`].
    fn packet_head(&mut self, room: u32) {
        let at = 8 * RECORD_HEAD_WORDS as i16;
        self.load_stamp(S[1]);
        self.asm.store(Size::Dw, HEADER, at, S[1]);
        self.load_ordinal(S[1]);
        self.asm.store(Size::Dw, HEADER, at + 16, S[1]);
        self.length(S[1]);
        let fits = self.asm.label();
        self.asm.mov(S[2], S[1]);
        self.asm.branch(Cond::Le, S[2], room as i32, fits);
        self.asm.mov(S[2], room as i32);
        self.asm.place(fits);
        self.asm.store(Size::W, HEADER, at + 12, S[2]);
        if self.clock == Clock::Given {
            self.load_control(S[1], control_words::LEN);
        }
        self.asm.store(Size::W, HEADER, at + 8, S[1]);
    }
}
