//! The listing: instructions in the notation of the kernel's verifier, under comments that say what they are for.

use std::fmt::Write as _;

use super::assembler::Assembler;
use super::insn::{AluOp, Cond, Endian, Insn, Operand, Reg, Size};

impl Assembler {
    /// All instructions as text. `starts` are their first slots, and behind them the number of slots.
    pub(super) fn listing(&self, starts: &[usize]) -> String {
        let mut out = String::new();
        let mut comments = self.comments.iter().peekable();
        for (index, insn) in self.insns.iter().enumerate() {
            while let Some(comment) = comments.next_if(|c| c.at <= index) {
                for line in comment.text.lines() {
                    let _ = writeln!(out, "; {line}");
                }
            }
            let target = insn.target().and_then(|label| self.labels[label.0 as usize]);
            let target = target.map_or(0, |at| starts[at]);
            let _ = writeln!(out, "{:5}: {}", starts[index], show(insn, target));
        }
        out
    }
}

fn show(insn: &Insn, target: usize) -> String {
    match *insn {
        Insn::Alu { wide, op, dst, src } => {
            let (dst, src) = (register(dst, wide), operand(src, wide));
            format!("{dst} {} {src}", operator(op))
        }
        Insn::Neg { dst } => format!("{0} = -{0}", register(dst, true)),
        Insn::Swap { to, dst } => {
            let name = match to {
                Endian::Be16 => "be16",
                Endian::Be32 => "be32",
                Endian::Be64 => "be64",
            };
            format!("{0} = {name} {0}", register(dst, true))
        }
        Insn::LoadImm { dst, imm } => format!("{} = {imm:#x} ll", register(dst, true)),
        Insn::LoadMap { dst, map } => format!("{} = map {}", register(dst, true), map.0),
        Insn::LoadData { dst, map, offset } => {
            format!("{} = map {} + {offset}", register(dst, true), map.0)
        }
        Insn::PartOfCpu { dst, bytes } => {
            format!("{0} = part of cpu {0}, of {bytes} bytes", register(dst, true))
        }
        Insn::LoadFn { dst, .. } => format!("{} = function at {target}", register(dst, true)),
        Insn::Load { size, dst, base, off } => {
            format!(
                "{} = *({} *)({} {off:+})",
                register(dst, true),
                bytes(size),
                register(base, true)
            )
        }
        Insn::Store { size, base, off, src } => {
            let (size, base) = (bytes(size), register(base, true));
            format!("*({size} *)({base} {off:+}) = {}", operand(src, true))
        }
        Insn::AtomicAdd { base, off, src } => {
            let (base, src) = (register(base, true), register(src, true));
            format!("lock *(u64 *)({base} {off:+}) += {src}")
        }
        Insn::Jump { .. } => format!("goto {target}"),
        Insn::Branch { cond, dst, src, .. } => {
            let (dst, src) = (register(dst, true), operand(src, true));
            format!("if {dst} {} {src} goto {target}", comparison(cond))
        }
        Insn::Call(helper) => format!("call {}", helper.name()),
        Insn::Exit => "exit".to_owned(),
    }
}

fn register(reg: Reg, wide: bool) -> String {
    format!("{}{}", if wide { 'r' } else { 'w' }, reg.number())
}

fn operand(operand: Operand, wide: bool) -> String {
    match operand {
        Operand::Reg(reg) => register(reg, wide),
        Operand::Imm(imm) => imm.to_string(),
    }
}

fn operator(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div => "/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Mod => "%=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
        AluOp::Arsh => "s>>=",
    }
}

fn comparison(cond: Cond) -> &'static str {
    match cond {
        Cond::Eq => "==",
        Cond::Ne => "!=",
        Cond::Gt => ">",
        Cond::Ge => ">=",
        Cond::Lt => "<",
        Cond::Le => "<=",
        Cond::Sgt => "s>",
        Cond::Sge => "s>=",
        Cond::Slt => "s<",
        Cond::Sle => "s<=",
    }
}

fn bytes(size: Size) -> &'static str {
    match size {
        Size::B => "u8",
        Size::H => "u16",
        Size::W => "u32",
        Size::Dw => "u64",
    }
}

#[cfg(test)]
mod tests {
    use crate::asm::{AluOp, Assembler, Cond, Endian, Helper, Insn, MapId, Reg, Size};

    #[test]
    fn instructions_stand_under_what_they_are_for() {
        let mut asm = Assembler::new();
        let out = asm.label();
        asm.comment("where destPort = 80");
        asm.load(Size::H, Reg::R0, Reg::R9, 2);
        asm.swap(Endian::Be16, Reg::R0);
        asm.branch(Cond::Ne, Reg::R0, 80, out);
        asm.comment("count(*)");
        asm.push(Insn::LoadMap { dst: Reg::R1, map: MapId(2) });
        asm.call(Helper::MapLookup);
        asm.store(Size::Dw, Reg::R10, -16, Reg::R0);
        asm.push(Insn::PartOfCpu { dst: Reg::R1, bytes: 256 });
        asm.alu32(AluOp::Mov, Reg::R0, 3);
        asm.place(out);
        asm.push(Insn::Exit);
        let expected = "\
; where destPort = 80
    0: r0 = *(u16 *)(r9 +2)
    1: r0 = be16 r0
    2: if r0 != 80 goto 10
; count(*)
    3: r1 = map 2
    5: call bpf_map_lookup_elem
    6: *(u64 *)(r10 -16) = r0
    7: r1 = part of cpu r1, of 256 bytes
    9: w0 = 3
   10: exit
";
        assert_eq!(asm.finish().unwrap().listing, expected);
    }
}
