//! Instructions made fewer and cheaper, once all are there.
//!
//! What this relies on, and the generator keeps to:
//! - [`FRAME`] is the same address from its first use on, and [`STACK`] always; functions that are called back have a stack of their own;
//! - words of the frame behind the limit that is given are reached by [`FRAME`] and a displacement alone, in 2, 4 or 8 bytes. Functions
//!   that are called back may read and write all of them, user space reads none.

use super::insn::Reg;
use super::{Assembler, dead, forward};

/// Address of the frame.
pub(super) const FRAME: Reg = Reg::R8;
/// Address behind the stack.
pub(super) const STACK: Reg = Reg::R10;

/// Each round finds what the one before has uncovered; there is little after two.
const ROUNDS_MAX: usize = 4;

impl Assembler {
    /// Makes instructions fewer. The frame from byte `private` on is read by the program alone.
    pub fn optimize(&mut self, private: i16) {
        for _ in 0..ROUNDS_MAX {
            let before = self.insns.clone();
            self.tidy();
            let keep = forward::run(self);
            self.retain(&keep);
            let keep = dead::run(self, private);
            self.retain(&keep);
            if self.insns == before {
                break;
            }
        }
    }
}
