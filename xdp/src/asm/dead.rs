//! Values followed backwards: what nobody reads is not computed, and not stored.

use super::Assembler;
use super::flow::Flow;
use super::insn::{AluOp, Helper, Insn, Operand, Reg, Size};
use super::optimize::{FRAME, STACK};

/// Bytes of a cell: the smallest thing that code keeps in memory.
const CELL_BYTES: usize = 2;

/// Bytes of a stack.
const STACK_BYTES: usize = 512;

/// Most bytes that helpers read behind an address of the stack: a prefix of IPv6 and its length, rounded up.
const GIVEN_BYTES: usize = 24;

/// What is read later: registers, a bit each, and cells of memory.
#[derive(Clone, PartialEq, Eq)]
struct Live {
    regs: u16,
    cells: Vec<u64>,
}

/// Which cells there are: those of the stack, then those of the frame from a place on.
#[derive(Clone)]
struct Cells {
    /// Byte of the frame where what only this program reads begins.
    from: usize,
    count: usize,
    /// Cells of the stack whose address helpers are given.
    given: Vec<usize>,
}

const STACK_CELLS: usize = STACK_BYTES / CELL_BYTES;

impl Cells {
    fn new(asm: &Assembler, from: i16) -> Self {
        let end = |insn: &Insn| match *insn {
            Insn::Load { size, base: FRAME, off, .. }
            | Insn::Store { size, base: FRAME, off, .. } => off as usize + size.bytes() as usize,
            _ => 0,
        };
        let from = from as usize;
        let end = asm.insns.iter().map(end).max().unwrap_or(0).max(from);
        Self { from, count: STACK_CELLS + (end - from).div_ceil(CELL_BYTES), given: given(asm) }
    }

    /// The cells of an access; nothing for memory that others read.
    fn of(&self, base: Reg, off: i16, size: Size) -> Option<std::ops::Range<usize>> {
        let first = match base {
            STACK => STACK_BYTES.checked_add_signed(isize::from(off))?,
            FRAME => STACK_BYTES + usize::try_from(off).ok()?.checked_sub(self.from)?,
            _ => return None,
        };
        let end = first + size.bytes() as usize;
        Some(first / CELL_BYTES..end.div_ceil(CELL_BYTES))
    }
}

impl Live {
    fn none(cells: &Cells) -> Self {
        Self { regs: 0, cells: vec![0; cells.count.div_ceil(64)] }
    }

    fn has(&self, reg: Reg) -> bool {
        self.regs & 1 << reg.number() != 0
    }

    fn read(&mut self, reg: Reg) {
        self.regs |= 1 << reg.number();
    }

    fn read_operand(&mut self, src: Operand) {
        if let Operand::Reg(reg) = src {
            self.read(reg);
        }
    }

    fn write(&mut self, reg: Reg) {
        self.regs &= !(1 << reg.number());
    }

    fn mark(&mut self, mut cells: std::ops::Range<usize>, is_live: bool) {
        cells.all(|cell| {
            match is_live {
                true => self.cells[cell / 64] |= 1 << (cell % 64),
                false => self.cells[cell / 64] &= !(1 << (cell % 64)),
            }
            true
        });
    }

    fn any(&self, mut cells: std::ops::Range<usize>) -> bool {
        cells.any(|cell| self.cells[cell / 64] & 1 << (cell % 64) != 0)
    }

    fn join(&mut self, other: &Self) {
        self.regs |= other.regs;
        self.join_cells(other);
    }

    fn join_cells(&mut self, other: &Self) {
        self.cells.iter_mut().zip(&other.cells).for_each(|(cell, other)| *cell |= other);
    }

    /// Goes back over an instruction; whether it is of use.
    fn step(&mut self, cells: &Cells, called: &mut Called, insn: &Insn, is_main: bool) -> bool {
        match *insn {
            Insn::Alu { op, dst, src, .. } => {
                if !self.has(dst) {
                    return false;
                }
                if op == AluOp::Mov {
                    self.write(dst);
                }
                self.read_operand(src);
            }
            Insn::Neg { dst } | Insn::Swap { dst, .. } | Insn::PartOfCpu { dst, .. } => {
                return self.has(dst);
            }
            Insn::LoadImm { dst, .. }
            | Insn::LoadMap { dst, .. }
            | Insn::LoadData { dst, .. }
            | Insn::LoadFn { dst, .. } => {
                if !self.has(dst) {
                    return false;
                }
                self.write(dst);
            }
            Insn::Load { size, dst, base, off } => {
                if !self.has(dst) {
                    return false;
                }
                self.write(dst);
                self.read(base);
                if let Some(read) = cells.of(base, off, size) {
                    self.mark(read, true);
                }
            }
            Insn::Store { size, base, off, src } => {
                if let Some(written) = cells.of(base, off, size) {
                    if !self.any(written.clone()) {
                        return false;
                    }
                    if size != Size::B {
                        self.mark(written, false);
                    }
                }
                self.read(base);
                self.read_operand(src);
            }
            Insn::AtomicAdd { base, off, src } => {
                // What is added to is read, and by others too.
                if let Some(added) = cells.of(base, off, Size::Dw) {
                    self.mark(added, true);
                }
                self.read(base);
                self.read(src);
            }
            Insn::Jump { .. } => {}
            Insn::Branch { dst, src, .. } => {
                self.read(dst);
                self.read_operand(src);
            }
            Insn::Call(helper) => {
                self.regs &= !0b11_1111;
                // R1 and those that follow.
                self.regs |= ((1 << arguments(helper)) - 1) << 1;
                match helper {
                    Helper::Loop => {
                        called.behind.join(self);
                        self.join_cells(&called.begin);
                        // It reads what the main program keeps on its stack.
                        self.mark(0..STACK_CELLS, true);
                    }
                    _ => cells.given.iter().for_each(|cell| self.mark(*cell..*cell + 1, true)),
                }
            }
            Insn::Exit => {
                self.regs = 1;
                self.mark(0..cells.count, false);
                if !is_main {
                    // It is called again, or the main program goes on.
                    self.join_cells(&called.behind);
                    self.join_cells(&called.begin);
                    self.mark(0..STACK_CELLS, false);
                }
            }
        }
        true
    }
}

/// What functions that are called back may find and leave in the frame.
#[derive(Clone, PartialEq, Eq)]
struct Called {
    /// What is live where one of them begins.
    begin: Live,
    /// What is live behind a call.
    behind: Live,
}

/// Cells of the stack whose address code computes, with those behind them that a helper may read; all of them where it is passed on as it is, but to functions that are
/// called back, which are taken to read everything anyway.
fn given(asm: &Assembler) -> Vec<usize> {
    let mut given = Vec::new();
    for (index, insn) in asm.insns.iter().enumerate() {
        let Insn::Alu { op, dst, src, .. } = *insn else { continue };
        if src != Operand::Reg(STACK) {
            continue;
        }
        let behind = &asm.insns[index + 1..];
        let first = match behind.first() {
            Some(Insn::Alu { op: AluOp::Add, dst: to, src: Operand::Imm(off), .. })
                if op == AluOp::Mov && *to == dst =>
            {
                STACK_BYTES.checked_add_signed(*off as isize)
            }
            _ => None,
        };
        let call = behind.iter().find(|insn| matches!(insn, Insn::Call(_)));
        match first {
            Some(first) => {
                let end = (first + GIVEN_BYTES).min(STACK_BYTES);
                given.extend(first / CELL_BYTES..end.div_ceil(CELL_BYTES));
            }
            None if call == Some(&Insn::Call(Helper::Loop)) => {}
            None => given.extend(0..STACK_CELLS),
        }
    }
    given.sort_unstable();
    given.dedup();
    given
}

const fn arguments(helper: Helper) -> u32 {
    match helper {
        Helper::KtimeGetNs | Helper::CpuNumber | Helper::Jiffies64 => 0,
        Helper::MapLookup
        | Helper::RingbufSubmit
        | Helper::RingbufDiscard
        | Helper::XdpAdjustHead
        | Helper::XdpAdjustTail => 2,
        Helper::RingbufReserve | Helper::RedirectMap => 3,
        Helper::Loop | Helper::XdpLoadBytes => 4,
    }
}

/// By instruction: whether it is of use. The frame from byte `from` on is read by the program alone.
pub(super) fn run(asm: &Assembler, from: i16) -> Vec<bool> {
    let mut keep = vec![true; asm.insns.len()];
    follow(asm, &Flow::new(asm), &Cells::new(asm, from), &mut keep);
    keep
}

/// By block: what is read of memory from where it begins on.
pub(super) struct Reads {
    cells: Cells,
    live: Vec<Live>,
}

impl Reads {
    pub(super) fn new(asm: &Assembler, flow: &Flow, from: i16) -> Self {
        let cells = Cells::new(asm, from);
        let live = follow(asm, flow, &cells, &mut vec![true; asm.insns.len()]);
        Self { cells, live }
    }

    /// The cells of an access; nothing for memory that others read.
    pub(super) fn cells(&self, base: Reg, off: i16, size: Size) -> Option<std::ops::Range<usize>> {
        self.cells.of(base, off, size)
    }

    /// Whether some of the cells are read before they are written, from a block on.
    pub(super) fn is_read(&self, block: usize, cells: &std::ops::Range<usize>) -> bool {
        self.live[block].any(cells.clone())
    }

    /// Whether a call may read or write the cells.
    pub(super) fn is_given(&self, helper: Helper, cells: &std::ops::Range<usize>) -> bool {
        match helper {
            Helper::Loop | Helper::XdpLoadBytes => true,
            Helper::KtimeGetNs | Helper::CpuNumber | Helper::Jiffies64 => false,
            _ => self.cells.given.iter().any(|cell| cells.contains(cell)),
        }
    }
}

/// By block: what is live where it begins; by instruction: whether it is of use.
fn follow(asm: &Assembler, flow: &Flow, cells: &Cells, keep: &mut [bool]) -> Vec<Live> {
    // By block: what is live where it begins.
    let mut live = vec![Live::none(cells); flow.next.len()];
    let mut called = Called { begin: Live::none(cells), behind: Live::none(cells) };
    let mut changed = true;
    while changed {
        let before = called.clone();
        changed = false;
        for block in flow.blocks().rev() {
            let mut now = Live::none(cells);
            for next in &flow.next[block] {
                now.join(&live[*next]);
            }
            for index in flow.insns(block).rev() {
                let is_main = index < flow.functions;
                keep[index] = now.step(cells, &mut called, &asm.insns[index], is_main);
            }
            if flow.is_function[block] {
                called.begin.join(&now);
            }
            if now != live[block] {
                live[block] = now;
                changed = true;
            }
        }
        changed |= called != before;
    }
    live
}
