//! The clock, and windows of seconds.
//!
//! **Two clocks.** To read the kernel's clock costs as much as half of all that is done with a short packet: 20 to 40 ns, as it asks the processor's
//! counter. So it is read when a packet has come to where its stamp is asked for, and once. Windows of seconds ask for less: the kernel's
//! coarse clock, which is the fine one as of the last tick, lies in memory. While it says that a window is not near its end, the fine one
//! says the same window, and is not read. *Near* is [`control_words::COARSE_SLACK_NS`], more than the coarse clock can be behind: a
//! processor whose own ticks find that nobody has moved the clock for five of them moves it itself (Linux from 5.17, `tick_sched_do_timer`).
//!
//! **Divisions.** One of 64 bits costs as much as a whole header, so the frame keeps the number of the last window with the time stamp at which it
//! began: until its end is near, the number is read, not computed.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::BinaryOp;
use wt_plan::ir::{Exprs, NodeId, Op};

use super::Clock;
use super::emit::{Emitter, FRAME, S, Unportable};
use super::spec::control_words;
use crate::asm::{AluOp, Cond, Helper, Reg, Size};

/// Nanoseconds in a second.
const NS_PER_S: i32 = 1_000_000_000;

/// Most seconds of a window that is kept.
const SECONDS_MAX: u64 = i32::MAX as u64;

/// Words of the frame for a window: the time stamp at which it began; its number; for how many ns from its beginning on the coarse clock is enough,
/// 0 when it is not kept.
pub(super) const WINDOW_WORDS: u32 = 3;

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

    const fn kept(self) -> i16 {
        8 * (self.word + 2) as i16
    }
}

/// Scratch words with what is known of the time of the packet at hand; 0 is not yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// By the fine clock: the packet's stamp.
    stamp: i16,
    /// The same once it is known, before that by the coarse clock.
    now: i16,
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
        let times = Times { stamp: self.take(1)?, now: self.take(1)? };
        self.store_scratch(times.stamp, 0);
        self.store_scratch(times.now, 0);
        self.times = Some(times);
        Ok(())
    }

    /// Makes sure of the packet's stamp, and leaves it in `S[0]`. R1 to R5 are overwritten.
    pub(super) fn stamp(&mut self) {
        let Some(times) = self.times else { return };
        let known = self.asm.label();
        self.load_scratch(S[0], times.stamp);
        self.asm.branch(Cond::Ne, S[0], 0, known);
        self.read_clock(Helper::KtimeGetNs);
        self.store_scratch(times.stamp, S[0]);
        self.store_scratch(times.now, S[0]);
        self.asm.place(known);
    }

    /// A clock, in `S[0]`.
    fn read_clock(&mut self, clock: Helper) {
        match self.clock {
            Clock::Given => self.load_control(S[0], control_words::TIMESTAMP_NS),
            Clock::Kernel => {
                self.asm.call(clock);
                self.load_control(S[1], control_words::CLOCK_OFFSET_NS);
                self.asm.alu(AluOp::Add, S[0], S[1]);
            }
        }
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
        let (number, since, via) = (S[0], S[1], S[2]);
        let (known, far, end) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.load_scratch(number, times.now);
        self.asm.branch(Cond::Ne, number, 0, known);
        self.read_clock(Helper::KtimeGetCoarseNs);
        self.store_scratch(times.now, number);
        self.asm.place(known);
        self.asm.mov(since, number);
        self.asm.load(Size::Dw, via, FRAME, window.began());
        self.asm.alu(AluOp::Sub, since, via);
        // Before the beginning, the difference is far beyond any window.
        self.asm.load(Size::Dw, via, FRAME, window.kept());
        self.asm.branch(Cond::Lt, since, via, end);
        self.asm.comment("another window, or its end is near");
        self.stamp();
        self.asm.alu(AluOp::Div, number, NS_PER_S);
        // Seconds are 32 bits: a window that ends behind the last of them is not kept.
        let limit = self.operand(u64::from(u32::MAX) - window.seconds, via);
        self.asm.branch(Cond::Gt, number, limit, far);
        self.asm.alu(AluOp::Div, number, window.seconds as i32);
        self.asm.store(Size::Dw, FRAME, window.number(), number);
        let (span, slack) = (S[2], S[1]);
        self.asm.constant(span, window.seconds * NS_PER_S as u64);
        self.asm.alu(AluOp::Mul, number, span);
        self.asm.store(Size::Dw, FRAME, window.began(), number);
        self.load_control(slack, control_words::COARSE_SLACK_NS);
        self.asm.alu(AluOp::Sub, span, slack);
        self.asm.store(Size::Dw, FRAME, window.kept(), span);
        self.asm.jump(end);
        self.asm.place(far);
        self.asm.alu32(AluOp::Mov, number, number);
        self.asm.alu(AluOp::Div, number, window.seconds as i32);
        self.asm.store(Size::Dw, FRAME, window.number(), number);
        self.asm.store(Size::Dw, FRAME, window.kept(), 0);
        self.asm.place(end);
    }

    /// The number of a window of the time in `S[k]`, when the node is one. [`Self::ask`] has made sure of it.
    pub(super) fn window_number(&mut self, exprs: &Exprs, node: NodeId, k: usize) -> bool {
        let Some(window) = self.window(exprs, node) else { return false };
        self.asm.load(Size::Dw, S[k], FRAME, window.number());
        true
    }
}
