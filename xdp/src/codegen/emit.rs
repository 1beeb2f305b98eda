//! Building blocks of generated code: registers, stack and scratch words.
//!
//! | register | holds |
//! |---|---|
//! | R0 – R5 | values being computed |
//! | R6, R7 | first byte of the packet and the byte behind its last |
//! | R8 | the frame |
//! | R9 | the header at hand, or the entry of a group table |
//!
//! **What the verifier knows.** It follows every path and takes two for one only when what it knows of them is the same. Offsets of headers,
//! and all values that are kept, therefore lie in the frame, which is memory of a map: of its contents the verifier keeps no track, and
//! all paths of the header walk become one before the queries. An absent header has the offset [`ABSENT`], where no packet has bytes, so
//! that one comparison tells both.

use super::clock::{Asked, Times, Window};
use super::spec::{control_words, packet_counters};
use crate::asm::{AluOp, Assembler, Cond, Helper, Insn, Label, MapId, Operand, Reg, Size};

/// Registers that values are computed in.
pub(super) const S: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];
/// First byte of the packet, in programs that look into packets.
pub(super) const DATA: Reg = Reg::R6;
/// The byte behind the last of the packet; in other programs how many bytes it has.
pub(super) const END: Reg = Reg::R7;
/// The frame.
pub(super) const FRAME: Reg = Reg::R8;
/// The header at hand, or the entry of a table.
pub(super) const HEADER: Reg = Reg::R9;

/// The control map, where code that is likely to follow asks for it again.
pub(super) const CONTROL: Reg = S[5];

/// Offset of a header that is not there. Contiguous bytes of a packet end before it.
pub(super) const ABSENT: i32 = 0x3fff;
/// Most contiguous bytes of a packet that programs look at: offsets with what is added to them stay below the 65,535 that the
/// verifier allows.
pub(super) const LINEAR_BYTES_MAX: i32 = ABSENT - 1;
const _: () = assert!(3 * ABSENT + 16 <= u16::MAX as i32 + 1);

/// Concrete protocol of a header that is not there; the end of a path.
pub(super) const NO_PROTOCOL: i32 = 0xffff;

/// Stack of the main program, bytes; functions that are called back need none, and 512 is the limit.
const STACK_BYTES_MAX: i32 = 480;
/// Words of the frame: offsets in instructions are signed 16 bits.
pub(super) const FRAME_WORDS_MAX: u32 = 4000;

/// Places of the main program's stack, from its frame pointer.
pub(super) mod stack {
    /// First byte of the packet.
    pub(crate) const DATA: i16 = -8;
    /// The byte behind its last.
    pub(crate) const END: i16 = -16;
    /// The frame.
    pub(crate) const FRAME: i16 = -24;
    /// Key of a lookup, four bytes.
    pub(crate) const KEY: i16 = -32;
    /// What the kernel passes to the program.
    pub(crate) const CONTEXT: i16 = -40;
    /// Bytes of all these.
    pub(crate) const FIXED_BYTES: i32 = 40;
}

/// Something that has no code; the query, or the whole program, stays on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unportable(pub(super) String);

pub(super) fn unportable<T>(what: impl Into<String>) -> Result<T, Unportable> {
    Err(Unportable(what.into()))
}

/// Words of the frame for values.
#[derive(Clone, Copy, Debug)]
struct Scratch {
    first: u32,
    used: u32,
    most: u32,
    max: u32,
}

/// What code is made with.
pub(super) struct Emitter {
    pub(super) asm: Assembler,
    /// By parameter: its word in the control map.
    pub(super) param_words: Vec<u32>,
    pub(super) clock: super::Clock,
    /// Windows of time whose number the frame keeps.
    pub(super) windows: Vec<Window>,
    /// First word of the control map with secrets of hashes.
    pub(super) secrets: u32,
    pub(super) frame_map: MapId,
    pub(super) control_map: MapId,
    pub(super) ring_map: MapId,
    scratch: Scratch,
    stack_bytes: i32,
    stack_most: i32,
    /// Instructions beyond which no more values are computed.
    pub(super) instructions_max: usize,
    /// Cells of the last word that are free.
    free_cells: Vec<i16>,
    /// Where the packet's time is, in a program that asks for it.
    pub(super) times: Option<Times>,
    /// First word of the frame's path.
    pub(super) path_word: u32,
    /// Whether anything looks into packets. Else [`DATA`] is not used: a register less for the kernel to save.
    pub(super) looks_into_packets: bool,
}

impl Emitter {
    pub(super) fn new(
        param_words: Vec<u32>,
        clock: super::Clock,
        maps: [MapId; 3],
        frame_words: u32,
    ) -> Self {
        Self {
            asm: Assembler::new(),
            param_words,
            clock,
            windows: Vec::new(),
            secrets: 0,
            frame_map: maps[0],
            control_map: maps[1],
            ring_map: maps[2],
            scratch: Scratch {
                first: frame_words,
                used: 0,
                most: 0,
                max: FRAME_WORDS_MAX - frame_words,
            },
            stack_bytes: stack::FIXED_BYTES,
            stack_most: stack::FIXED_BYTES,
            instructions_max: super::value::INSTRUCTIONS_MAX,
            free_cells: Vec::new(),
            times: None,
            path_word: 0,
            looks_into_packets: true,
        }
    }

    /// Words of the frame that scratch takes.
    pub(super) fn scratch_words(&self) -> u32 {
        self.scratch.most
    }

    /// Scratch words in a row; the offset of the first.
    pub(super) fn take(&mut self, words: u32) -> Result<i16, Unportable> {
        let scratch = &mut self.scratch;
        scratch.used += words;
        scratch.most = scratch.most.max(scratch.used);
        if scratch.used > scratch.max {
            return unportable("more values at a time than a program's memory holds");
        }
        Ok(8 * (scratch.first + scratch.used - words) as i16)
    }

    /// Scratch and stack in use, to give back what comes after.
    pub(super) fn memory_mark(&self) -> (u32, i32) {
        (self.scratch.used, self.stack_bytes)
    }

    pub(super) fn memory_reset(&mut self, (scratch, stack): (u32, i32)) {
        self.scratch.used = scratch;
        self.stack_bytes = stack;
        // Cells are taken before anything is given back.
        self.free_cells.clear();
    }

    /// Eight bytes of the main program's stack.
    pub(super) fn take_stack(&mut self) -> Result<i16, Unportable> {
        self.stack_bytes += 8;
        self.stack_most = self.stack_most.max(self.stack_bytes);
        if self.stack_bytes > STACK_BYTES_MAX {
            return unportable("more headers at a time than a program's stack holds");
        }
        Ok(-self.stack_bytes as i16)
    }

    /// A cell of two bytes of the frame.
    pub(super) fn take_cell(&mut self) -> Result<i16, Unportable> {
        if self.free_cells.is_empty() {
            let at = self.take(1)?;
            self.free_cells = vec![at + 6, at + 4, at + 2, at];
        }
        self.free_cells.pop().map_or_else(|| unportable("a cell"), Ok)
    }

    pub(super) fn load_cell(&mut self, dst: Reg, cell: i16) {
        self.asm.load(Size::H, dst, FRAME, cell);
    }

    pub(super) fn store_cell(&mut self, cell: i16, src: impl Into<Operand>) {
        self.asm.store(Size::H, FRAME, cell, src);
    }

    /// `dst` = offset in a cell, below the limit that the verifier asks for.
    pub(super) fn load_offset(&mut self, dst: Reg, cell: i16) {
        self.load_cell(dst, cell);
        self.asm.alu(AluOp::And, dst, ABSENT);
    }

    pub(super) fn load_scratch(&mut self, dst: Reg, at: i16) {
        self.asm.load(Size::Dw, dst, FRAME, at);
    }

    pub(super) fn store_scratch(&mut self, at: i16, src: impl Into<Operand>) {
        self.asm.store(Size::Dw, FRAME, at, src);
    }

    /// Adds to a word of the frame; `base` points to the frame and `via` is overwritten.
    pub(super) fn add_to_frame(&mut self, base: Reg, word: u32, by: impl Into<Operand>, via: Reg) {
        let at = 8 * word as i16;
        self.asm.load(Size::Dw, via, base, at);
        self.asm.alu(AluOp::Add, via, by);
        self.asm.store(Size::Dw, base, at, via);
    }

    /// A constant as operand, in a register when it does not fit an instruction.
    pub(super) fn operand(&mut self, value: u64, via: Reg) -> Operand {
        match i32::try_from(value as i64) {
            Ok(imm) => Operand::Imm(imm),
            Err(_) => {
                self.asm.constant(via, value);
                Operand::Reg(via)
            }
        }
    }

    /// `dst` = a word of the control map.
    pub(super) fn load_control(&mut self, dst: Reg, word: u32) {
        self.asm.push(Insn::LoadData { dst, map: self.control_map, offset: 8 * word });
        self.asm.load(Size::Dw, dst, dst, 0);
    }

    /// Goes to `far` unless `bytes` bytes from `pointer + disp` on are in the packet; `via` is overwritten.
    pub(super) fn check_end(&mut self, pointer: Reg, bytes: i32, via: Reg, far: Label) {
        self.asm.mov(via, pointer);
        self.asm.alu(AluOp::Add, via, bytes);
        self.asm.branch(Cond::Gt, via, END, far);
    }

    /// `dst` = the address of the control map's first word.
    pub(super) fn load_control_address(&mut self, dst: Reg) {
        self.asm.push(Insn::LoadData { dst, map: self.control_map, offset: 0 });
    }

    /// Whether ordinals are stamps, which puts the packets of all CPUs in order: in programs that look at the kernel's clock.
    pub(super) fn is_stamped(&self) -> bool {
        self.clock == super::Clock::Kernel && self.times.is_some()
    }

    /// `dst` = the packet's ordinal. Where it is the stamp, [`Self::stamp`] has made sure of it.
    pub(super) fn load_ordinal(&mut self, dst: Reg) {
        match self.clock {
            super::Clock::Given => self.load_control(dst, control_words::ORDINAL),
            super::Clock::Kernel if self.is_stamped() => self.load_stamp(dst),
            super::Clock::Kernel => {
                // The packet itself has been counted.
                self.asm.load(Size::Dw, dst, FRAME, 8 * packet_counters::PACKETS as i16);
                self.asm.alu(AluOp::Sub, dst, 1);
            }
        }
    }

    /// The beginning of a program: packet, frame, and time, if headers ask for it: else who asks for it does. `out` is where a packet goes
    /// that needs no more looks.
    ///
    /// The frame's address is computed from the number of the CPU, which the kernel reads in one instruction. An array per CPU would be looked up: a
    /// key stored and read, two comparisons and two jumps, 1 to 2 ns of each packet.
    pub(super) fn prologue(
        &mut self,
        (wants_time, headers_do): (bool, bool),
        out: Label,
    ) -> Result<(), Unportable> {
        self.asm.comment("the packet, and the frame of this CPU");
        self.asm.store(Size::Dw, Reg::R10, stack::CONTEXT, Reg::R1);
        let data = if self.looks_into_packets { DATA } else { S[0] };
        self.asm.load(Size::W, data, Reg::R1, 0);
        self.asm.load(Size::W, END, Reg::R1, 4);
        if !self.looks_into_packets {
            self.asm.alu(AluOp::Sub, END, data);
        }
        self.asm.call(Helper::CpuNumber);
        self.asm.push(Insn::PartOfCpu { dst: Reg::R0, bytes: 0 });
        self.asm.push(Insn::LoadData { dst: FRAME, map: self.frame_map, offset: 0 });
        self.asm.alu(AluOp::Add, FRAME, Reg::R0);
        self.add_to_frame(FRAME, packet_counters::PACKETS, 1, Reg::R1);
        let (fits, long) = (self.asm.label(), self.asm.seldom());
        let bytes = if self.looks_into_packets { S[0] } else { END };
        self.length(bytes);
        self.add_to_frame(FRAME, packet_counters::BYTES, bytes, Reg::R1);
        self.asm.branch(Cond::Gt, bytes, LINEAR_BYTES_MAX, long);
        self.asm.jump(fits);
        self.asm.place(long);
        self.asm.comment("longer than what is looked at");
        self.add_to_frame(FRAME, packet_counters::OVERSIZE, 1, Reg::R0);
        self.asm.jump(out);
        self.asm.place(fits);
        if wants_time {
            self.begin_times()?;
        }
        if headers_do {
            self.ask_all(&mut Asked::default());
        }
        Ok(())
    }

    /// `dst` = the bytes of the packet that are here.
    pub(super) fn length(&mut self, dst: Reg) {
        if dst != END {
            self.asm.mov(dst, END);
        }
        if self.looks_into_packets {
            self.asm.alu(AluOp::Sub, dst, DATA);
        }
    }

    /// Makes paths one that have looked at more or less of the packet: the verifier keeps with a pointer how far that was.
    pub(super) fn forget_reach(&mut self) {
        self.asm.load(Size::Dw, S[0], Reg::R10, stack::CONTEXT);
        self.asm.load(Size::W, DATA, S[0], 0);
    }

    /// Begins a function that the kernel calls back with the main program's stack as its context: packet and frame as there.
    pub(super) fn enter_callback(&mut self) {
        self.asm.load(Size::Dw, DATA, Reg::R2, stack::DATA);
        self.asm.load(Size::Dw, END, Reg::R2, stack::END);
        self.asm.load(Size::Dw, FRAME, Reg::R2, stack::FRAME);
    }
}
