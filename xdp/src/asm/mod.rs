//! eBPF instructions as types: an assembler with labels, the encoding (RFC 9669), and a listing that tells what each part is for.

mod assembler;
mod dead;
mod flow;
mod forward;
mod insn;
mod layout;
mod listing;
mod optimize;
mod sink;
mod tidy;

pub use assembler::{AsmError, Assembler, Code, Function, Label, Relocation, Target};
pub use insn::{AluOp, Cond, Endian, Helper, Insn, MapId, Operand, Reg, Size};
