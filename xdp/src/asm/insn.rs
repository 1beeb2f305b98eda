//! Instructions and their encoding.

use serde::{Deserialize, Serialize};

use super::Label;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reg {
    /// Return value, and scratch.
    R0,
    /// First argument; not kept over calls, like those up to R5.
    R1,
    /// Second argument.
    R2,
    /// Third argument.
    R3,
    /// Fourth argument.
    R4,
    /// Fifth argument.
    R5,
    /// Kept over calls, like those up to R9.
    R6,
    /// Kept over calls.
    R7,
    /// Kept over calls.
    R8,
    /// Kept over calls.
    R9,
    /// Frame pointer; read only.
    R10,
}

impl Reg {
    /// Its number in an instruction.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// Width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 1 byte.
    B,
    /// 2 bytes.
    H,
    /// 4 bytes.
    W,
    /// 8 bytes.
    Dw,
}

impl Size {
    /// Bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::Dw => 8,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Size::W => 0x00,
            Size::H => 0x08,
            Size::B => 0x10,
            Size::Dw => 0x18,
        }
    }
}

/// Arithmetic of two operands, the first of which takes the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AluOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Unsigned quotient; 0 when the divisor is 0.
    Div,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Shift to the left, modulo the width.
    Lsh,
    /// Shift to the right, modulo the width.
    Rsh,
    /// Unsigned remainder.
    Mod,
    /// Bitwise exclusive or.
    Xor,
    /// The second operand.
    Mov,
    /// Shift to the right that keeps the sign, modulo the width.
    Arsh,
}

impl AluOp {
    const fn code(self) -> u8 {
        match self {
            AluOp::Add => 0x00,
            AluOp::Sub => 0x10,
            AluOp::Mul => 0x20,
            AluOp::Div => 0x30,
            AluOp::Or => 0x40,
            AluOp::And => 0x50,
            AluOp::Lsh => 0x60,
            AluOp::Rsh => 0x70,
            AluOp::Mod => 0x90,
            AluOp::Xor => 0xa0,
            AluOp::Mov => 0xb0,
            AluOp::Arsh => 0xc0,
        }
    }
}

/// A comparison of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned greater.
    Gt,
    /// Unsigned greater or equal.
    Ge,
    /// Unsigned less.
    Lt,
    /// Unsigned less or equal.
    Le,
    /// Signed greater.
    Sgt,
    /// Signed greater or equal.
    Sge,
    /// Signed less.
    Slt,
    /// Signed less or equal.
    Sle,
}

impl Cond {
    const fn code(self) -> u8 {
        match self {
            Cond::Eq => 0x10,
            Cond::Gt => 0x20,
            Cond::Ge => 0x30,
            Cond::Ne => 0x50,
            Cond::Sgt => 0x60,
            Cond::Sge => 0x70,
            Cond::Lt => 0xa0,
            Cond::Le => 0xb0,
            Cond::Slt => 0xc0,
            Cond::Sle => 0xd0,
        }
    }

    /// Whether it holds of two values.
    pub(super) const fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Gt => a > b,
            Cond::Ge => a >= b,
            Cond::Lt => a < b,
            Cond::Le => a <= b,
            Cond::Sgt => a as i64 > b as i64,
            Cond::Sge => a as i64 >= b as i64,
            Cond::Slt => (a as i64) < b as i64,
            Cond::Sle => a as i64 <= b as i64,
        }
    }

    /// The same order, of equal values too.
    pub(crate) const fn or_equal(self) -> Self {
        match self {
            Cond::Gt => Cond::Ge,
            Cond::Lt => Cond::Le,
            Cond::Sgt => Cond::Sge,
            Cond::Slt => Cond::Sle,
            other => other,
        }
    }

    /// What holds exactly when this does not.
    pub const fn negated(self) -> Self {
        match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Gt => Cond::Le,
            Cond::Ge => Cond::Lt,
            Cond::Lt => Cond::Ge,
            Cond::Le => Cond::Gt,
            Cond::Sgt => Cond::Sle,
            Cond::Sge => Cond::Slt,
            Cond::Slt => Cond::Sge,
            Cond::Sle => Cond::Sgt,
        }
    }
}

/// The second operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A constant, sign-extended to 64 bits.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Operand::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(imm: i32) -> Self {
        Operand::Imm(imm)
    }
}

/// A change of byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Network order to that of the host, 16 bits; the others become 0.
    Be16,
    /// Network order to that of the host, 32 bits; the others become 0.
    Be32,
    /// Network order to that of the host, 64 bits.
    Be64,
}

impl Endian {
    const fn bits(self) -> i32 {
        match self {
            Endian::Be16 => 16,
            Endian::Be32 => 32,
            Endian::Be64 => 64,
        }
    }
}

/// Functions of the kernel that programs call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// Address of a map's entry, or 0.
    MapLookup = 1,
    /// Nanoseconds since boot.
    KtimeGetNs = 5,
    /// Number of the CPU that runs the program.
    CpuNumber = 8,
    /// Moves the first byte of the packet.
    XdpAdjustHead = 44,
    /// Gives the packet to an entry of a map of sockets.
    RedirectMap = 51,
    /// Moves the end of the packet.
    XdpAdjustTail = 65,
    /// Room in a ring buffer, or 0.
    RingbufReserve = 131,
    /// Hands reserved room to the reader.
    RingbufSubmit = 132,
    /// Gives reserved room back.
    RingbufDiscard = 133,
    /// The kernel's count of ticks.
    Jiffies64 = 118,
    /// Calls a function a bounded number of times.
    Loop = 181,
    /// Copies bytes of the packet.
    XdpLoadBytes = 189,
}

impl Helper {
    /// All of them.
    pub const ALL: [Helper; 12] = [
        Helper::MapLookup,
        Helper::KtimeGetNs,
        Helper::CpuNumber,
        Helper::XdpAdjustHead,
        Helper::RedirectMap,
        Helper::XdpAdjustTail,
        Helper::RingbufReserve,
        Helper::RingbufSubmit,
        Helper::RingbufDiscard,
        Helper::Jiffies64,
        Helper::Loop,
        Helper::XdpLoadBytes,
    ];

    /// Its name in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Helper::MapLookup => "bpf_map_lookup_elem",
            Helper::KtimeGetNs => "bpf_ktime_get_ns",
            Helper::CpuNumber => "bpf_get_smp_processor_id",
            Helper::XdpAdjustHead => "bpf_xdp_adjust_head",
            Helper::RedirectMap => "bpf_redirect_map",
            Helper::XdpAdjustTail => "bpf_xdp_adjust_tail",
            Helper::RingbufReserve => "bpf_ringbuf_reserve",
            Helper::RingbufSubmit => "bpf_ringbuf_submit",
            Helper::RingbufDiscard => "bpf_ringbuf_discard",
            Helper::Jiffies64 => "bpf_jiffies64",
            Helper::Loop => "bpf_loop",
            Helper::XdpLoadBytes => "bpf_xdp_load_bytes",
        }
    }
}

/// Index of a map among those of its program.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct MapId(pub u32);

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insn {
    /// `dst op= src`; on 32 bits, the upper ones become 0.
    Alu {
        /// 64 bits rather than 32.
        wide: bool,
        /// What is computed.
        op: AluOp,
        /// First operand and result.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst = -dst`
    Neg {
        /// The operand.
        dst: Reg,
    },
    /// Changes the byte order of `dst`.
    Swap {
        /// Which way.
        to: Endian,
        /// The operand.
        dst: Reg,
    },
    /// A 64-bit constant.
    LoadImm {
        /// Where to.
        dst: Reg,
        /// The constant.
        imm: u64,
    },
    /// The map itself, as helpers want it.
    LoadMap {
        /// Where to.
        dst: Reg,
        /// Which map.
        map: MapId,
    },
    /// The address of a byte of the one entry of a data map.
    LoadData {
        /// Where to.
        dst: Reg,
        /// Which map.
        map: MapId,
        /// Byte of its entry.
        offset: u32,
    },
    /// `dst` was the number of a CPU, and becomes the place of its part in an entry that has one for each: the number modulo that of parts, which the loader knows,
    /// times their size.
    PartOfCpu {
        /// The operand.
        dst: Reg,
        /// Bytes of a part.
        bytes: u32,
    },
    /// The address of a function, for helpers that call back.
    LoadFn {
        /// Where to.
        dst: Reg,
        /// Its first instruction.
        function: Label,
    },
    /// `dst = *(base + off)`
    Load {
        /// How much.
        size: Size,
        /// Where to.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
    },
    /// `*(base + off) = src`
    Store {
        /// How much.
        size: Size,
        /// Address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// What.
        src: Operand,
    },
    /// `*(base + off) += src`, 64 bits, as one step for all CPUs.
    AtomicAdd {
        /// Address.
        base: Reg,
        /// Added to the address; a multiple of 8.
        off: i16,
        /// How much.
        src: Reg,
    },
    /// Goes on elsewhere.
    Jump {
        /// Where.
        to: Label,
    },
    /// Goes on elsewhere when the comparison holds.
    Branch {
        /// The comparison.
        cond: Cond,
        /// First operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
        /// Where.
        to: Label,
    },
    /// Calls the kernel.
    Call(Helper),
    /// Returns R0.
    Exit,
}

impl Insn {
    /// Slots of 8 bytes that it takes.
    pub const fn slots(&self) -> usize {
        match self {
            Insn::LoadImm { .. }
            | Insn::LoadMap { .. }
            | Insn::LoadData { .. }
            | Insn::PartOfCpu { .. }
            | Insn::LoadFn { .. } => 2,
            _ => 1,
        }
    }

    /// The label it names.
    pub const fn target(&self) -> Option<Label> {
        match self {
            Insn::Jump { to } | Insn::Branch { to, .. } | Insn::LoadFn { function: to, .. } => {
                Some(*to)
            }
            _ => None,
        }
    }
}

/// One slot: code, registers, offset, immediate.
pub(super) fn slot(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let [o0, o1] = off.to_le_bytes();
    let [i0, i1, i2, i3] = imm.to_le_bytes();
    [code, src << 4 | dst, o0, o1, i0, i1, i2, i3]
}

const LD_IMM64: u8 = 0x18;
/// Source register of a load of a data map's address; the loader writes the one of a map itself.
const PSEUDO_FUNC: u8 = 4;

impl Insn {
    /// Encodes it; `distance` is the number of slots from the one behind it to its label.
    pub(super) fn encode(&self, distance: i32, out: &mut Vec<[u8; 8]>) -> Option<()> {
        let near = || i16::try_from(distance).ok();
        match *self {
            Insn::Alu { wide, op, dst, src } => {
                let class = if wide { 0x07 } else { 0x04 };
                let (from, reg, imm) = operand(src);
                out.push(slot(class | op.code() | from, dst.number(), reg, 0, imm));
            }
            Insn::Neg { dst } => out.push(slot(0x87, dst.number(), 0, 0, 0)),
            Insn::Swap { to, dst } => out.push(slot(0xdc, dst.number(), 0, 0, to.bits())),
            Insn::LoadImm { dst, imm } => wide(dst, 0, imm as u32, (imm >> 32) as u32, out),
            Insn::LoadMap { dst, .. } => wide(dst, 0, 0, 0, out),
            Insn::LoadData { dst, offset, .. } => wide(dst, 0, offset, 0, out),
            Insn::PartOfCpu { dst, bytes } => {
                let alu = |wide, op, imm| Insn::Alu { wide, op, dst, src: Operand::Imm(imm) };
                // The one part that there is where the loader says nothing.
                alu(false, AluOp::And, 0).encode(0, out)?;
                alu(true, AluOp::Mul, bytes as i32).encode(0, out)?;
            }
            Insn::LoadFn { dst, .. } => {
                // Counted from the second of its slots, as calls are from the slot behind them.
                wide(dst, PSEUDO_FUNC, (distance + 1) as u32, 0, out);
            }
            Insn::Load { size, dst, base, off } => {
                out.push(slot(0x61 | size.code(), dst.number(), base.number(), off, 0));
            }
            Insn::Store { size, base, off, src } => {
                let (class, reg, imm) = match src {
                    Operand::Reg(reg) => (0x63, reg.number(), 0),
                    Operand::Imm(imm) => (0x62, 0, imm),
                };
                out.push(slot(class | size.code(), base.number(), reg, off, imm));
            }
            // The immediate says which operation: addition is 0.
            Insn::AtomicAdd { base, off, src } => {
                out.push(slot(0xdb, base.number(), src.number(), off, 0));
            }
            Insn::Jump { .. } => out.push(slot(0x05, 0, 0, near()?, 0)),
            Insn::Branch { cond, dst, src, .. } => {
                let (from, reg, imm) = operand(src);
                out.push(slot(0x05 | cond.code() | from, dst.number(), reg, near()?, imm));
            }
            Insn::Call(helper) => out.push(slot(0x85, 0, 0, 0, helper as i32)),
            Insn::Exit => out.push(slot(0x95, 0, 0, 0, 0)),
        }
        Some(())
    }
}

fn operand(src: Operand) -> (u8, u8, i32) {
    match src {
        Operand::Reg(reg) => (0x08, reg.number(), 0),
        Operand::Imm(imm) => (0x00, 0, imm),
    }
}

fn wide(dst: Reg, pseudo: u8, low: u32, high: u32, out: &mut Vec<[u8; 8]>) {
    out.push(slot(LD_IMM64, dst.number(), pseudo, 0, low as i32));
    out.push(slot(0, 0, 0, 0, high as i32));
}
