//! Instructions of the programs that make frames: just enough of eBPF for them (RFC 9669).

/// A register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reg(pub u8);

/// A map, as a program names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fd(pub i32);

pub(super) const R0: Reg = Reg(0);
pub(super) const R1: Reg = Reg(1);
pub(super) const R2: Reg = Reg(2);
pub(super) const R3: Reg = Reg(3);
pub(super) const R4: Reg = Reg(4);
pub(super) const R6: Reg = Reg(6);
pub(super) const R7: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R10: Reg = Reg(10);

/// Widths of loads and stores, as their bits in the opcode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    Four = 0x00,
    Eight = 0x18,
}

/// Operations on 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Shl = 0x60,
    Shr = 0x70,
    Mov = 0xb0,
}

/// Conditions, unsigned.
#[derive(Clone, Copy, Debug)]
pub(super) enum If {
    Equal = 0x10,
    Above = 0x20,
    NotBelow = 0x30,
    Below = 0xa0,
}

/// Functions of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Helper {
    MapLookup = 1,
    MonotonicNs = 5,
    Redirect = 23,
    AdjustTail = 65,
    StoreBytes = 190,
}

fn word(opcode: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(opcode)
        | u64::from(dst | src << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// A program under construction. Jumps are forward, to the one place where the frame is given up.
#[derive(Debug, Default)]
pub(super) struct Program {
    words: Vec<u64>,
    jumps: Vec<usize>,
}

impl Program {
    pub(super) fn load(&mut self, width: Width, dst: Reg, base: Reg, offset: i16) {
        self.words.push(word(0x61 | width as u8, dst.0, base.0, offset, 0));
    }

    pub(super) fn store(&mut self, width: Width, base: Reg, offset: i16, src: Reg) {
        self.words.push(word(0x63 | width as u8, base.0, src.0, offset, 0));
    }

    pub(super) fn alu(&mut self, alu: Alu, dst: Reg, src: Reg) {
        self.words.push(word(0x0f | alu as u8, dst.0, src.0, 0, 0));
    }

    pub(super) fn alu_imm(&mut self, alu: Alu, dst: Reg, immediate: i32) {
        self.words.push(word(0x07 | alu as u8, dst.0, 0, 0, immediate));
    }

    /// A constant of 64 bits.
    pub(super) fn constant(&mut self, dst: Reg, value: u64) {
        self.words.push(word(0x18, dst.0, 0, 0, value as i32));
        self.words.push(word(0, 0, 0, 0, (value >> 32) as i32));
    }

    /// A map.
    pub(super) fn map(&mut self, dst: Reg, map: Fd) {
        const PSEUDO_MAP: u8 = 1;
        self.words.push(word(0x18, dst.0, PSEUDO_MAP, 0, map.0));
        self.words.push(0);
    }

    /// The address of a map's only value.
    pub(super) fn value(&mut self, dst: Reg, map: Fd) {
        const PSEUDO_VALUE: u8 = 2;
        self.words.push(word(0x18, dst.0, PSEUDO_VALUE, 0, map.0));
        self.words.push(0);
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.words.push(word(0x85, 0, 0, 0, helper as i32));
    }

    /// Leaves out what `skipped` adds if a register compares so.
    pub(super) fn skip_if(
        &mut self,
        condition: If,
        a: Reg,
        b: i32,
        skipped: impl FnOnce(&mut Self),
    ) {
        let at = self.words.len();
        self.words.push(word(0x05 | condition as u8, a.0, 0, 0, b));
        skipped(self);
        self.words[at] |= ((self.words.len() - at - 1) as u64) << 16;
    }

    /// As [`Program::skip_if`], of two registers.
    pub(super) fn skip_if_reg(
        &mut self,
        condition: If,
        a: Reg,
        b: Reg,
        skipped: impl FnOnce(&mut Self),
    ) {
        let at = self.words.len();
        self.words.push(word(0x0d | condition as u8, a.0, b.0, 0, 0));
        skipped(self);
        self.words[at] |= ((self.words.len() - at - 1) as u64) << 16;
    }

    /// Gives the frame up if a register compares so.
    pub(super) fn give_up_if(&mut self, condition: If, a: Reg, b: i32) {
        self.jumps.push(self.words.len());
        self.words.push(word(0x05 | condition as u8, a.0, 0, 0, b));
    }

    /// Gives the frame up if a register compares so with another.
    pub(super) fn give_up_if_reg(&mut self, condition: If, a: Reg, b: Reg) {
        self.jumps.push(self.words.len());
        self.words.push(word(0x0d | condition as u8, a.0, b.0, 0, 0));
    }

    /// Returns what R0 holds; frames given up are dropped.
    pub(super) fn end(mut self) -> Vec<u64> {
        const EXIT: u64 = 0x95;
        const XDP_DROP: i32 = 1;
        self.words.push(EXIT);
        if self.jumps.is_empty() {
            // The verifier takes no instruction that is never reached.
            return self.words;
        }
        let place = self.words.len();
        for jump in self.jumps {
            self.words[jump] |= ((place - jump - 1) as u64) << 16;
        }
        self.words.push(word(0x07 | Alu::Mov as u8, R0.0, 0, 0, XDP_DROP));
        self.words.push(EXIT);
        self.words
    }
}
