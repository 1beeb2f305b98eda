//! Classic BPF to IR nodes.
//!
//! Jumps only go forward, so one pass in program order gives the registers at each instruction as nodes: where paths meet
//! with different values, a `Select` on the condition of the edge taken joins them. A second pass from the end gives the
//! answer at each instruction: a branch is a `Select`, a load out of bounds is FALSE. Only live registers are joined, so a
//! compiled tcpdump filter rarely needs a path condition at all.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};

use super::program::{Alu, MEMORY_WORDS, Source, Test};
use super::{BpfError, Insn, Loopback, Program};
use crate::ir::{LayerSel, NodeId, Op};
use crate::lower::{Dag, value_max};

const A: usize = 0;
const X: usize = 1;
const MEM: usize = 2;
const REGISTERS: usize = MEM + MEMORY_WORDS;

/// No captured packet reaches further (libpcap MAXIMUM_SNAPLEN is 262,144, D-Bus 128 MiB).
const OFFSET_MAX: u32 = 1 << 28;

/// Register values at one instruction.
type Registers = [NodeId; REGISTERS];

/// A way into an instruction: from where, under which condition there, with which registers.
#[derive(Clone)]
struct Edge {
    from: usize,
    cond: NodeId,
    registers: Registers,
}

/// The bool node of a filter: never absent.
///
/// # Errors
/// None today: a decoded [`Program`] always has nodes. The result leaves room for limits.
pub fn translate(program: &Program, dag: &mut Dag) -> Result<NodeId, BpfError> {
    let mut t = Translation::new(program, dag);
    t.forward();
    Ok(t.backward())
}

struct Translation<'a> {
    insns: &'a [Insn],
    dag: &'a mut Dag,
    /// Live registers before each instruction, one bit each.
    live: Vec<u32>,
    edges: Vec<Vec<Edge>>,
    /// Registers before each instruction; `None` where no path leads.
    entry: Vec<Option<Registers>>,
    /// What lets the filter go on after the instruction (a load's bounds, a divisor that is not 0).
    goes_on: Vec<NodeId>,
    /// Conditions under which instructions are reached, as far as they were needed.
    reached: Vec<NodeId>,
}

impl<'a> Translation<'a> {
    fn new(program: &'a Program, dag: &'a mut Dag) -> Self {
        let insns = program.insns();
        let yes = dag.bool(true);
        Self {
            insns,
            live: liveness(insns),
            edges: vec![Vec::new(); insns.len()],
            entry: vec![None; insns.len()],
            goes_on: vec![yes; insns.len()],
            reached: Vec::new(),
            dag,
        }
    }

    fn forward(&mut self) {
        let zero = self.dag.uint(0, Type::Uint);
        for i in 0..self.insns.len() {
            let registers = match (i, self.edges[i].as_slice()) {
                (0, _) => [zero; REGISTERS],
                (_, []) => continue,
                (_, [only]) => only.registers,
                _ => self.join(i),
            };
            self.entry[i] = Some(registers);
            self.step(i, registers);
        }
    }

    /// Registers where several edges meet.
    fn join(&mut self, i: usize) -> Registers {
        let edges = self.edges[i].clone();
        let mut registers = edges[0].registers;
        for (r, joined) in registers.iter_mut().enumerate() {
            let live = self.live[i] & (1 << r) != 0;
            if !live || edges.iter().all(|e| e.registers[r] == *joined) {
                continue;
            }
            let Some((last, others)) = edges.split_last() else { continue };
            *joined = last.registers[r];
            for edge in others.iter().rev() {
                let taken = self.taken(edge);
                *joined = self.dag.select(taken, edge.registers[r], *joined);
            }
        }
        registers
    }

    /// The condition, seen from the start of the filter, that an edge is taken.
    fn taken(&mut self, edge: &Edge) -> NodeId {
        for i in self.reached.len()..=edge.from {
            let reached = if i == 0 {
                self.dag.bool(true)
            } else {
                let mut any = self.dag.bool(false);
                for e in self.edges[i].clone() {
                    let way = self.dag.and(self.reached[e.from], e.cond);
                    any = self.dag.or(any, way);
                }
                any
            };
            self.reached.push(reached);
        }
        self.dag.and(self.reached[edge.from], edge.cond)
    }

    /// Adds the edges that leave an instruction.
    fn step(&mut self, i: usize, mut registers: Registers) {
        let yes = self.dag.bool(true);
        let mut goes_on = yes;
        match self.insns[i] {
            Insn::Load { k, bytes, indexed } => {
                let at = indexed.then_some(registers[X]);
                (registers[A], goes_on) = self.load(at, k, bytes);
            }
            Insn::LoadFamily(loopback) => {
                let word;
                (word, goes_on) = self.load(None, 0, 4);
                registers[A] = self.family(word, loopback);
            }
            Insn::LoadLen => registers[A] = self.wire_length(),
            Insn::LoadImm(k) => registers[A] = self.dag.uint(u64::from(k), Type::Uint),
            Insn::LoadMem(m) => registers[A] = registers[MEM + m],
            Insn::LoadXLen => registers[X] = self.wire_length(),
            Insn::LoadXImm(k) => registers[X] = self.dag.uint(u64::from(k), Type::Uint),
            Insn::LoadXMem(m) => registers[X] = registers[MEM + m],
            Insn::LoadXMsh(k) => {
                let byte;
                (byte, goes_on) = self.load(None, k, 1);
                let low = self.constant_op(BinaryOp::BitAnd, byte, 0xf);
                registers[X] = self.constant_op(BinaryOp::Shl, low, 2);
            }
            Insn::Store(m) => registers[MEM + m] = registers[A],
            Insn::StoreX(m) => registers[MEM + m] = registers[X],
            Insn::Alu(op, source) => {
                let b = self.operand(source, &registers);
                if matches!(op, Alu::Div | Alu::Mod) && source == Source::X {
                    let zero = self.dag.uint(0, Type::Uint);
                    goes_on = self.dag.node(Op::Compare(CmpOp::Ne, b, zero), Type::Bool);
                }
                registers[A] = self.alu(op, registers[A], b);
            }
            Insn::Neg => {
                let zero = self.dag.uint(0, Type::Uint);
                registers[A] = self.binary(BinaryOp::Sub, zero, registers[A]);
            }
            Insn::Tax => registers[X] = registers[A],
            Insn::Txa => registers[A] = registers[X],
            Insn::Jump(to) => return self.edge(i, to, yes, registers),
            Insn::Branch { test, source, then, otherwise } => {
                let cond = self.test(test, source, &registers);
                let not = self.dag.not(cond);
                self.goes_on[i] = cond;
                if then == otherwise {
                    return self.edge(i, then, yes, registers);
                }
                self.edge(i, then, cond, registers);
                return self.edge(i, otherwise, not, registers);
            }
            Insn::ReturnK(_) | Insn::ReturnA => return,
        }
        self.goes_on[i] = goes_on;
        self.edge(i, i + 1, goes_on, registers);
    }

    fn edge(&mut self, from: usize, to: usize, cond: NodeId, registers: Registers) {
        self.edges[to].push(Edge { from, cond, registers });
    }

    /// The filter's answer, from the last instruction to the first.
    fn backward(&mut self) -> NodeId {
        let no = self.dag.bool(false);
        let mut answer = vec![no; self.insns.len()];
        for i in (0..self.insns.len()).rev() {
            let Some(registers) = self.entry[i] else { continue };
            answer[i] = match self.insns[i] {
                Insn::ReturnK(k) => self.dag.bool(k != 0),
                Insn::ReturnA => {
                    let zero = self.dag.uint(0, Type::Uint);
                    self.dag.node(Op::Compare(CmpOp::Ne, registers[A], zero), Type::Bool)
                }
                Insn::Jump(to) => answer[to],
                Insn::Branch { then, otherwise, .. } if then == otherwise => answer[then],
                Insn::Branch { then, otherwise, .. } => {
                    self.dag.select(self.goes_on[i], answer[then], answer[otherwise])
                }
                _ => self.dag.select(self.goes_on[i], answer[i + 1], no),
            };
        }
        answer.first().copied().unwrap_or(no)
    }

    /// The bytes at an offset, and whether all are captured.
    fn load(&mut self, at: Option<NodeId>, byte: u32, bytes: u32) -> (NodeId, NodeId) {
        if at.is_none() && byte > OFFSET_MAX {
            return (self.dag.uint(0, Type::Uint), self.dag.bool(false));
        }
        let layer = self.dag.layer(LayerSel::Packet);
        let value = self.dag.node(Op::LoadOrZero { layer, at, byte, bytes }, Type::Uint);
        let mut within = self.dag.node(Op::InBounds { layer, at, byte, bytes }, Type::Bool);
        // libpcap refuses an index beyond the packet before it adds the offset, so the sum must not wrap.
        if let Some(x) = at
            && value_max(self.dag.exprs(), x) > u64::from(u32::MAX - byte)
        {
            let limit = self.dag.uint(u64::from(u32::MAX - byte), Type::Uint);
            let no_wrap = self.dag.node(Op::Compare(CmpOp::Le, x, limit), Type::Bool);
            within = self.dag.and(no_wrap, within);
        }
        (value, within)
    }

    /// The family that a loopback header names, as compiled code knows it.
    fn family(&mut self, word: NodeId, loopback: Loopback) -> NodeId {
        let mut family = word;
        for (words, known_as) in loopback.families() {
            let words = words.into_iter().map(|w| Value::Uint(u64::from(w))).collect();
            let is_one = self.dag.node(Op::In(word, words), Type::Bool);
            let known_as = self.dag.uint(u64::from(known_as), Type::Uint);
            family = self.dag.select(is_one, known_as, family);
        }
        family
    }

    fn wire_length(&mut self) -> NodeId {
        self.dag.node(Op::Meta(Meta::Len), Type::Uint)
    }

    fn operand(&mut self, source: Source, registers: &Registers) -> NodeId {
        match source {
            Source::K(k) => self.dag.uint(u64::from(k), Type::Uint),
            Source::X => registers[X],
        }
    }

    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.dag.node(Op::Binary(op, a, b), Type::Uint)
    }

    fn constant_op(&mut self, op: BinaryOp, a: NodeId, k: u64) -> NodeId {
        let k = self.dag.uint(k, Type::Uint);
        self.binary(op, a, k)
    }

    fn alu(&mut self, op: Alu, a: NodeId, b: NodeId) -> NodeId {
        match op {
            Alu::Add => self.binary(BinaryOp::Add, a, b),
            Alu::Sub => self.binary(BinaryOp::Sub, a, b),
            Alu::Mul => self.binary(BinaryOp::Mul, a, b),
            Alu::Or => self.binary(BinaryOp::BitOr, a, b),
            Alu::And => self.binary(BinaryOp::BitAnd, a, b),
            Alu::Lsh => self.binary(BinaryOp::Shl, a, b),
            Alu::Rsh => self.binary(BinaryOp::Shr, a, b),
            // GSQL has no exclusive or: it is what `|` has beyond `&`.
            Alu::Xor => {
                let either = self.binary(BinaryOp::BitOr, a, b);
                let both = self.binary(BinaryOp::BitAnd, a, b);
                self.binary(BinaryOp::Sub, either, both)
            }
            // Saturating division cannot fail; a zero divisor has already ended the filter.
            Alu::Div => self.saturating(BinaryOp::Div, a, b),
            Alu::Mod => self.saturating(BinaryOp::Rem, a, b),
        }
    }

    fn saturating(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        let wide = self.dag.node(Op::Saturating(op, a, b), Type::Ullong);
        self.dag.cast(wide, Type::Uint)
    }

    fn test(&mut self, test: Test, source: Source, registers: &Registers) -> NodeId {
        let b = self.operand(source, registers);
        match test {
            Test::Compare(op) => self.dag.node(Op::Compare(op, registers[A], b), Type::Bool),
            Test::Bits => {
                let shared = self.binary(BinaryOp::BitAnd, registers[A], b);
                let zero = self.dag.constant(Value::Uint(0), Type::Uint);
                self.dag.node(Op::Compare(CmpOp::Ne, shared, zero), Type::Bool)
            }
        }
    }
}

/// Registers that some path from each instruction reads before it writes them.
fn liveness(insns: &[Insn]) -> Vec<u32> {
    const LIVE_A: u32 = 1 << A;
    const LIVE_X: u32 = 1 << X;
    let mem = |m: usize| 1u32 << (MEM + m);
    let source = |s: Source| if s == Source::X { LIVE_X } else { 0 };
    let mut live = vec![0u32; insns.len() + 1];
    for (i, insn) in insns.iter().enumerate().rev() {
        let next = live[i + 1];
        live[i] = match *insn {
            Insn::Load { indexed, .. } => next & !LIVE_A | if indexed { LIVE_X } else { 0 },
            Insn::LoadFamily(_) | Insn::LoadLen | Insn::LoadImm(_) => next & !LIVE_A,
            Insn::LoadMem(m) => next & !LIVE_A | mem(m),
            Insn::LoadXLen | Insn::LoadXImm(_) | Insn::LoadXMsh(_) => next & !LIVE_X,
            Insn::LoadXMem(m) => next & !LIVE_X | mem(m),
            Insn::Store(m) => next & !mem(m) | LIVE_A,
            Insn::StoreX(m) => next & !mem(m) | LIVE_X,
            Insn::Alu(_, s) => next | LIVE_A | source(s),
            Insn::Neg => next | LIVE_A,
            Insn::Tax => next & !LIVE_X | LIVE_A,
            Insn::Txa => next & !LIVE_A | LIVE_X,
            Insn::Jump(to) => live[to],
            Insn::Branch { source: s, then, otherwise, .. } => {
                live[then] | live[otherwise] | LIVE_A | source(s)
            }
            Insn::ReturnK(_) => 0,
            Insn::ReturnA => LIVE_A,
        };
    }
    live
}
