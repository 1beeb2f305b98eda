//! The likeliest path first: what all of its headers are asked for, in as few comparisons as its bytes lie in. A packet that differs is looked at header
//! by header, from the one on that differs.

use wt_catalog::Value;
use wt_lang::ast::CmpOp;
use wt_plan::ir::{HeaderProgram, LayerSel, NodeId, Op};

use super::emit::{DATA, Emitter, S, Unportable};
use super::header::constant_length;
use super::likely::{Step, nearer};
use super::scope::{Lacks, Pointer, PointerAt, Raw, Scope};
use super::walk::{At, Walk};
use crate::asm::{AluOp, Cond, Label, Operand, Size};

/// Most bytes that are compared at once: with more, a mask is no operand of an instruction.
const WIDTH_MAX: i32 = 4;

/// Bits of one byte of a packet that have one value on the path.
#[derive(Clone, Copy)]
struct Test {
    at: i32,
    mask: u8,
    value: u8,
    /// How many headers lie before the one that asks for it.
    depth: usize,
}

/// Bytes that are compared at once: from `at` on, in the packet's order.
struct Window {
    at: i16,
    size: Size,
    mask: u32,
    value: u32,
    /// As of its first test.
    depth: usize,
}

/// The path, from the outermost header on, and what is asked for on it.
struct Straight {
    /// Indices of its steps.
    path: Vec<usize>,
    windows: Vec<Window>,
}

/// Emits the path, unless nothing is won by it. Behind its last header the code goes on at that step's entry of `ends`; with a packet that differs, where
/// the step begins that asks for it: at a label that is left in `others`.
pub(super) fn emit(
    e: &mut Emitter,
    walk: &mut Walk<'_, '_>,
    steps: &[Step],
    ends: &[Option<Label>],
    others: &mut [Option<Label>],
) -> Result<(), Unportable> {
    let Some(Straight { path, windows }) = straight(walk, steps) else { return Ok(()) };
    let Some(end) = path.last().and_then(|last| ends[*last]) else { return Ok(()) };
    e.asm.comment("the likeliest path");
    let mut pushed = 0;
    let mut push_to = |e: &mut Emitter, walk: &mut Walk<'_, '_>, depth: usize| {
        for index in &path[pushed..depth] {
            let Step { path, offset, .. } = &steps[*index];
            walk.push(e, path, At::Known(offset.unwrap_or_default()));
        }
        pushed = depth.max(pushed);
    };
    for Window { at, size, mask, value, depth } in windows {
        push_to(e, walk, depth);
        e.asm.load(size, S[0], DATA, at);
        if u64::from(mask) != u64::MAX >> (64 - 8 * size.bytes()) {
            // The bits that the sign would be repeated in are 0 already.
            e.asm.alu(AluOp::And, S[0], Operand::Imm(mask.cast_signed()));
        }
        let value = e.operand(value.into(), S[1]);
        let other = *others[path[depth]].get_or_insert_with(|| e.asm.label());
        e.asm.branch(Cond::Ne, S[0], value, other);
    }
    push_to(e, walk, path.len());
    e.asm.jump(end);
    Ok(())
}

/// The way to the first header that is looked for, when there is one way at most behind each but the outermost, and all that is asked on it is whether bits
/// of the packet have one value.
fn straight(walk: &Walk<'_, '_>, steps: &[Step]) -> Option<Straight> {
    let paths = walk.paths;
    let (mut path, mut tests, mut asked) = (vec![0], Vec::new(), 0);
    loop {
        let index = *path.last()?;
        let step = &steps[index];
        let header = paths.header(step.id)?;
        let offset = step.offset.filter(|offset| offset + header.min as i32 <= walk.reach)?;
        let mut nearer = nearer(paths, steps, index);
        let next = nearer.next();
        if path.len() > 1 && nearer.next().is_some() {
            return None;
        }
        let when = match next {
            // Nothing may follow it: what does where paths are not likely is not seen here.
            None if header.children.is_empty() => None,
            None => return None,
            Some((child, _)) => match paths.children_in_order(header, |_| 0).first()? {
                (first, when) if *first == child => *when,
                _ => return None,
            },
        };
        let found = header_tests(walk, header, when)?;
        asked += found.len();
        let depth = path.len() - 1;
        let bytes = |(raw, value)| bytes(offset, raw, value, depth);
        tests.extend(found.into_iter().flat_map(bytes));
        match next {
            Some((_, next)) => path.push(next),
            None => break,
        }
    }
    let windows = windows(&tests, walk.reach)?;
    (windows.len() < asked).then_some(Straight { path, windows })
}

/// The tests of a field's bytes, in a header that begins at `offset`.
fn bytes(offset: i32, raw: Raw, value: u64, depth: usize) -> impl Iterator<Item = Test> {
    let bytes = raw.own_bits().to_le_bytes().into_iter().zip(value.to_le_bytes());
    let places = offset + raw.place.byte as i32..;
    let test = move |(at, (mask, value))| Test { at, mask, value, depth };
    places.zip(bytes).map(test).filter(|test| test.mask > 0)
}

/// What a header and a condition behind it ask for, as bytes of the header that are compared; nothing where they ask for something else. The header has the
/// least length then.
fn header_tests(
    walk: &Walk<'_, '_>,
    header: &HeaderProgram,
    when: Option<NodeId>,
) -> Option<Vec<(Raw, u64)>> {
    let roots: Vec<NodeId> =
        [header.length].into_iter().chain(header.checks.iter().copied()).chain(when).collect();
    // Only whether a layer is this header is asked of them.
    let this = Pointer { at: PointerAt::Reg(DATA), disp: 0, bytes: header.min };
    let layers = walk.header_layers(header, this, &[]);
    let end = walk.ends.malformed;
    let scope =
        Scope::new(&header.exprs, layers, Vec::new(), &roots, Lacks { absent: end, failed: end });
    let min = u64::from(header.min);
    let mut tests = Vec::new();
    match constant_length(header) {
        Some(len) if len == min => {}
        Some(_) => return None,
        None if header.max < header.min => return None,
        None => tests.push(scope.raw_equal(header.length, min)?),
    }
    for condition in header.checks.iter().copied().chain(when) {
        for part in scope.conjuncts(condition) {
            match (scope.truth(part), scope.op(part)) {
                (Some(true), _) => {}
                (None, Op::Compare(CmpOp::Eq, a, b)) => {
                    let value = scope.constant(*b).and_then(Value::as_u64)?;
                    tests.push(scope.raw_equal(*a, value)?);
                }
                _ => return None,
            }
        }
    }
    let is_own = |raw: &Raw| {
        let layer = header.layers.get(raw.place.layer.0 as usize);
        let is_there = raw.place.byte + raw.size.bytes() <= header.min;
        raw.place.at.is_none() && is_there && layer == Some(&LayerSel::This)
    };
    tests.iter().all(|(raw, _)| is_own(raw)).then_some(tests)
}

/// The fewest windows for tests in this order, within the first `reach` bytes; nothing when one byte would need two values.
fn windows(tests: &[Test], reach: i32) -> Option<Vec<Window>> {
    let mut runs: Vec<(i32, i32, Vec<Test>)> = Vec::new();
    for test in tests {
        match runs.last_mut() {
            Some((from, to, run)) if test.at.max(*to) - test.at.min(*from) < WIDTH_MAX => {
                (*from, *to) = (test.at.min(*from), test.at.max(*to));
                run.push(*test);
            }
            _ => runs.push((test.at, test.at, vec![*test])),
        }
    }
    let window = |(from, to, run): (i32, i32, Vec<Test>)| {
        let size = match to - from + 1 {
            1 => Size::B,
            2 => Size::H,
            _ => Size::W,
        };
        let at = from.min(reach - size.bytes() as i32);
        let (mut mask, mut value) = ([0u8; 4], [0u8; 4]);
        for test in &run {
            let byte = usize::try_from(test.at - at).ok()?;
            let both = mask[byte] & test.mask;
            if value[byte] & both != test.value & both {
                return None;
            }
            mask[byte] |= test.mask;
            value[byte] |= test.value;
        }
        let (mask, value) = (u32::from_le_bytes(mask), u32::from_le_bytes(value));
        Some(Window { at: i16::try_from(at).ok()?, size, mask, value, depth: run.first()?.depth })
    };
    runs.into_iter().map(window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(at: i32, mask: u8, value: u8) -> Test {
        Test { at, mask, value, depth: 0 }
    }

    /// Place, bytes, mask and value of each.
    fn found(tests: &[Test], reach: i32) -> Option<Vec<(i16, u32, u32, u32)>> {
        let windows = windows(tests, reach)?;
        Some(windows.iter().map(|w| (w.at, w.size.bytes(), w.mask, w.value)).collect())
    }

    #[test]
    fn tests_of_bytes_that_lie_together_are_one() {
        let tests = [test(20, 0x1f, 0), test(21, 0xff, 0), test(23, 0xff, 6), test(24, 0xf0, 0x50)];
        let four = (20, 4, 0xff00_ff1f, 0x0600_0000);
        assert_eq!(found(&tests, 54), Some(vec![four, (24, 1, 0xf0, 0x50)]));
        let halves = [test(14, 0x0f, 5), test(14, 0xf0, 0x40)];
        assert_eq!(found(&halves, 54), Some(vec![(14, 1, 0xff, 0x45)]));
    }

    #[test]
    fn no_window_reaches_further_than_the_packet_is_known_to() {
        let tests = [test(50, 0xff, 1), test(52, 0xff, 2)];
        assert_eq!(found(&tests, 53), Some(vec![(49, 4, 0xff00_ff00, 0x0200_0100)]));
    }

    #[test]
    fn a_byte_that_would_need_two_values_has_no_window() {
        assert_eq!(found(&[test(12, 0xff, 8), test(12, 0xf0, 0x10)], 54), None);
    }
}
