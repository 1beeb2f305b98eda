//! The block list: behind all queries, packets whose source lies in one of its prefixes are dropped.
//!
//! Counting comes first, so that a flood is still seen while it is dropped; else a block that works would look like a flood that ended. The program
//! looks for itself, by Ethernet type and at most two VLAN tags: what queries walk depends on the queries, what is blocked must not.

use super::FrameWords;
use super::emit::{DATA, END, Emitter, FRAME, HEADER, stack};
use super::spec::{BlockLayout, MapKind, MapSpec, block_words};
use crate::asm::{AluOp, Assembler, Cond, Helper, Insn, Label, MapId, Reg, Size};

/// Prefixes that a list has room for.
pub(crate) const PREFIXES_MAX: u32 = 10_000;

/// Place of the key on the stack: below what the rest of the program takes.
const KEY: i16 = -504;

/// What the program returns for a packet that is dropped.
const XDP_DROP: i32 = 1;

/// Ethernet types as they lie in memory.
const IPV4: i32 = 0x0008;
const IPV6: i32 = 0xdd86;
const TAGS: [i32; 2] = [0x0081, 0xa888];

/// Bytes up to the end of an Ethernet header.
const ETHERNET_BYTES: i32 = 14;

pub(super) fn layout(frame: &mut FrameWords, maps: &mut Vec<MapSpec>) -> BlockLayout {
    let prefixes = MapId(maps.len() as u32);
    let bytes = 8 * block_words::COUNT;
    let kind = MapKind::SharedPrefixes;
    maps.push(MapSpec { name: "blocks".into(), kind, bytes, entries: PREFIXES_MAX });
    let active = MapId(maps.len() as u32);
    let kind = MapKind::SharedData;
    maps.push(MapSpec { name: "blocks_active".into(), kind, bytes: 8, entries: 1 });
    BlockLayout { prefixes, active, counter: frame.take(1) }
}

/// Drops the packet when its source is blocked, else goes to `pass`.
pub(super) fn emit(e: &mut Emitter, blocks: &BlockLayout, pass: Label) {
    let asm = &mut e.asm;
    asm.comment("is its source on the block list?");
    asm.push(Insn::LoadData { dst: Reg::R1, map: blocks.active, offset: 0 });
    asm.load(Size::Dw, Reg::R1, Reg::R1, 0);
    asm.branch(Cond::Eq, Reg::R1, 0, pass);
    // Queries have looked more or less far into it.
    asm.load(Size::Dw, Reg::R1, Reg::R10, stack::CONTEXT);
    asm.load(Size::W, DATA, Reg::R1, 0);
    asm.load(Size::W, END, Reg::R1, 4);
    let (v4, v6, found) = (asm.label(), asm.label(), asm.label());
    check_end(asm, ETHERNET_BYTES, pass);
    asm.load(Size::H, Reg::R0, DATA, 12);
    for tag in 0..=TAGS.len() as i32 {
        asm.branch(Cond::Eq, Reg::R0, IPV4, v4);
        asm.branch(Cond::Eq, Reg::R0, IPV6, v6);
        if tag == TAGS.len() as i32 {
            break;
        }
        let tagged = asm.label();
        TAGS.iter().for_each(|kind| asm.branch(Cond::Eq, Reg::R0, *kind, tagged));
        asm.jump(pass);
        asm.place(tagged);
        asm.alu(AluOp::Add, DATA, 4);
        check_end(asm, ETHERNET_BYTES, pass);
        asm.load(Size::H, Reg::R0, DATA, 12);
    }
    asm.jump(pass);

    asm.place(v4);
    check_end(asm, ETHERNET_BYTES + 20, pass);
    asm.store(Size::W, Reg::R10, KEY + 4, 0);
    asm.store(Size::W, Reg::R10, KEY + 8, 0);
    asm.store(Size::W, Reg::R10, KEY + 12, u32::from_le_bytes([0, 0, 0xff, 0xff]) as i32);
    copy_word(asm, ETHERNET_BYTES as i16 + 12, KEY + 16);
    asm.jump(found);

    asm.place(v6);
    check_end(asm, ETHERNET_BYTES + 40, pass);
    for word in 0..4 {
        copy_word(asm, ETHERNET_BYTES as i16 + 8 + 4 * word, KEY + 4 + 4 * word);
    }

    asm.place(found);
    asm.store(Size::W, Reg::R10, KEY, 128);
    asm.push(Insn::LoadMap { dst: Reg::R1, map: blocks.prefixes });
    asm.mov(Reg::R2, Reg::R10);
    asm.alu(AluOp::Add, Reg::R2, i32::from(KEY));
    asm.call(Helper::MapLookup);
    asm.branch(Cond::Eq, Reg::R0, 0, pass);
    asm.mov(HEADER, Reg::R0);
    let (holds, counted, word) = (asm.label(), asm.label(), |word: u32| 8 * word as i16);
    asm.load(Size::Dw, Reg::R1, HEADER, word(block_words::EXPIRES_NS));
    asm.branch(Cond::Eq, Reg::R1, 0, holds);
    asm.call(Helper::KtimeGetNs);
    asm.load(Size::Dw, Reg::R1, HEADER, word(block_words::EXPIRES_NS));
    asm.branch(Cond::Ge, Reg::R0, Reg::R1, pass);

    asm.place(holds);
    asm.mov(Reg::R1, 1);
    let at = word(block_words::PACKETS);
    asm.push(Insn::AtomicAdd { base: HEADER, off: at, src: Reg::R1 });
    // The packet as it came: tags that were skipped count.
    asm.load(Size::Dw, Reg::R2, Reg::R10, stack::CONTEXT);
    asm.load(Size::W, Reg::R2, Reg::R2, 0);
    asm.mov(Reg::R1, END);
    asm.alu(AluOp::Sub, Reg::R1, Reg::R2);
    let at = word(block_words::BYTES);
    asm.push(Insn::AtomicAdd { base: HEADER, off: at, src: Reg::R1 });
    asm.load(Size::Dw, Reg::R1, HEADER, word(block_words::FIRST_NS));
    asm.branch(Cond::Ne, Reg::R1, 0, counted);
    // Two CPUs may both be first: either time is right.
    asm.call(Helper::KtimeGetNs);
    asm.store(Size::Dw, HEADER, word(block_words::FIRST_NS), Reg::R0);
    asm.place(counted);
    e.add_to_frame(FRAME, blocks.counter, 1, Reg::R1);
    e.asm.mov(Reg::R0, XDP_DROP);
    e.asm.push(Insn::Exit);
}

/// Goes to `pass` unless so many bytes are there.
fn check_end(asm: &mut Assembler, bytes: i32, pass: Label) {
    asm.mov(Reg::R2, DATA);
    asm.alu(AluOp::Add, Reg::R2, bytes);
    asm.branch(Cond::Gt, Reg::R2, END, pass);
}

/// Copies four bytes of the packet to the stack.
fn copy_word(asm: &mut Assembler, from: i16, to: i16) {
    asm.load(Size::W, Reg::R1, DATA, from);
    asm.store(Size::W, Reg::R10, to, Reg::R1);
}
