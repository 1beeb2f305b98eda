//! Instructions as blocks that are entered at their first one only.

use super::Assembler;
use super::insn::Insn;

/// Where code goes.
pub(super) struct Flow {
    /// By block: its first instruction. The last entry is the number of instructions.
    pub(super) starts: Vec<usize>,
    /// By block: the blocks it goes on to.
    pub(super) next: Vec<Vec<usize>>,
    /// By block: those that go on to it.
    pub(super) before: Vec<Vec<usize>>,
    /// By block: it is also entered from elsewhere, or nothing may be concluded there from what came before.
    pub(super) is_entry: Vec<bool>,
    /// By block: a function begins there that is called back.
    pub(super) is_function: Vec<bool>,
    /// The first instruction of functions that are called back; they are behind the main program.
    pub(super) functions: usize,
}

impl Flow {
    pub(super) fn new(asm: &Assembler) -> Self {
        let count = asm.insns.len();
        let place = |label: super::Label| asm.labels[label.0 as usize].filter(|at| *at < count);
        let mut leads = vec![false; count + 1];
        let mut entered = vec![false; count + 1];
        (leads[0], entered[0]) = (true, true);
        let (mut functions, mut called) = (count, vec![false; count + 1]);
        for (index, insn) in asm.insns.iter().enumerate() {
            if let Some(at) = insn.target().and_then(place) {
                leads[at] = true;
                if matches!(insn, Insn::LoadFn { .. }) {
                    (entered[at], called[at]) = (true, true);
                    functions = functions.min(at);
                }
            }
            if matches!(insn, Insn::Jump { .. } | Insn::Branch { .. } | Insn::Exit) {
                leads[index + 1] = true;
            }
        }
        for at in asm.barriers.iter().copied().filter_map(place) {
            (leads[at], entered[at]) = (true, true);
        }
        let mut starts: Vec<usize> = (0..count).filter(|at| leads[*at]).collect();
        let is_function = starts.iter().map(|at| called[*at]).collect();
        let is_entry = starts.iter().map(|at| entered[*at]).collect();
        let block = |at: usize| starts.binary_search(&at).ok();
        let mut next = vec![Vec::new(); starts.len()];
        let mut before = vec![Vec::new(); starts.len()];
        for (index, first) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(count);
            let Some(last) = asm.insns[*first..end].last() else { continue };
            let falls = !matches!(last, Insn::Jump { .. } | Insn::Exit);
            let goes = matches!(last, Insn::Jump { .. } | Insn::Branch { .. });
            let target = last.target().filter(|_| goes).and_then(place).and_then(block);
            let behind = block(end).filter(|_| falls);
            for other in behind.into_iter().chain(target) {
                next[index].push(other);
                before[other].push(index);
            }
        }
        starts.push(count);
        Self { starts, next, before, is_entry, is_function, functions }
    }

    /// Blocks by their index.
    pub(super) fn blocks(&self) -> std::ops::Range<usize> {
        0..self.next.len()
    }

    /// Instructions of a block.
    pub(super) fn insns(&self, block: usize) -> std::ops::Range<usize> {
        self.starts[block]..self.starts[block + 1]
    }
}
