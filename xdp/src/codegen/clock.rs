//! The clock, and windows of seconds.
//!
//! To read the kernel's clock costs as much as half of all that is done with a short packet: 20 to 40 ns, as it asks the processor's counter. So it is
//! read when a packet has come to where its stamp is asked for, and once. Windows of seconds mostly do without. The frame keeps the number of
//! the last window, and until which *tick* it holds: the kernel counts ticks in a word that a program reads as it reads its own memory
//! (`bpf_jiffies64`, which becomes a load), by the same monotonic clock (`tick_do_update_jiffies64`). A window holds
//! - until [`TICKS_BEHIND`] ticks before its end, more than the count can be behind: a processor whose own ticks find that nobody has counted
//!   for five of them counts itself (Linux from 5.17, `tick_sched_do_timer`);
//! - for a second at most, so that a count that is not quite the clock's does not go astray;
//! - in the turn in which it was computed. So what is grouped in a turn is in windows that had not ended when the turn began, come what may of
//!   ticks, and user space can tell whoever waits for them that earlier ones are complete.
//!
//! Where the packet has its stamp already, the stamp decides alone. Either way no division is made for a packet whose window is kept: one of 64 bits
//! costs as much as a whole header.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::BinaryOp;
use wt_plan::ir::{Exprs, NodeId, Op};

use super::Clock;
use super::emit::{CONTROL, Emitter, FRAME, S, Unportable};
use super::spec::control_words;
use crate::asm::{AluOp, Cond, Helper, Label, Reg, Size};

/// Nanoseconds in a second.
const NS_PER_S: i32 = 1_000_000_000;

/// Most seconds of a window that is kept.
const SECONDS_MAX: u64 = i32::MAX as u64;

/// Ticks before the end of a window from which on the clock is read: those that the count may be behind, and one for the parts of ticks at both ends.
const TICKS_BEHIND: i32 = 8;

/// Words of the frame for a window: the time stamp at which it began; its number; the tick from which on the clock is read again, 0 when
/// nothing is kept; the turn in which that holds.
pub(super) const WINDOW_WORDS: u32 = 4;

/// A window that a program asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    seconds: u64,
    /// The first of its words in the frame.
    word: u32,
}

impl Window {
    const fn began(self) -> i16 {
        8 * self.word as i16
    }

    const fn number(self) -> i16 {
        8 * (self.word + 1) as i16
    }

    const fn until(self) -> i16 {
        8 * (self.word + 2) as i16
    }

    const fn turn(self) -> i16 {
        8 * (self.word + 3) as i16
    }

    const fn span_ns(self) -> u64 {
        self.seconds * NS_PER_S as u64
    }
}

/// Scratch words for the time of the packet at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Its stamp; 0 is not yet.
    stamp: i16,
    /// The tick at which the clock was about to be read.
    tick: i16,
}

/// What a piece of code asks of the clock, and what code before it on every path has.
#[derive(Debug, Default)]
pub(super) struct Asked {
    is_stamped: bool,
    windows: Vec<Window>,
}

/// The seconds of the window that a node is the number of: 1 for the time itself.
fn seconds_of(exprs: &Exprs, node: NodeId) -> Option<u64> {
    let op = |node: NodeId| &exprs.nodes[node.0 as usize].op;
    match op(node) {
        Op::Meta(Meta::Time) => Some(1),
        Op::Binary(BinaryOp::Div, a, b) if exprs.nodes[node.0 as usize].ty == Type::Uint => {
            let Op::Const(value) = op(*b) else { return None };
            let seconds = Value::as_u64(value).filter(|s| (1..=SECONDS_MAX).contains(s));
            seconds.filter(|_| matches!(op(*a), Op::Meta(Meta::Time)))
        }
        _ => None,
    }
}

/// The windows that expressions ask for, each once, in words that `take` gives.
pub(super) fn windows<'e>(
    all: impl Iterator<Item = &'e Exprs>,
    mut take: impl FnMut() -> u32,
) -> Vec<Window> {
    let nodes = all.flat_map(|exprs| {
        (0..exprs.nodes.len() as u32).filter_map(|node| seconds_of(exprs, NodeId(node)))
    });
    let mut seconds: Vec<u64> = nodes.collect();
    seconds.sort_unstable();
    seconds.dedup();
    seconds.into_iter().map(|seconds| Window { seconds, word: take() }).collect()
}

impl Emitter {
    fn window(&self, exprs: &Exprs, node: NodeId) -> Option<Window> {
        let seconds = seconds_of(exprs, node)?;
        self.windows.iter().copied().find(|window| window.seconds == seconds)
    }

    /// Begins a packet whose time nothing is known of yet.
    pub(super) fn begin_times(&mut self) -> Result<(), Unportable> {
        let times = Times { stamp: self.take(1)?, tick: self.take(1)? };
        self.store_scratch(times.stamp, 0);
        self.times = Some(times);
        Ok(())
    }

    /// Makes sure of the packet's stamp, and leaves it in `S[0]`. R1 to R5 are overwritten.
    pub(super) fn stamp(&mut self) {
        let Some(times) = self.times else { return };
        let known = self.asm.label();
        self.load_scratch(S[0], times.stamp);
        self.asm.branch(Cond::Ne, S[0], 0, known);
        match self.clock {
            Clock::Given => self.load_control(S[0], control_words::TIMESTAMP_NS),
            Clock::Kernel => {
                self.asm.call(Helper::KtimeGetNs);
                self.load_control(S[1], control_words::CLOCK_OFFSET_NS);
                self.asm.alu(AluOp::Add, S[0], S[1]);
            }
        }
        self.store_scratch(times.stamp, S[0]);
        self.asm.place(known);
    }

    /// The packet's stamp, which [`Self::stamp`] has made sure of.
    pub(super) fn load_stamp(&mut self, dst: Reg) {
        if let Some(times) = self.times {
            self.load_scratch(dst, times.stamp);
        }
    }

    /// Makes sure of what nodes ask of the clock, before they are evaluated. All registers that values are computed in are overwritten.
    pub(super) fn ask(&mut self, asked: &mut Asked, exprs: &Exprs, nodes: &[NodeId]) {
        let mut pending = nodes.to_vec();
        let mut is_seen = vec![false; exprs.nodes.len()];
        while let Some(node) = pending.pop() {
            if std::mem::replace(&mut is_seen[node.0 as usize], true) {
                continue;
            }
            match (self.window(exprs, node), &exprs.nodes[node.0 as usize].op) {
                (Some(window), _) => self.ask_window(asked, window),
                (None, Op::Meta(Meta::Timestamp)) => self.ask_stamp(asked),
                (None, op) => pending.extend(op.operands()),
            }
        }
    }

    /// The same, of all that a program may ask for.
    pub(super) fn ask_all(&mut self, asked: &mut Asked) {
        self.ask_stamp(asked);
        for window in self.windows.clone() {
            self.ask_window(asked, window);
        }
    }

    /// The same, of the stamp.
    pub(super) fn ask_stamp(&mut self, asked: &mut Asked) {
        if !std::mem::replace(&mut asked.is_stamped, true) {
            self.stamp();
        }
    }

    /// Makes the window that the frame keeps the one that the packet's time is in.
    fn ask_window(&mut self, asked: &mut Asked, window: Window) {
        let Some(times) = self.times.filter(|_| !asked.windows.contains(&window)) else { return };
        asked.windows.push(window);
        let (another, end) = (self.asm.seldom(), self.asm.label());
        if self.clock == Clock::Given {
            self.ask_stamp(asked);
        }
        match asked.is_stamped {
            true => self.holds_for_stamp(window, another, end),
            false => self.holds_for_tick(window, another, end),
        }
        self.asm.place(another);
        self.asm.comment("another window, or its end may be near");
        let (number, rest, via, turn) = (S[0], S[1], S[2], S[3]);
        let far = self.asm.label();
        if !asked.is_stamped {
            self.store_scratch(times.tick, number);
        }
        // Before the clock, which so is not before the turn began.
        self.load_control(turn, control_words::TURN);
        self.asm.store(Size::Dw, FRAME, window.turn(), turn);
        self.stamp();
        self.asm.mov(rest, number);
        self.asm.alu(AluOp::Div, number, NS_PER_S);
        // Seconds are 32 bits: a window that ends behind the last of them is not kept.
        let limit = self.operand(u64::from(u32::MAX) - window.seconds, via);
        self.asm.branch(Cond::Gt, number, limit, far);
        self.asm.alu(AluOp::Div, number, window.seconds as i32);
        self.asm.store(Size::Dw, FRAME, window.number(), number);
        let span = self.operand(window.span_ns(), via);
        self.asm.alu(AluOp::Mul, number, span);
        self.asm.store(Size::Dw, FRAME, window.began(), number);
        // Ticks that are left of it, or of a second, less those that the count may be behind.
        self.asm.alu(AluOp::Sub, number, rest);
        self.asm.alu(AluOp::Add, number, span);
        let short = self.asm.label();
        self.asm.branch(Cond::Lt, number, NS_PER_S, short);
        self.asm.mov(number, NS_PER_S);
        self.asm.place(short);
        self.load_control(via, control_words::TICK_NS);
        self.asm.alu(AluOp::Div, number, via);
        let left = self.asm.label();
        self.asm.branch(Cond::Ge, number, TICKS_BEHIND, left);
        self.asm.mov(number, TICKS_BEHIND);
        self.asm.place(left);
        self.asm.alu(AluOp::Sub, number, TICKS_BEHIND);
        match asked.is_stamped {
            // The tick was not looked at: whoever does reads the clock too.
            true => self.asm.mov(number, 1),
            false => {
                self.load_scratch(via, times.tick);
                self.asm.alu(AluOp::Add, number, via);
            }
        }
        self.asm.store(Size::Dw, FRAME, window.until(), number);
        // As on the usual way, so that what follows need not ask.
        self.load_control_address(CONTROL);
        self.asm.jump(end);
        self.asm.place(far);
        self.asm.alu32(AluOp::Mov, number, number);
        self.asm.alu(AluOp::Div, number, window.seconds as i32);
        self.asm.store(Size::Dw, FRAME, window.number(), number);
        self.asm.store(Size::Dw, FRAME, window.until(), 0);
        self.load_control_address(CONTROL);
        self.asm.place(end);
    }

    /// Goes to `end` when the window that is kept is that of the packet's stamp, which is known, else to `another`.
    fn holds_for_stamp(&mut self, window: Window, another: Label, end: Label) {
        let (since, via) = (S[0], S[1]);
        self.asm.load(Size::Dw, via, FRAME, window.until());
        self.asm.branch(Cond::Eq, via, 0, another);
        self.load_stamp(since);
        self.asm.load(Size::Dw, via, FRAME, window.began());
        self.asm.alu(AluOp::Sub, since, via);
        // Before the beginning, the difference is far beyond any window.
        let span = self.operand(window.span_ns(), via);
        self.asm.branch(Cond::Ge, since, span, another);
        self.asm.jump(end);
    }

    /// Goes to `end` when the window that is kept holds, by the count of ticks, else to `another` with the count in `S[0]`.
    fn holds_for_tick(&mut self, window: Window, another: Label, end: Label) {
        let (tick, via, turn) = (S[0], S[1], S[2]);
        self.asm.call(Helper::Jiffies64);
        self.asm.load(Size::Dw, via, FRAME, window.until());
        self.asm.branch(Cond::Ge, tick, via, another);
        self.load_control_address(CONTROL);
        self.asm.load(Size::Dw, turn, CONTROL, 8 * control_words::TURN as i16);
        self.asm.load(Size::Dw, via, FRAME, window.turn());
        self.asm.branch(Cond::Ne, turn, via, another);
        self.asm.jump(end);
    }

    /// The number of a window of the time in `S[k]`, when the node is one. [`Self::ask`] has made sure of it.
    pub(super) fn window_number(&mut self, exprs: &Exprs, node: NodeId, k: usize) -> bool {
        let Some(window) = self.window(exprs, node) else { return false };
        self.asm.load(Size::Dw, S[k], FRAME, window.number());
        true
    }
}
