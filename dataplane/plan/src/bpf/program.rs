//! Classic BPF instructions (McCanne & Jacobson 1993; libpcap `pcap/bpf.h`), decoded and validated.

use wt_lang::ast::CmpOp;

use super::{BpfError, Loopback};

/// Scratch memory words.
pub const MEMORY_WORDS: usize = 16;

/// Second operand of arithmetic and comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The instruction's constant.
    K(u32),
    /// The index register.
    X,
}

/// Arithmetic on the accumulator, 32 bits, wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`; by zero ends the filter with FALSE.
    Div,
    /// `|`
    Or,
    /// `&`
    And,
    /// `<<`; counts of 32 and more give 0.
    Lsh,
    /// `>>`; counts of 32 and more give 0.
    Rsh,
    /// `%`; by zero ends the filter with FALSE.
    Mod,
    /// `^`
    Xor,
}

/// What a conditional jump tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Unsigned comparison of A.
    Compare(CmpOp),
    /// A and the operand share a bit.
    Bits,
}

/// An instruction. Jump targets are absolute and lie ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insn {
    /// A := packet bytes, big-endian; out of bounds ends the filter with FALSE.
    Load {
        /// Offset, added to X when indexed.
        k: u32,
        /// 1, 2 or 4.
        bytes: u32,
        /// Relative to X.
        indexed: bool,
    },
    /// A := the family in the header of a saved BSD loopback packet, as compiled code knows it; out of bounds ends the
    /// filter with FALSE. Not an instruction of the machine: it takes the place of the load of that header.
    LoadFamily(Loopback),
    /// A := length on the wire.
    LoadLen,
    /// A := constant.
    LoadImm(u32),
    /// A := scratch word.
    LoadMem(usize),
    /// X := length on the wire.
    LoadXLen,
    /// X := constant.
    LoadXImm(u32),
    /// X := scratch word.
    LoadXMem(usize),
    /// X := 4 × the low half of a packet byte: an IPv4 header length.
    LoadXMsh(u32),
    /// Scratch word := A.
    Store(usize),
    /// Scratch word := X.
    StoreX(usize),
    /// A := A op source.
    Alu(Alu, Source),
    /// A := −A.
    Neg,
    /// X := A.
    Tax,
    /// A := X.
    Txa,
    /// To an instruction ahead.
    Jump(usize),
    /// To one of two instructions ahead.
    Branch {
        /// What is tested.
        test: Test,
        /// Against what.
        source: Source,
        /// When TRUE.
        then: usize,
        /// When FALSE.
        otherwise: usize,
    },
    /// Ends; nonzero accepts.
    ReturnK(u32),
    /// Ends; nonzero A accepts.
    ReturnA,
}

/// A validated filter: jumps go forward and stay inside, the last instruction returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    insns: Vec<Insn>,
}

impl Program {
    /// The instructions.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The filter that accepts nothing.
    pub fn reject_all() -> Self {
        Self { insns: vec![Insn::ReturnK(0)] }
    }

    /// The program for a saved loopback packet rather than one of this host.
    pub(super) fn of_saved_loopback(mut self, loopback: Loopback) -> Self {
        for insn in &mut self.insns {
            if *insn == (Insn::Load { k: 0, bytes: 4, indexed: false }) {
                *insn = Insn::LoadFamily(loopback);
            }
        }
        self
    }

    /// Decodes `[code, jt, jf, k]` words.
    ///
    /// # Errors
    /// Codes and jumps that classic BPF does not have, and Linux extensions.
    pub fn decode(raw: &[[u32; 4]]) -> Result<Self, BpfError> {
        let mut insns = Vec::with_capacity(raw.len());
        for (index, &[code, jt, jf, k]) in raw.iter().enumerate() {
            let bad =
                BpfError::BadInstruction { index, code: u16::try_from(code).unwrap_or(u16::MAX) };
            let target = |offset: u32| {
                let to = index as u64 + 1 + u64::from(offset);
                usize::try_from(to).ok().filter(|&t| t < raw.len()).ok_or(bad.clone())
            };
            let memory =
                || usize::try_from(k).ok().filter(|&m| m < MEMORY_WORDS).ok_or(bad.clone());
            let source = if code & 0x08 == 0 { Source::K(k) } else { Source::X };
            let insn = match (code & 0x07, code & 0xe0, code & 0x18) {
                // BPF_LD
                (0, 0x20, size) => {
                    Insn::Load { k: plain(k)?, bytes: width(size, &bad)?, indexed: false }
                }
                (0, 0x40, size) => Insn::Load { k, bytes: width(size, &bad)?, indexed: true },
                (0, 0x80, 0) => Insn::LoadLen,
                (0, 0x00, 0) => Insn::LoadImm(k),
                (0, 0x60, 0) => Insn::LoadMem(memory()?),
                // BPF_LDX
                (1, 0x80, 0) => Insn::LoadXLen,
                (1, 0x00, 0) => Insn::LoadXImm(k),
                (1, 0x60, 0) => Insn::LoadXMem(memory()?),
                (1, 0xa0, 0x10) => Insn::LoadXMsh(plain(k)?),
                // BPF_ST, BPF_STX
                (2, 0, 0) => Insn::Store(memory()?),
                (3, 0, 0) => Insn::StoreX(memory()?),
                // BPF_ALU
                (4, _, _) => match code & 0xf0 {
                    0x80 => Insn::Neg,
                    op => Insn::Alu(alu(op, source).ok_or(bad)?, source),
                },
                // BPF_JMP
                // A jump back: `protochain` walks header chains with a loop.
                (5, _, _) if code & 0xf0 == 0 && k > i32::MAX as u32 => {
                    return Err(BpfError::Loop);
                }
                (5, _, _) if code & 0xf0 == 0 => Insn::Jump(target(k)?),
                (5, _, _) => Insn::Branch {
                    test: test(code & 0xf0).ok_or(bad.clone())?,
                    source,
                    then: target(jt)?,
                    otherwise: target(jf)?,
                },
                // BPF_RET
                (6, 0, 0x00) => Insn::ReturnK(k),
                (6, 0, 0x10) => Insn::ReturnA,
                // BPF_MISC
                (7, _, _) if code & 0xf8 == 0 => Insn::Tax,
                (7, _, _) if code & 0xf8 == 0x80 => Insn::Txa,
                _ => return Err(bad),
            };
            insns.push(insn);
        }
        match insns.last() {
            Some(Insn::ReturnK(_) | Insn::ReturnA) => Ok(Self { insns }),
            _ => Err(BpfError::BadInstruction { index: raw.len().saturating_sub(1), code: 0 }),
        }
    }
}

fn width(size: u32, bad: &BpfError) -> Result<u32, BpfError> {
    match size {
        0x00 => Ok(4),
        0x08 => Ok(2),
        0x10 => Ok(1),
        _ => Err(bad.clone()),
    }
}

fn alu(op: u32, source: Source) -> Option<Alu> {
    Some(match op {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        // Division by a constant zero is refused by every BPF validator.
        0x30 if source != Source::K(0) => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::Lsh,
        0x70 => Alu::Rsh,
        0x90 if source != Source::K(0) => Alu::Mod,
        0xa0 => Alu::Xor,
        _ => return None,
    })
}

fn test(op: u32) -> Option<Test> {
    Some(match op {
        0x10 => Test::Compare(CmpOp::Eq),
        0x20 => Test::Compare(CmpOp::Gt),
        0x30 => Test::Compare(CmpOp::Ge),
        0x40 => Test::Bits,
        _ => return None,
    })
}

/// Linux gives loads at some offsets that no packet reaches a meaning of their own (`linux/filter.h`, SKF_AD_OFF);
/// libpcap emits those for live captures. Other such offsets are simply out of bounds.
fn plain(k: u32) -> Result<u32, BpfError> {
    const SKF_AD_OFF: u32 = 0xffff_f000;
    let name = match k.wrapping_sub(SKF_AD_OFF) {
        0 => "protocol of the packet",
        4 => "packet type (`inbound`, `outbound`)",
        8 => "interface index (`ifindex`)",
        20 => "packet mark",
        24 => "queue number",
        28 => "hardware type",
        32 => "receive hash",
        36 => "processor number",
        44 | 48 | 60 => "VLAN tag metadata",
        12 | 16 | 40 | 52 | 56 => "packet metadata",
        _ => return Ok(k),
    };
    Err(BpfError::KernelExtension { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_classic_ethernet_filter() {
        let p = Program::decode(&[
            [0x28, 0, 0, 12],
            [0x15, 0, 1, 0x800],
            [0x06, 0, 0, 65535],
            [0x06, 0, 0, 0],
        ])
        .unwrap();
        assert_eq!(p.insns()[0], Insn::Load { k: 12, bytes: 2, indexed: false });
        assert_eq!(
            p.insns()[1],
            Insn::Branch {
                test: Test::Compare(CmpOp::Eq),
                source: Source::K(0x800),
                then: 2,
                otherwise: 3
            }
        );
    }

    #[test]
    fn refuses_what_a_bpf_machine_refuses() {
        let jump_out = Program::decode(&[[0x15, 0, 9, 1], [0x06, 0, 0, 0]]);
        assert!(matches!(jump_out, Err(BpfError::BadInstruction { index: 0, .. })));
        assert!(Program::decode(&[[0x28, 0, 0, 12]]).is_err(), "does not return");
        assert!(Program::decode(&[]).is_err());
        let zero = Program::decode(&[[0x34, 0, 0, 0], [0x06, 0, 0, 0]]);
        assert!(matches!(zero, Err(BpfError::BadInstruction { index: 0, code: 0x34 })));
        assert!(Program::decode(&[[0x60, 0, 0, 16], [0x06, 0, 0, 0]]).is_err(), "scratch word 16");
        assert!(Program::decode(&[[u32::MAX; 4], [0x06, 0, 0, 0]]).is_err());
    }

    #[test]
    fn names_kernel_extensions() {
        let pkttype = Program::decode(&[[0x28, 0, 0, 0xffff_f004], [0x06, 0, 0, 0]]);
        let message = pkttype.unwrap_err().to_string();
        assert!(message.contains("inbound"), "{message}");
    }
}
