//! Classic BPF: any valid program, translated into the IR and interpreted, accepts what a plain BPF machine accepts.

use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;
use wt_plan::bpf::{Alu, Insn, Program, Source, Test, translate};
use wt_plan::ir::{LftaAction, LftaProgram, LftaQuery, Qual};
use wt_plan::lower::Dag;
use wt_plan::physical::{ColumnInfo, InterfacePlan, Output, PhysicalPlan, Schema, StreamRef};

use super::Input;
use crate::answers::{Ending, run_bytes};

/// Longest program that is made.
const INSTRUCTIONS_MAX: usize = 24;

/// The input is the number of instructions, the instructions, and a packet.
pub(super) fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let count = 1 + input.below(INSTRUCTIONS_MAX);
    let mut raw: Vec<[u32; 4]> = (0..count).map(|at| instruction(&mut input, count - at)).collect();
    raw.push([0x16, 0, 0, 0]); // ret a
    let Ok(program) = Program::decode(&raw) else { return false };
    let packet = input.0;
    let wire_len = packet.len() as u32 + 7;
    let theirs = accepts(&program, packet, wire_len);
    let ours = translated(&program, packet, wire_len);
    assert_eq!(ours, theirs, "{program:?}");
    true
}

/// An instruction with `left` of them behind it, itself included: jumps stay inside.
fn instruction(input: &mut Input<'_>, left: usize) -> [u32; 4] {
    const LOADS: [u32; 13] =
        [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x00, 0x60, 0x81, 0x01, 0x61, 0xb1];
    const ALU: [u32; 10] = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0];
    const TESTS: [u32; 4] = [0x10, 0x20, 0x30, 0x40];
    let small = |input: &mut Input<'_>| match input.below(4) {
        0 => input.u32(),
        _ => u32::from(input.byte()) % 64,
    };
    match input.below(8) {
        0 | 1 => {
            let code = LOADS[input.below(LOADS.len())];
            let k = small(input);
            let is_memory = matches!(code, 0x60 | 0x61);
            [code, 0, 0, if is_memory { k % 16 } else { k }]
        }
        2 => [2 + u32::from(input.byte() & 1), 0, 0, small(input) % 16],
        3 | 4 => {
            let operation = ALU[input.below(ALU.len())];
            let from_x = u32::from(input.byte() & 1) << 3;
            let k = small(input);
            let k = match (operation, from_x) {
                // Constants that a validator refuses: a divisor of 0, a count beyond the width.
                (0x30 | 0x90, 0) => k.max(1),
                (0x60 | 0x70, 0) => k % 32,
                _ => k,
            };
            [0x04 | operation | from_x, 0, 0, k]
        }
        5 | 6 => {
            let test = TESTS[input.below(TESTS.len())];
            let from_x = u32::from(input.byte() & 1) << 3;
            let (jt, jf) = (input.below(left), input.below(left));
            [0x05 | test | from_x, jt as u32, jf as u32, small(input)]
        }
        _ => match input.below(5) {
            0 => [0x07, 0, 0, 0],
            1 => [0x87, 0, 0, 0],
            2 => [0x84, 0, 0, 0],
            3 => [0x05, 0, 0, input.below(left) as u32],
            _ => [0x06, 0, 0, small(input)],
        },
    }
}

/// The plain machine (McCanne & Jacobson 1993; libpcap `bpf_filter`).
pub(super) fn accepts(program: &Program, packet: &[u8], wire_len: u32) -> bool {
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; 16]);
    let load = |at: u64, bytes: u32| -> Option<u32> {
        let at = usize::try_from(at).ok()?;
        let run = packet.get(at..at.checked_add(bytes as usize)?)?;
        Some(run.iter().fold(0, |word, b| word << 8 | u32::from(*b)))
    };
    let mut at = 0;
    loop {
        let Some(insn) = program.insns().get(at) else { return false };
        at += 1;
        let operand = |source: &Source, x: u32| match source {
            Source::K(k) => *k,
            Source::X => x,
        };
        match insn {
            Insn::Load { k, bytes, indexed } => {
                let from = if *indexed { u64::from(x) + u64::from(*k) } else { u64::from(*k) };
                match load(from, *bytes) {
                    Some(word) => a = word,
                    None => return false,
                }
            }
            Insn::LoadFamily(loopback) => match load(0, 4) {
                Some(word) => a = loopback.canonical(word),
                None => return false,
            },
            Insn::LoadLen => a = wire_len,
            Insn::LoadImm(k) => a = *k,
            Insn::LoadMem(k) => a = memory[*k],
            Insn::LoadXLen => x = wire_len,
            Insn::LoadXImm(k) => x = *k,
            Insn::LoadXMem(k) => x = memory[*k],
            Insn::LoadXMsh(k) => match load(u64::from(*k), 1) {
                Some(byte) => x = (byte & 0xf) << 2,
                None => return false,
            },
            Insn::Store(k) => memory[*k] = a,
            Insn::StoreX(k) => memory[*k] = x,
            Insn::Alu(operation, source) => {
                let b = operand(source, x);
                let shift = |shifted: Option<u32>| shifted.unwrap_or(0);
                a = match operation {
                    Alu::Add => a.wrapping_add(b),
                    Alu::Sub => a.wrapping_sub(b),
                    Alu::Mul => a.wrapping_mul(b),
                    Alu::Div if b == 0 => return false,
                    Alu::Div => a / b,
                    Alu::Mod if b == 0 => return false,
                    Alu::Mod => a % b,
                    Alu::Or => a | b,
                    Alu::And => a & b,
                    Alu::Xor => a ^ b,
                    Alu::Lsh => shift(a.checked_shl(b)),
                    Alu::Rsh => shift(a.checked_shr(b)),
                };
            }
            Insn::Neg => a = a.wrapping_neg(),
            Insn::Tax => x = a,
            Insn::Txa => a = x,
            Insn::Jump(to) => at = *to,
            Insn::Branch { test, source, then, otherwise } => {
                let b = operand(source, x);
                let holds = match test {
                    Test::Bits => a & b != 0,
                    Test::Compare(CmpOp::Eq) => a == b,
                    Test::Compare(CmpOp::Ne) => a != b,
                    Test::Compare(CmpOp::Lt) => a < b,
                    Test::Compare(CmpOp::Le) => a <= b,
                    Test::Compare(CmpOp::Gt) => a > b,
                    Test::Compare(CmpOp::Ge) => a >= b,
                };
                at = if holds { *then } else { *otherwise };
            }
            Insn::ReturnK(k) => return *k != 0,
            Insn::ReturnA => return a != 0,
        }
    }
}

/// Whether the translated program takes the packet, through the engine.
fn translated(program: &Program, packet: &[u8], wire_len: u32) -> bool {
    let mut dag = Dag::default();
    let node = translate(program, &mut dag).unwrap_or_else(|e| panic!("{e}"));
    let one = dag.constant(Value::Uint(1), Type::Uint);
    let (exprs, layers) = dag.finish();
    let query = LftaQuery {
        name: "taken".to_owned(),
        requires: Vec::new(),
        quals: vec![Qual { node, text: String::new(), cost_ns: 1 }],
        action: LftaAction::Select { outputs: vec![one], ordered: Vec::new() },
        snap_len_bytes: None,
    };
    let program = LftaProgram { layers, exprs, queries: vec![query], ..LftaProgram::default() };
    let column = ColumnInfo {
        name: "one".to_owned(),
        ty: Type::Uint,
        ordering: wt_catalog::Ordering::Constant,
        window: false,
        subtype: None,
    };
    let output = Output {
        query: "taken".to_owned(),
        stream: StreamRef::Lfta { interface: 0, query: 0 },
        schema: Schema { columns: vec![column] },
        is_result: true,
    };
    let physical = PhysicalPlan {
        interfaces: vec![InterfacePlan { name: "default".to_owned(), program }],
        outputs: vec![output],
        ..PhysicalPlan::default()
    };
    match run_bytes(&physical, "packet", super::capture_of(1, wire_len, packet)) {
        Ending::Answered(answers) => !answers.rows("taken").is_empty(),
        Ending::NoCapture(error) => panic!("{error}"),
        Ending::Refused(error) => panic!("{error}"),
    }
}
