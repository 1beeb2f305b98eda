//! Loads from packets. Nothing outside the captured bytes is read: a place is inside by construction (a header that is
//! there has its first bytes captured) or its address is replaced by that of zeros when a comparison says that it is not.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value as V};

use super::emit::{Emitter, Parts, Truth, Val, packet_flags};
use super::frame::ZERO_BYTES;
use super::lower::LayerVal;

/// Where a load begins: byte `at` + `byte` of a layer.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) layer: LayerVal,
    /// Variable offset and its lack.
    pub(super) at: Option<(V, Option<V>)>,
    pub(super) byte: u64,
}

impl Emitter<'_, '_> {
    /// An unsigned bit field of at most 64 bits, and the lack of it. `bit` is below 8.
    pub(super) fn load_bits(
        &mut self,
        place: Place,
        bit: u32,
        bits: u32,
        little: bool,
    ) -> (V, Option<V>) {
        let count = (bit + bits).div_ceil(8);
        let (address, offset, lack) = self.address(place, count);
        let unused = count * 8 - bit - bits;
        let mut word = if count == 9 {
            // Nine bytes hold the field: eight, moved up, and the top of the last.
            let head = self.load_big(address, offset, 8);
            let tail = self.load_big(address, offset + 8, 1);
            let up = self.word(u64::from(8 - unused));
            let head = self.b.ins().ishl(head, up);
            let down = self.word(u64::from(unused));
            let tail = self.b.ins().ushr(tail, down);
            self.b.ins().bor(head, tail)
        } else {
            let word = self.load_big(address, offset, count);
            if unused == 0 {
                word
            } else {
                let unused = self.word(u64::from(unused));
                self.b.ins().ushr(word, unused)
            }
        };
        if bit > 0 && bits < 64 {
            word = self.and_const(word, (1 << bits) - 1);
        }
        if little && bits.is_multiple_of(8) && bits > 8 {
            word = self.b.ins().bswap(word);
            let down = self.word(u64::from(64 - bits));
            word = self.b.ins().ushr(word, down);
        }
        (word, lack)
    }

    /// Whether a bit is set, and the lack of it. `bit` is below 8.
    pub(super) fn load_bit(&mut self, place: Place, bit: u32) -> (V, Option<V>) {
        let (address, offset, lack) = self.address(place, 1);
        let byte = self.load_big(address, offset, 1);
        (self.bit(byte, 0x80 >> bit), lack)
    }

    /// 16 bytes as two words.
    pub(super) fn load_ipv6(&mut self, place: Place) -> (V, V, Option<V>) {
        let (address, offset, lack) = self.address(place, 16);
        let high = self.load_big(address, offset, 8);
        let low = self.load_big(address, offset + 8, 8);
        (high, low, lack)
    }

    /// Whole bytes, or zero outside the captured ones.
    pub(super) fn load_or_zero(
        &mut self,
        layer: LayerVal,
        at: Option<(V, Option<V>)>,
        byte: u32,
        bytes: u32,
    ) -> V {
        let (inside, address) = self.wrapping_place(layer, at, byte, bytes);
        let address = self.select(inside, address, self.zeros);
        self.load_big(address, 0, bytes)
    }

    /// Whether bytes are captured.
    pub(super) fn in_bounds(
        &mut self,
        layer: LayerVal,
        at: Option<(V, Option<V>)>,
        byte: u32,
        bytes: u32,
    ) -> V {
        self.wrapping_place(layer, at, byte, bytes).0
    }

    /// Byte `at + byte` modulo 2^32 of a layer: whether `bytes` from there are captured, and its address.
    fn wrapping_place(
        &mut self,
        layer: LayerVal,
        at: Option<(V, Option<V>)>,
        byte: u32,
        bytes: u32,
    ) -> (V, V) {
        let (offset, known) = match at {
            None => (self.word(u64::from(byte)), Truth::Always),
            Some((at, lack)) => {
                let sum = self.add_const(at, u64::from(byte));
                let sum = self.and_const(sum, 0xffff_ffff);
                (sum, self.has_value(lack))
            }
        };
        let address = self.b.ins().iadd(layer.address, offset);
        let last = self.add_const(address, u64::from(bytes));
        let inside = self.icmp(IntCC::UnsignedLessThanOrEqual, last, self.end);
        let there = self.both(layer.present, known);
        let inside = match self.both(there, Truth::When(inside)) {
            Truth::When(flag) => flag,
            Truth::Always => self.flag(true),
            Truth::Never => self.flag(false),
        };
        (inside, address)
    }

    /// Captured bytes from byte `at` of a layer on, `len` long (or all), cut at the end of the captured ones.
    pub(super) fn slice(
        &mut self,
        layer: LayerVal,
        at: (V, Option<V>),
        len: Option<(V, Option<V>)>,
    ) -> Val {
        // An absent header lies outside the packet: its slice must be empty.
        let address = match layer.present {
            Truth::Always => layer.address,
            Truth::Never => self.end,
            Truth::When(there) => self.select(there, layer.address, self.end),
        };
        let available = self.b.ins().isub(self.end, address);
        let skipped = self.b.ins().umin(at.0, available);
        let address = self.b.ins().iadd(address, skipped);
        let rest = self.b.ins().isub(available, skipped);
        let taken = match len {
            None => rest,
            Some((len, _)) => self.b.ins().umin(len, rest),
        };
        // The interpreter asks for offset and length before it looks for the layer.
        let operands = self.first_lack(at.1, len.and_then(|(_, lack)| lack));
        let absent = self.absent_unless(layer.present);
        let lack = self.first_lack(operands, absent);
        Val { parts: Parts::Bytes(address, taken), lack }
    }

    /// The address that `count` bytes may be read from, a constant to add to it, and the lack of the place.
    fn address(&mut self, place: Place, count: u32) -> (V, u32, Option<V>) {
        let Place { layer, at, byte } = place;
        let absent = self.absent_unless(layer.present);
        let last = byte + u64::from(count);
        let Some((at, lack)) = at else {
            if last <= u64::from(layer.captured_bytes) && last <= ZERO_BYTES as u64 {
                return (layer.address, byte as u32, absent);
            }
            let end = self.add_const(layer.address, last);
            let inside = self.icmp(IntCC::UnsignedLessThanOrEqual, end, self.end);
            let inside = self.both(layer.present, Truth::When(inside));
            let address = self.add_const(layer.address, byte);
            let address = self.inside_or_zeros(inside, address);
            return (address, 0, self.absent_unless(inside));
        };
        // Any offset: it is compared before it is added, so that nothing overflows.
        let available = self.b.ins().isub(self.end, layer.address);
        let near = self.icmp(IntCC::UnsignedLessThanOrEqual, at, available);
        let end = self.add_const(at, last);
        let inside = self.icmp(IntCC::UnsignedLessThanOrEqual, end, available);
        let inside = self.both(Truth::When(near), Truth::When(inside));
        let inside = self.both(layer.present, inside);
        let known = self.has_value(lack);
        let inside = self.both(inside, known);
        let address = self.b.ins().iadd(layer.address, at);
        let address = self.add_const(address, byte);
        let address = self.inside_or_zeros(inside, address);
        let outside = self.absent_unless(inside);
        (address, 0, self.first_lack(lack, outside))
    }

    fn inside_or_zeros(&mut self, inside: Truth, address: V) -> V {
        match inside {
            Truth::Always => address,
            Truth::Never => self.zeros,
            Truth::When(flag) => self.select(flag, address, self.zeros),
        }
    }

    /// 1 to 8 bytes, most significant first.
    fn load_big(&mut self, address: V, offset: u32, count: u32) -> V {
        let (flags, at) = (packet_flags(), offset as i32);
        match count {
            1 => self.b.ins().uload8(I64, flags, address, at),
            // As it lies there first: that is compared for equality.
            2 => {
                let raw = self.b.ins().uload16(I64, flags, address, at);
                let half = self.b.ins().ireduce(I16, raw);
                let half = self.b.ins().bswap(half);
                self.b.ins().uextend(I64, half)
            }
            4 => {
                let raw = self.b.ins().uload32(flags, address, at);
                let word = self.b.ins().ireduce(I32, raw);
                let word = self.b.ins().bswap(word);
                self.b.ins().uextend(I64, word)
            }
            8 => {
                let word = self.b.ins().load(I64, flags, address, at);
                self.b.ins().bswap(word)
            }
            _ => {
                // 3, 5, 6 or 7: the largest power of two, then the rest.
                let head = if count > 4 { 4 } else { 2 };
                let tail = count - head;
                let high = self.load_big(address, offset, head);
                let low = self.load_big(address, offset + head, tail);
                let up = self.word(u64::from(8 * tail));
                let high = self.b.ins().ishl(high, up);
                self.b.ins().bor(high, low)
            }
        }
    }
}
