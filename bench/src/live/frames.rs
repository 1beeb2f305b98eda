//! Live frames: a program in the kernel makes the packets and sends them, so that the sender costs little (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::insn::{Alu, Fd, Helper, If, Program, R0, R1, R2, R3, R4, R6, R7, R8, R10, Width};
use super::sys::{self, Shared};

/// Frames that go to the interface at once: the most that the kernel takes.
const BATCH: u32 = 64;

/// Words that sender and program share.
mod words {
    /// Frames that were sent.
    pub const COUNT: usize = 0;
    /// The next packet of the store.
    pub const PLACE: usize = 1;
    /// From one frame to the next, in [`super::TIME`]; 0 for none.
    pub const INTERVAL: usize = 2;
    /// When the next frame is due, in [`super::TIME`] of the monotonic clock.
    pub const DUE: usize = 3;
    pub const ALL: usize = 4;
}

/// Parts of a nanosecond in which frames are timed, as a power of two.
const TIME: i32 = 8;

/// How far a sender that was held up catches up, ns: more would be a burst that no receiver's ring takes.
const CATCH_UP_NS: i32 = 20_000;

/// Offset of the source address in a frame of IPv4.
const SOURCE: i16 = 26;

/// A sender into one interface.
#[derive(Debug)]
pub struct Frames {
    program: OwnedFd,
    /// How many frames the program has made.
    state: Shared,
    /// The packets of a capture: kept for the program.
    _packets: Option<Shared>,
    frame: Vec<u8>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Frames.
    pub frames: u64,
    /// From the first to the last.
    pub took: Duration,
    /// Processor time of the sending thread, what the interfaces did in its context included.
    pub cpu: Duration,
}

impl Sent {
    /// Frames per second.
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

impl Frames {
    /// A sender of packets, one after the other and again from the first, into an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn replay(interface: &str, packets: &[Vec<u8>]) -> io::Result<Self> {
        let longest = packets.iter().map(Vec::len).max().unwrap_or(0);
        // A length, then bytes.
        let value_words = 1 + longest.div_ceil(8);
        let store = Shared::new(value_words, packets.len())?;
        for (i, packet) in packets.iter().enumerate() {
            store.set(i * value_words, packet.len() as u64);
            for (word, bytes) in packet.chunks(8).enumerate() {
                let mut eight = [0; 8];
                eight[..bytes.len()].copy_from_slice(bytes);
                store.set(i * value_words + 1 + word, u64::from_ne_bytes(eight));
            }
        }
        let state = Shared::new(words::ALL, 1)?;
        let ifindex = sys::interface_index(interface)?;
        let program = replay(&state, &store, packets.len(), longest, ifindex);
        let program = sys::load_xdp(&program)?;
        Ok(Self { program, state, _packets: Some(store), frame: vec![0; longest] })
    }

    /// A sender of one frame of IPv4 with ever other source addresses, so many and in no order.
    ///
    /// # Errors
    /// No such interface, or the kernel refuses.
    pub fn from_sources(interface: &str, frame: &[u8], sources: u32) -> io::Result<Self> {
        let state = Shared::new(words::ALL, 1)?;
        let ifindex = sys::interface_index(interface)?;
        let program = sys::load_xdp(&from_sources(&state, sources, ifindex))?;
        Ok(Self { program, state, _packets: None, frame: frame.to_vec() })
    }

    /// Sends for a while, at so many frames per second or as fast as it goes. The calling thread's namespace is that of the interface.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send(&self, rate: Option<f64>, duration: Duration) -> io::Result<Sent> {
        let interval = rate.map_or(0.0, |rate| 1e9 * f64::from(1 << TIME) / rate.max(1.0));
        self.state.set(words::INTERVAL, interval as u64);
        self.state.set(words::DUE, 0);
        let before = self.state.get(words::COUNT);
        let cpu = sys::thread_time();
        // One call for all: each takes tens of milliseconds to begin and to end.
        let has_begun = || self.state.get(words::COUNT) != before;
        let program = self.program.as_fd();
        let took = sys::run_live(program, &self.frame, BATCH, duration, &has_begun)?;
        let frames = self.state.get(words::COUNT) - before;
        Ok(Sent { frames, took, cpu: sys::thread_time().saturating_sub(cpu) })
    }
}

const fn at(word: usize) -> i16 {
    8 * word as i16
}

/// Gives up a frame that is not due: the next one is tried at once, so that the sender waits without a loop of its own.
fn pace(program: &mut Program, state: &Shared) {
    let state = Fd(state.fd());
    program.value(R1, state);
    program.load(Width::Eight, R8, R1, at(words::INTERVAL));
    program.skip_if(If::Equal, R8, 0, |p| {
        p.call(Helper::MonotonicNs);
        p.alu(Alu::Mov, R2, R0);
        p.alu_imm(Alu::Shl, R2, TIME);
        p.value(R1, state);
        p.load(Width::Eight, R3, R1, at(words::DUE));
        p.alu(Alu::Mov, R4, R2);
        p.alu_imm(Alu::Sub, R4, CATCH_UP_NS << TIME);
        p.skip_if_reg(If::NotBelow, R3, R4, |p| p.alu(Alu::Mov, R3, R4));
        p.give_up_if_reg(If::Above, R3, R2);
        p.alu(Alu::Add, R3, R8);
        p.store(Width::Eight, R1, at(words::DUE), R3);
    });
}

/// Counts a frame: R7 becomes its number, R1 is the state, R2 is used.
fn count(program: &mut Program, state: &Shared) {
    program.value(R1, Fd(state.fd()));
    program.load(Width::Eight, R7, R1, at(words::COUNT));
    program.alu(Alu::Mov, R2, R7);
    program.alu_imm(Alu::Add, R2, 1);
    program.store(Width::Eight, R1, at(words::COUNT), R2);
}

fn redirect(mut program: Program, ifindex: u32) -> Vec<u64> {
    program.alu_imm(Alu::Mov, R1, ifindex as i32);
    program.alu_imm(Alu::Mov, R2, 0);
    program.call(Helper::Redirect);
    program.end()
}

/// Takes the next packet of the store, gives the frame its length and bytes, and sends it.
fn replay(
    state: &Shared,
    store: &Shared,
    packets: usize,
    longest: usize,
    ifindex: u32,
) -> Vec<u64> {
    let mut p = Program::default();
    p.alu(Alu::Mov, R6, R1);
    pace(&mut p, state);
    count(&mut p, state);
    // Not the number by a division, which would cost more.
    p.load(Width::Eight, R7, R1, at(words::PLACE));
    p.alu(Alu::Mov, R2, R7);
    p.alu_imm(Alu::Add, R2, 1);
    p.skip_if(If::Below, R2, packets as i32, |p| p.alu_imm(Alu::Mov, R2, 0));
    p.store(Width::Eight, R1, at(words::PLACE), R2);
    p.store(Width::Four, R10, -4, R7);
    p.map(R1, Fd(store.fd()));
    p.alu(Alu::Mov, R2, R10);
    p.alu_imm(Alu::Add, R2, -4);
    p.call(Helper::MapLookup);
    p.give_up_if(If::Equal, R0, 0);
    p.alu(Alu::Mov, R8, R0);
    p.load(Width::Eight, R7, R8, 0);
    p.give_up_if(If::Above, R7, longest as i32);
    p.give_up_if(If::Below, R7, 14);
    p.alu(Alu::Mov, R1, R6);
    p.alu(Alu::Mov, R2, R7);
    p.alu_imm(Alu::Sub, R2, longest as i32);
    p.call(Helper::AdjustTail);
    p.alu(Alu::Mov, R1, R6);
    p.alu_imm(Alu::Mov, R2, 0);
    p.alu(Alu::Mov, R3, R8);
    p.alu_imm(Alu::Add, R3, 8);
    p.alu(Alu::Mov, R4, R7);
    p.call(Helper::StoreBytes);
    redirect(p, ifindex)
}

/// Writes another source address into the frame, and sends it.
fn from_sources(state: &Shared, sources: u32, ifindex: u32) -> Vec<u64> {
    // Weyl's sequence: numbers that are spread evenly and look like chance.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut p = Program::default();
    p.alu(Alu::Mov, R6, R1);
    pace(&mut p, state);
    count(&mut p, state);
    p.load(Width::Four, R2, R6, 0);
    p.load(Width::Four, R3, R6, 4);
    p.alu(Alu::Mov, R4, R2);
    p.alu_imm(Alu::Add, R4, i32::from(SOURCE) + 4);
    p.give_up_if_reg(If::Above, R4, R3);
    p.constant(R1, GOLDEN);
    p.alu(Alu::Mul, R7, R1);
    p.alu_imm(Alu::Shr, R7, 32);
    p.alu_imm(Alu::Mul, R7, sources as i32);
    p.alu_imm(Alu::Shr, R7, 32);
    p.store(Width::Four, R2, SOURCE, R7);
    redirect(p, ifindex)
}
