//! Jumps and what nobody comes to.

use super::Assembler;
use super::insn::Insn;

impl Assembler {
    /// Removes unreachable instructions and empty jumps until there are none.
    pub(super) fn tidy(&mut self) {
        loop {
            self.thread();
            let mut keep = self.reached();
            for (index, insn) in self.insns.iter().enumerate() {
                if let Insn::Jump { to } = insn
                    && self.labels[to.0 as usize] == Some(index + 1)
                {
                    keep[index] = false;
                }
            }
            if keep.iter().all(|k| *k) {
                return;
            }
            self.retain(&keep);
        }
    }

    /// Removes instructions; labels before one that goes stand before the next.
    pub(super) fn retain(&mut self, keep: &[bool]) {
        // By old index: the new one.
        let mut moved = Vec::with_capacity(keep.len() + 1);
        let mut count = 0;
        for kept in keep {
            moved.push(count);
            count += usize::from(*kept);
        }
        moved.push(count);
        for place in self.labels.iter_mut().flatten() {
            *place = moved[*place];
        }
        self.comments.iter_mut().for_each(|comment| comment.at = moved[comment.at]);
        let mut kept = keep.iter();
        self.insns.retain(|_| kept.next().copied().unwrap_or(true));
    }

    /// Sends jumps to jumps where those go.
    fn thread(&mut self) {
        for label in 0..self.labels.len() {
            // A circle of jumps ends the search.
            for _ in 0..self.insns.len() {
                let Some(at) = self.labels[label] else { break };
                let Some(Insn::Jump { to }) = self.insns.get(at) else { break };
                let further = self.labels[to.0 as usize];
                if further == Some(at) || further.is_none() {
                    break;
                }
                self.labels[label] = further;
            }
        }
    }

    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.insns.len()];
        let mut pending = vec![0];
        while let Some(index) = pending.pop() {
            if index >= reached.len() || std::mem::replace(&mut reached[index], true) {
                continue;
            }
            let insn = &self.insns[index];
            if let Some(label) = insn.target() {
                pending.extend(self.labels[label.0 as usize]);
            }
            if !matches!(insn, Insn::Jump { .. } | Insn::Exit) {
                pending.push(index + 1);
            }
        }
        reached
    }
}
