//! Addresses of 16 bytes, and those of either family: nodes whose values are several words, in scratch.

use wt_catalog::Type;
use wt_catalog::layout::Class;
use wt_plan::ir::{NodeId, Op};

use super::emit::{Emitter, S, Unportable, unportable};
use super::load::Place;
use super::row::{class_of, words_of};
use super::scope::Scope;
use crate::asm::{Cond, Reg};

impl Emitter {
    /// The words of an address node in scratch; the offset of the first. Registers as for [`Self::word`].
    pub(super) fn wide(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        k: usize,
    ) -> Result<i16, Unportable> {
        if let Some(at) = scope.known(id) {
            return Ok(at);
        }
        let class = class_of(scope.ty(id)).filter(|class| *class != Class::Word);
        let class = class.ok_or_else(|| Unportable(format!("a value of type {}", scope.ty(id))))?;
        let at = self.take(class.words() as u32)?;
        self.wide_into(scope, id, at, k)?;
        if scope.is_reused(id) {
            scope.learn_node(id, at);
        }
        Ok(at)
    }

    /// The words of an address node in given scratch words.
    fn wide_into(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        at: i16,
        k: usize,
    ) -> Result<(), Unportable> {
        let ty = scope.ty(id);
        let words = class_of(ty).map_or(0, Class::words);
        if let Some(known) = scope.known(id) {
            self.copy(known, at, words, S[k]);
            return Ok(());
        }
        match scope.op(id) {
            Op::Const(value) => {
                let class = class_of(ty).unwrap_or(Class::Inet);
                let values = words_of(value, class);
                let values = values.ok_or_else(|| Unportable(format!("a constant of {ty}")))?;
                for (i, value) in values.into_iter().take(words).enumerate() {
                    self.asm.constant(S[k], value);
                    self.store_scratch(at + 8 * i as i16, S[k]);
                }
            }
            Op::Param(param) => {
                let first = self.param_words[param.0 as usize];
                for i in 0..words {
                    self.load_control(S[k], first + i as u32);
                    self.store_scratch(at + 8 * i as i16, S[k]);
                }
            }
            Op::LoadIpv6 { layer, at: offset, byte } => {
                let place = Place { layer: *layer, at: *offset, byte: *byte };
                let mut to = at;
                if ty == Type::Inet {
                    self.store_scratch(to, 6);
                    to += 8;
                }
                self.load_16(scope, place, to, k)?;
            }
            Op::ByProtocol { layer, arms } => {
                let end = self.asm.label();
                self.by_protocol(scope, *layer, arms, end, k, &mut |e, scope, arm| {
                    e.wide_into(scope, arm, at, k)
                })?;
                self.asm.place(end);
            }
            Op::Select { cond, then, otherwise } => {
                let (cond, then, otherwise) = (*cond, *then, *otherwise);
                self.select(scope, cond, k, &mut |e, scope, taken| {
                    e.wide_into(scope, if taken { then } else { otherwise }, at, k)
                })?;
            }
            Op::Cast(a) => match (scope.ty(*a), ty) {
                (from, to) if from == to => self.wide_into(scope, *a, at, k)?,
                (Type::Ip, Type::Inet) => {
                    self.word(scope, *a, k)?;
                    self.store_scratch(at, 4);
                    self.store_scratch(at + 8, 0);
                    self.store_scratch(at + 16, S[k]);
                }
                (Type::Ipv6, Type::Inet) => {
                    self.wide_into(scope, *a, at + 8, k)?;
                    self.store_scratch(at, 6);
                }
                (Type::Inet, Type::Ipv6) => {
                    let from = self.wide(scope, *a, k)?;
                    self.load_scratch(S[k], from);
                    self.asm.branch(Cond::Ne, S[k], 6, scope.lacks.failed);
                    self.copy(from + 8, at, 2, S[k]);
                }
                (from, to) => return unportable(format!("a conversion of {from} to {to}")),
            },
            Op::Binary(op, a, b) => self.mask_inet(scope, *op, (*a, *b), at, k)?,
            Op::Call { symbol, .. } => return unportable(format!("calls `{symbol}`")),
            _ => return unportable(format!("a value of type {ty}")),
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, from: i16, to: i16, words: usize, via: Reg) {
        for i in 0..words as i16 {
            self.load_scratch(via, from + 8 * i);
            self.store_scratch(to + 8 * i, via);
        }
    }
}
