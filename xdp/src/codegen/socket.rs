//! Packets for the queries on the host by AF_XDP sockets: the frame itself is cut to what is looked at, gets a head, and goes to the socket of its
//! queue. It is gone then, so this comes last, and only where it would be dropped anyway.

use super::Clock;
use super::emit::{DATA, END, Emitter, FRAME, HEADER, S, Unportable, stack};
use super::feed::{BYTES_MIN, KEPT_BYTES_MIN};
use super::spec::{SocketLayout, control_words, frame_head, packet_counters};
use crate::asm::{AluOp, Cond, Helper, Insn, Reg, Size};

/// What the program returns for a packet that a socket got.
const XDP_REDIRECT: i32 = 4;
/// What it returns where there is no socket.
const XDP_DROP: i32 = 1;

const HEAD_BYTES: i32 = frame_head::BYTES as i32;

/// How packets are sent by sockets.
pub(super) struct BySocket {
    layout: SocketLayout,
    /// Most bytes of a packet that a socket takes.
    bytes_max: u32,
    /// Place on the stack that says whether the packet is to be sent.
    wanted: i16,
}

impl BySocket {
    /// Says whether the packet is to be sent.
    pub(super) fn mark(&self, e: &mut Emitter, wanted: i32) {
        e.asm.store(Size::Dw, Reg::R10, self.wanted, wanted);
    }
}

impl Emitter {
    /// Before everything else: the packet is not to be sent.
    pub(super) fn begin_by_socket(
        &mut self,
        layout: SocketLayout,
        bytes_max: u32,
    ) -> Result<BySocket, Unportable> {
        let by_socket = BySocket { layout, bytes_max, wanted: self.take_stack()? };
        by_socket.mark(self, 0);
        Ok(by_socket)
    }

    /// Behind everything else: sends the packet if it is to be, at most `bytes_max` of it, and ends the program.
    pub(super) fn send_by_socket(&mut self, by_socket: &BySocket, bytes_max: u32) {
        let kept_max = bytes_max.max(KEPT_BYTES_MIN);
        let (context, len, kept) = (HEADER, END, DATA);
        let (fits, lost, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.comment(format!("a packet of up to {kept_max} bytes goes to the host"));
        self.asm.load(Size::Dw, S[1], Reg::R10, by_socket.wanted);
        self.asm.branch(Cond::Eq, S[1], 0, done);
        self.asm.load(Size::Dw, context, Reg::R10, stack::CONTEXT);
        self.asm.load(Size::W, S[1], context, 0);
        self.asm.load(Size::W, len, context, 4);
        self.asm.alu(AluOp::Sub, len, S[1]);
        self.asm.branch(Cond::Lt, len, BYTES_MIN, lost);
        self.asm.mov(kept, len);
        let kept_limit = i32::try_from(kept_max).unwrap_or(i32::MAX);
        self.asm.branch(Cond::Le, kept, kept_limit, fits);
        self.asm.mov(kept, kept_limit);
        self.asm.mov(S[2], kept);
        self.asm.alu(AluOp::Sub, S[2], len);
        self.asm.mov(S[1], context);
        self.asm.call(Helper::XdpAdjustTail);
        self.asm.branch(Cond::Ne, Reg::R0, 0, lost);
        self.asm.place(fits);
        if by_socket.bytes_max < kept_max {
            self.asm.branch(Cond::Gt, kept, by_socket.bytes_max as i32, lost);
        }
        self.asm.mov(S[1], context);
        self.asm.mov(S[2], -HEAD_BYTES);
        self.asm.call(Helper::XdpAdjustHead);
        self.asm.branch(Cond::Ne, Reg::R0, 0, lost);
        self.asm.load(Size::W, DATA, context, 0);
        self.asm.load(Size::W, S[2], context, 4);
        self.asm.mov(S[3], DATA);
        self.asm.alu(AluOp::Add, S[3], HEAD_BYTES);
        self.asm.branch(Cond::Gt, S[3], S[2], lost);
        self.load_stamp(S[3]);
        self.asm.store(Size::Dw, DATA, frame_head::TIMESTAMP_NS as i16, S[3]);
        if self.clock == Clock::Given {
            self.load_control(len, control_words::LEN);
        }
        self.asm.store(Size::W, DATA, frame_head::LEN as i16, len);
        self.load_control(S[3], by_socket.layout.number);
        self.asm.store(Size::W, DATA, frame_head::NUMBER as i16, S[3]);
        // The queue by which it came.
        self.asm.load(Size::W, S[2], context, 16);
        self.asm.push(Insn::LoadMap { dst: S[1], map: by_socket.layout.map });
        self.asm.mov(S[3], XDP_DROP);
        self.asm.call(Helper::RedirectMap);
        self.asm.branch(Cond::Ne, Reg::R0, XDP_REDIRECT, lost);
        self.add_to_frame(FRAME, packet_counters::SENT, 1, S[1]);
        self.asm.push(Insn::Exit);
        self.asm.place(lost);
        self.add_to_frame(FRAME, packet_counters::UNSENT, 1, S[1]);
        self.asm.place(done);
    }
}
