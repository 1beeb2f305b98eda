//! Loads from packets, each behind a comparison with the packet's end that the verifier follows.

use wt_plan::ir::{LayerId, NodeId};

use super::emit::{ABSENT, DATA, Emitter, S, Unportable, unportable};
use super::scope::{LayerAt, Pointer, PointerAt, Raw, Scope};
use crate::asm::{AluOp, Cond, Endian, Label, Reg, Size};

/// Where a load begins: byte `at` + `byte` of a layer.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) layer: LayerId,
    pub(super) at: Option<NodeId>,
    pub(super) byte: u32,
}

impl Emitter {
    /// An unsigned bit field in `S[k]`.
    pub(super) fn load_bits(
        &mut self,
        scope: &mut Scope<'_>,
        place: Place,
        (bit, bits, little): (u32, u32, bool),
        k: usize,
    ) -> Result<(), Unportable> {
        let (first, bit) = (u64::from(place.byte) + u64::from(bit / 8), bit % 8);
        let count = (bit + bits).div_ceil(8);
        let Some((base, disp)) = self.reach(scope, place.layer, place.at, first, count, k)? else {
            return Ok(());
        };
        let unused = (count * 8 - bit - bits) as i32;
        if count == 9 {
            // Nine bytes hold the field: eight, moved up, and the top of the last.
            self.asm.load(Size::B, S[k + 1], base, disp + 8);
            self.big(base, disp, 8, k);
            self.asm.alu(AluOp::Lsh, S[k], 8 - unused);
            self.asm.alu(AluOp::Rsh, S[k + 1], unused);
            self.asm.alu(AluOp::Or, S[k], S[k + 1]);
        } else {
            self.big(base, disp, count, k);
            if unused > 0 {
                self.asm.alu(AluOp::Rsh, S[k], unused);
            }
        }
        if bit > 0 && bits < 64 {
            self.low_bits(S[k], bits);
        }
        if little && bits.is_multiple_of(8) && bits > 8 {
            self.asm.swap(Endian::Be64, S[k]);
            self.asm.alu(AluOp::Rsh, S[k], (64 - bits) as i32);
        }
        Ok(())
    }

    /// The bytes of a field as they lie in the packet, those around it 0, in `S[k]`; `S[k + 1]` is overwritten.
    pub(super) fn load_raw(
        &mut self,
        scope: &mut Scope<'_>,
        raw: Raw,
        k: usize,
    ) -> Result<(), Unportable> {
        self.load_raw_bits(scope, raw, raw.own_bits(), k)
    }

    /// The same with other bits of these bytes.
    pub(super) fn load_raw_bits(
        &mut self,
        scope: &mut Scope<'_>,
        Raw { place, size, .. }: Raw,
        bits: u64,
        k: usize,
    ) -> Result<(), Unportable> {
        let first = u64::from(place.byte);
        let Some((base, disp)) =
            self.reach(scope, place.layer, place.at, first, size.bytes(), k)?
        else {
            return Ok(());
        };
        self.asm.load(size, S[k], base, disp);
        if bits != u64::MAX >> (64 - 8 * size.bytes()) {
            let mask = self.operand(bits, S[k + 1]);
            self.asm.alu(AluOp::And, S[k], mask);
        }
        Ok(())
    }

    /// Clears all but the low bits.
    pub(super) fn low_bits(&mut self, reg: Reg, bits: u32) {
        if bits < 32 {
            self.asm.alu(AluOp::And, reg, (1i32 << bits).wrapping_sub(1));
        } else {
            self.asm.alu(AluOp::Lsh, reg, (64 - bits) as i32);
            self.asm.alu(AluOp::Rsh, reg, (64 - bits) as i32);
        }
    }

    /// 16 bytes as two scratch words.
    pub(super) fn load_16(
        &mut self,
        scope: &mut Scope<'_>,
        place: Place,
        to: i16,
        k: usize,
    ) -> Result<(), Unportable> {
        let first = u64::from(place.byte);
        let Some((base, disp)) = self.reach(scope, place.layer, place.at, first, 16, k)? else {
            return Ok(());
        };
        for i in 0..2 {
            // The first word may not overwrite the address.
            self.asm.load(Size::Dw, S[k + 1], base, disp + 8 * i);
            self.asm.swap(Endian::Be64, S[k + 1]);
            self.store_scratch(to + 8 * i, S[k + 1]);
        }
        Ok(())
    }

    /// Whole bytes in `S[k]`, or 0 outside the packet.
    pub(super) fn load_or_zero(
        &mut self,
        scope: &mut Scope<'_>,
        place: Place,
        bytes: u32,
        k: usize,
    ) -> Result<(), Unportable> {
        let (outside, end) = (self.asm.label(), self.asm.label());
        let mark = scope.mark();
        let (base, disp) = self.in_bounds(scope, place, bytes, outside, k)?;
        scope.forget(mark);
        self.big(base, disp, bytes, k);
        self.asm.jump(end);
        self.asm.place(outside);
        self.asm.mov(S[k], 0);
        self.asm.place(end);
        Ok(())
    }

    /// Goes to `outside` unless bytes at an offset modulo 2^32 are in the packet; else their address.
    pub(super) fn in_bounds(
        &mut self,
        scope: &mut Scope<'_>,
        Place { layer, at, byte }: Place,
        bytes: u32,
        outside: Label,
        k: usize,
    ) -> Result<(Reg, i16), Unportable> {
        let lacks = scope.lacks;
        (scope.lacks.absent, scope.lacks.failed) = (outside, outside);
        match at {
            None => self.asm.constant(S[k], u64::from(byte)),
            Some(at) => {
                self.word(scope, at, k)?;
                // Modulo 2^32 is what 32-bit instructions leave.
                self.asm.alu32(AluOp::Add, S[k], byte as i32);
            }
        }
        scope.lacks = lacks;
        let is_absent = matches!(scope.layers[layer.0 as usize], LayerAt::Absent);
        if bytes > ABSENT as u32 || is_absent {
            self.asm.jump(outside);
            return Ok((S[k], 0));
        }
        self.asm.branch(Cond::Gt, S[k], ABSENT, outside);
        self.add_layer(scope, layer, k);
        self.check_end(S[k], bytes as i32, S[k + 1], outside);
        Ok((S[k], 0))
    }

    /// Makes an offset in a layer, at most [`ABSENT`], a packet pointer; `S[k + 1]` is overwritten.
    fn add_layer(&mut self, scope: &Scope<'_>, layer: LayerId, k: usize) {
        match scope.layers[layer.0 as usize] {
            LayerAt::This(pointer) | LayerAt::Placed { pointer, .. } => {
                let base = match pointer.at {
                    PointerAt::Reg(reg) => reg,
                    PointerAt::Slot(at) => {
                        self.asm.load(Size::Dw, S[k + 1], Reg::R10, at);
                        S[k + 1]
                    }
                };
                self.asm.alu(AluOp::Add, S[k], base);
                if pointer.disp != 0 {
                    self.asm.alu(AluOp::Add, S[k], pointer.disp);
                }
            }
            LayerAt::Found { offset, .. } => {
                self.load_offset(S[k + 1], offset);
                self.asm.alu(AluOp::Add, S[k], S[k + 1]);
                self.asm.alu(AluOp::Add, S[k], DATA);
            }
            // Whoever asks has gone where nothing is there.
            LayerAt::Absent => self.asm.mov(S[k], DATA),
        }
    }

    /// S[k] = the address of a header, as one that nothing is known of. Else the verifier would take the paths on which more of the header
    /// has been found for others than those on which it has not.
    pub(super) fn afresh(&mut self, base: Reg, disp: i32, k: usize) {
        self.asm.mov(S[k], base);
        if disp != 0 {
            self.asm.alu(AluOp::Add, S[k], disp);
        }
        self.asm.alu(AluOp::Sub, S[k], DATA);
        self.asm.alu(AluOp::And, S[k], ABSENT);
        self.asm.alu(AluOp::Add, S[k], DATA);
    }

    /// The register of a checked pointer; `via` where it has to be loaded.
    pub(super) fn pointer_register(&mut self, pointer: Pointer, via: Reg) {
        match pointer.at {
            PointerAt::Reg(reg) => self.asm.mov(via, reg),
            PointerAt::Slot(at) => self.asm.load(Size::Dw, via, Reg::R10, at),
        }
    }

    /// A register and a displacement from which `count` bytes may be read, or absent; nothing when they never are in a packet.
    fn reach(
        &mut self,
        scope: &mut Scope<'_>,
        layer: LayerId,
        at: Option<NodeId>,
        first: u64,
        count: u32,
        k: usize,
    ) -> Result<Option<(Reg, i16)>, Unportable> {
        let end = first + u64::from(count);
        let is_absent = matches!(scope.layers[layer.0 as usize], LayerAt::Absent);
        if end > ABSENT as u64 || is_absent {
            if let Some(at) = at {
                // Its own lack comes first.
                self.word(scope, at, k)?;
            }
            self.lacking(scope.lacks.absent, k);
            return Ok(None);
        }
        let (first, end) = (first as i32, end as i32);
        if let Some(at) = at {
            self.word(scope, at, k)?;
            self.asm.branch(Cond::Gt, S[k], ABSENT, scope.lacks.absent);
            self.add_layer(scope, layer, k);
            self.check_end(S[k], end, S[k + 1], scope.lacks.absent);
            return Ok(Some((S[k], first as i16)));
        }
        let known = match scope.layers[layer.0 as usize] {
            LayerAt::This(pointer) | LayerAt::Placed { pointer, .. } => Some(pointer),
            _ => scope.pointers[layer.0 as usize],
        };
        if let Some(pointer) = known {
            let base = match pointer.at {
                PointerAt::Reg(reg) => reg,
                PointerAt::Slot(at) => {
                    self.asm.load(Size::Dw, S[k], Reg::R10, at);
                    S[k]
                }
            };
            if end as u32 > pointer.bytes {
                self.afresh(base, pointer.disp, k);
                self.check_end(S[k], end, S[k + 1], scope.lacks.absent);
                return Ok(Some((S[k], first as i16)));
            }
            return Ok(Some((base, (pointer.disp + first) as i16)));
        }
        match scope.layers[layer.0 as usize] {
            LayerAt::Found { offset, captured, .. } if end as u32 <= captured => {
                let pointer = self.checked(offset, captured, scope.lacks.absent, k)?;
                scope.learn_pointer(layer, pointer);
                Ok(Some((S[k], first as i16)))
            }
            LayerAt::Found { offset, .. } => {
                self.load_offset(S[k], offset);
                self.asm.alu(AluOp::Add, S[k], DATA);
                self.check_end(S[k], end, S[k + 1], scope.lacks.absent);
                Ok(Some((S[k], first as i16)))
            }
            LayerAt::This(_) | LayerAt::Placed { .. } | LayerAt::Absent => {
                unportable("a header without a place")
            }
        }
    }

    /// A pointer to a header of which `bytes` bytes are there, or goes to `absent`. It is on the stack and in `S[k]`.
    pub(super) fn checked(
        &mut self,
        offset: i16,
        bytes: u32,
        absent: Label,
        k: usize,
    ) -> Result<Pointer, Unportable> {
        self.load_offset(S[k], offset);
        self.asm.alu(AluOp::Add, S[k], DATA);
        self.check_end(S[k], bytes as i32, S[k + 1], absent);
        let slot = self.take_stack()?;
        self.asm.store(Size::Dw, Reg::R10, slot, S[k]);
        Ok(Pointer { at: PointerAt::Slot(slot), disp: 0, bytes })
    }

    /// 1 to 8 bytes, most significant first, in `S[k]`; `base` may be that.
    fn big(&mut self, base: Reg, disp: i16, count: u32, k: usize) {
        match count {
            1 => self.asm.load(Size::B, S[k], base, disp),
            2 => {
                self.asm.load(Size::H, S[k], base, disp);
                self.asm.swap(Endian::Be16, S[k]);
            }
            4 => {
                self.asm.load(Size::W, S[k], base, disp);
                self.asm.swap(Endian::Be32, S[k]);
            }
            8 => {
                self.asm.load(Size::Dw, S[k], base, disp);
                self.asm.swap(Endian::Be64, S[k]);
            }
            _ => {
                // 3, 5, 6 or 7: pieces, each under the ones before.
                let sizes: &[(Size, u32)] = match count {
                    3 => &[(Size::H, 2), (Size::B, 1)],
                    5 => &[(Size::W, 4), (Size::B, 1)],
                    6 => &[(Size::W, 4), (Size::H, 2)],
                    _ => &[(Size::W, 4), (Size::H, 2), (Size::B, 1)],
                };
                let mut at = disp;
                for (i, (size, bytes)) in sizes.iter().enumerate() {
                    let piece = if i == 0 { S[k + 1] } else { S[k + 2] };
                    self.asm.load(*size, piece, base, at);
                    match size {
                        Size::H => self.asm.swap(Endian::Be16, piece),
                        Size::W => self.asm.swap(Endian::Be32, piece),
                        Size::B | Size::Dw => {}
                    }
                    if i > 0 {
                        self.asm.alu(AluOp::Lsh, S[k + 1], 8 * *bytes as i32);
                        self.asm.alu(AluOp::Or, S[k + 1], piece);
                    }
                    at += *bytes as i16;
                }
                self.asm.mov(S[k], S[k + 1]);
            }
        }
    }
}
