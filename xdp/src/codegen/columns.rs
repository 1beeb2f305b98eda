//! Rows of columns: written into the frame, from where a tuple leaves or a group's key is hashed and compared.

use wt_catalog::layout::{Class, Column, Place};
use wt_catalog::{ProtocolId, Type};
use wt_plan::ir::{LayerId, NodeId, Op};

use super::emit::{Emitter, FRAME, S, Unportable};
use super::load;
use super::query::Queries;
use super::row::class_of;
use super::scope::Scope;
use crate::asm::{AluOp, Size};

/// How many of the first nodes are addresses that depend on the protocol of one layer, each in the same arms, and are read here alone.
fn alike(scope: &Scope<'_>, nodes: &[NodeId]) -> usize {
    let parts = |node: NodeId| match scope.op(node) {
        Op::ByProtocol { layer, arms }
            if scope.ty(node).is_address()
                && !scope.is_reused(node)
                && arms.iter().all(|(_, arm)| is_loaded(scope, *arm)) =>
        {
            Some((*layer, arms.iter().map(|(protocol, _)| *protocol).collect::<Vec<_>>()))
        }
        _ => None,
    };
    let Some(first) = nodes.first().and_then(|node| parts(*node)) else { return 1 };
    nodes.iter().take_while(|node| parts(**node).as_ref() == Some(&first)).count()
}

/// Whether a node is an address as it is in the packet.
fn is_loaded(scope: &Scope<'_>, node: NodeId) -> bool {
    match scope.op(node) {
        Op::Cast(a) => {
            matches!(scope.op(*a), Op::Load { at: None, .. } | Op::LoadIpv6 { at: None, .. })
        }
        Op::Load { at: None, .. } | Op::LoadIpv6 { at: None, .. } => true,
        _ => false,
    }
}

impl Queries<'_, '_> {
    /// Writes a row of columns into the frame.
    pub(super) fn columns(
        &self,
        e: &mut Emitter,
        scope: &mut Scope<'_>,
        nodes: &[NodeId],
        columns: &[Column],
    ) -> Result<(), Unportable> {
        let mut pending: &[NodeId] = nodes;
        let mut places = columns;
        while let ([node, ..], [column, ..]) = (pending, places) {
            let together = alike(scope, pending).min(places.len());
            if let (true, Op::ByProtocol { layer, arms }) = (together > 1, scope.op(*node)) {
                self.by_protocol(e, scope, (*layer, arms), &pending[..together], places)?;
            } else {
                e.rooted(scope, *node, &mut |e, scope| self.column(e, scope, *node, *column))?;
            }
            (pending, places) = (&pending[together..], &places[together..]);
        }
        Ok(())
    }

    /// Writes columns that depend in the same way on the protocol of a layer: it is asked for once, and what is known of the layer serves all.
    fn by_protocol(
        &self,
        e: &mut Emitter,
        scope: &mut Scope<'_>,
        (layer, arms): (LayerId, &[(ProtocolId, NodeId)]),
        nodes: &[NodeId],
        columns: &[Column],
    ) -> Result<(), Unportable> {
        let end = e.asm.label();
        e.by_protocol(scope, layer, arms, end, 0, &mut |e, scope, arm| {
            let index = arms.iter().position(|(_, other)| *other == arm);
            for (node, column) in nodes.iter().zip(columns) {
                let Op::ByProtocol { arms, .. } = scope.op(*node) else { continue };
                if let Some((_, arm)) = index.and_then(|index| arms.get(index)) {
                    self.column(e, scope, *arm, *column)?;
                }
            }
            Ok(())
        })?;
        e.asm.place(end);
        Ok(())
    }

    /// Writes a column of the row.
    fn column(
        &self,
        e: &mut Emitter,
        scope: &mut Scope<'_>,
        node: NodeId,
        column: Column,
    ) -> Result<(), Unportable> {
        let at = |word: usize| self.word_at(word);
        match column.place {
            Place::Field { word, shift, bits } => {
                e.word(scope, node, 0)?;
                let have = scope.bits(node);
                if have > bits {
                    e.low_bits(S[0], bits);
                }
                self.merge(e, at(word), shift);
            }
            Place::Words { word } if class_of(column.ty) == Some(Class::Ipv6) => {
                let from = e.wide(scope, node, 0)?;
                for i in 0..2 {
                    e.load_scratch(S[0], from + 8 * i);
                    e.asm.store(Size::Dw, FRAME, at(word) + 8 * i, S[0]);
                }
            }
            Place::Words { word } => {
                e.word(scope, node, 0)?;
                e.asm.store(Size::Dw, FRAME, at(word), S[0]);
            }
            Place::Kept { .. } => return Err(Unportable("a value without words".into())),
            Place::Inet { word, family_word, family_shift } => {
                if self.address(e, scope, node, column)? {
                    return Ok(());
                }
                let from = e.wide(scope, node, 0)?;
                for i in 0..2 {
                    e.load_scratch(S[0], from + 8 + 8 * i);
                    e.asm.store(Size::Dw, FRAME, at(word) + 8 * i, S[0]);
                }
                // 4 or 6: the second bit tells.
                e.load_scratch(S[0], from);
                e.asm.alu(AluOp::Rsh, S[0], 1);
                e.asm.alu(AluOp::And, S[0], 1);
                self.merge(e, at(family_word), family_shift);
            }
        }
        Ok(())
    }

    /// Writes an address that is read here alone straight into the row; not all are.
    fn address(
        &self,
        e: &mut Emitter,
        scope: &mut Scope<'_>,
        node: NodeId,
        column: Column,
    ) -> Result<bool, Unportable> {
        let Place::Inet { word, family_word, family_shift: shift } = column.place else {
            return Ok(false);
        };
        let (at, family) = (self.word_at(word), self.word_at(family_word));
        if scope.known(node).is_some() || scope.is_reused(node) {
            return Ok(false);
        }
        match scope.op(node) {
            Op::Cast(a) if (scope.ty(*a), scope.ty(node)) == (Type::Ip, Type::Inet) => {
                e.word(scope, *a, 0)?;
                e.asm.store(Size::Dw, FRAME, at, 0);
                e.asm.store(Size::Dw, FRAME, at + 8, S[0]);
                // The bit of the family is 0 for IPv4.
                if shift == 0 {
                    e.asm.store(Size::Dw, FRAME, family, 0);
                }
            }
            Op::LoadIpv6 { layer, at: offset, byte } if scope.ty(node) == Type::Inet => {
                let place = load::Place { layer: *layer, at: *offset, byte: *byte };
                e.load_16(scope, place, at, 0)?;
                e.asm.mov(S[0], 1);
                self.merge(e, family, shift);
            }
            Op::ByProtocol { layer, arms } => {
                let end = e.asm.label();
                e.by_protocol(scope, *layer, arms, end, 0, &mut |e, scope, arm| {
                    self.column(e, scope, arm, column)
                })?;
                e.asm.place(end);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Where a word of the row is in the frame.
    fn word_at(&self, word: usize) -> i16 {
        8 * (self.row + word as u32) as i16
    }

    /// Puts S[0] into a word that it shares; what stands first there clears the rest.
    fn merge(&self, e: &mut Emitter, at: i16, shift: u32) {
        if shift > 0 {
            e.asm.alu(AluOp::Lsh, S[0], shift as i32);
            e.asm.load(Size::Dw, S[1], FRAME, at);
            e.asm.alu(AluOp::Or, S[0], S[1]);
        }
        e.asm.store(Size::Dw, FRAME, at, S[0]);
        // What shares the word finds it there.
        e.asm.mov(S[3], S[0]);
    }
}
