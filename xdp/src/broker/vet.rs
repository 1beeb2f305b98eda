//! What a broker loads: programs such as generated ones are, and nothing else that the kernel would take.

use super::message::Specification;
use crate::asm::{Helper, Relocation, Target};
use crate::codegen::spec::{MapKind, MapSpec};

/// Instructions that the kernel takes at most.
const SLOTS_MAX: usize = 1_000_000;
/// Maps of a program: the kernel takes 64 on old machines, and each query needs one.
const MAPS_MAX: usize = 1024;
/// Memory of a program's maps, bytes, on each CPU.
const MAP_BYTES_MAX: u64 = 4 << 30;
/// The kernel's names of programs and maps.
const NAME_BYTES_MAX: usize = 15;

const CALL: u8 = 0x85;
const LD_IMM64: u8 = 0x18;
/// 32 bits and a constant.
const AND_IMM: u8 = 0x54;
/// Source register of an instruction that loads the address of a function of the program.
const PSEUDO_FUNC: u8 = 4;

/// A specification that is not one of a query's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// More than there can be.
    #[error("{what}: {given}, at most {limit}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much.
        given: u64,
        /// The most.
        limit: u64,
    },
    /// A name that the kernel has no place for.
    #[error("`{name}` is no name of a program, function or map")]
    Name {
        /// The name.
        name: String,
    },
    /// A call of something that queries never call.
    #[error("instruction {slot} calls function {function} of the kernel, which no query does")]
    Call {
        /// Which instruction.
        slot: usize,
        /// Number of the function, or of the kind of call.
        function: i32,
    },
    /// An address of something that is not the program's.
    #[error("instruction {slot} loads an address that is not the program's")]
    Address {
        /// Which instruction.
        slot: usize,
    },
    /// A reference to what is not there.
    #[error("instruction {slot} names a map or function that is not there")]
    Reference {
        /// Which instruction.
        slot: usize,
    },
}

/// Refuses what no query is compiled to. The verifier looks at the rest.
pub(super) fn vet(spec: &Specification<'_>) -> Result<(), Unacceptable> {
    let at_most = |what, given: u64, limit: u64| {
        if given > limit { Err(Unacceptable::TooMuch { what, given, limit }) } else { Ok(()) }
    };
    at_most("instructions", spec.code.slots.len() as u64, SLOTS_MAX as u64)?;
    at_most("maps", spec.maps.len() as u64, MAPS_MAX as u64)?;
    let bytes = |map: &MapSpec| match map.kind {
        MapKind::Ring => u64::from(map.bytes),
        _ => u64::from(map.bytes) * u64::from(map.entries),
    };
    at_most("bytes of maps", spec.maps.iter().map(bytes).sum(), MAP_BYTES_MAX)?;
    let names =
        spec.maps.iter().map(|map| &map.name).chain(spec.code.functions.iter().map(|f| &f.name));
    for name in names.map(String::as_str).chain([&*spec.name]) {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"_.".contains(&c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(Unacceptable::Name { name: name.to_owned() });
        }
    }
    let mut last = 0;
    for function in &spec.code.functions {
        // The first slot belongs to the main program, and each function has at least one.
        if function.slot <= last || function.slot >= spec.code.slots.len() {
            return Err(Unacceptable::Reference { slot: function.slot });
        }
        last = function.slot;
    }
    for relocation in &spec.code.relocations {
        let is_there = match relocation.target {
            Target::Map(map) => (map.0 as usize) < spec.maps.len(),
            Target::Function(function) => function < spec.code.functions.len(),
            Target::Parts => true,
        };
        let code = if relocation.target == Target::Parts { AND_IMM } else { LD_IMM64 };
        let is_it = spec.code.slots.get(relocation.slot).is_some_and(|slot| slot[0] == code);
        if !is_there || !is_it {
            return Err(Unacceptable::Reference { slot: relocation.slot });
        }
    }
    vet_instructions(spec)
}

fn vet_instructions(spec: &Specification<'_>) -> Result<(), Unacceptable> {
    let mut slots = spec.code.slots.iter().enumerate();
    while let Some((slot, bytes)) = slots.next() {
        let [code, registers, _, _, imm @ ..] = *bytes;
        let source = registers >> 4;
        match code {
            CALL => {
                let function = i32::from_le_bytes(imm);
                let is_known = Helper::ALL.iter().any(|helper| *helper as i32 == function);
                if source != 0 || !is_known {
                    return Err(Unacceptable::Call { slot, function });
                }
            }
            LD_IMM64 => {
                let is_function = |relocation: &Relocation| {
                    relocation.slot == slot && matches!(relocation.target, Target::Function(_))
                };
                let is_callback =
                    || source == PSEUDO_FUNC && spec.code.relocations.iter().any(is_function);
                if source != 0 && !is_callback() {
                    return Err(Unacceptable::Address { slot });
                }
                // Its second half.
                slots.next();
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::asm::{Code, Function, MapId};

    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    fn spec(slots: &[[u8; 8]]) -> Specification<'static> {
        let map = MapSpec { name: "ring".into(), kind: MapKind::Ring, bytes: 4096, entries: 1 };
        let code = Code {
            slots: slots.to_vec(),
            relocations: Vec::new(),
            functions: Vec::new(),
            listing: String::new(),
        };
        Specification {
            name: Cow::Borrowed("p"),
            code: Cow::Owned(code),
            maps: Cow::Owned(vec![map]),
        }
    }

    fn load(source: u8) -> [[u8; 8]; 2] {
        [[LD_IMM64, source << 4 | 1, 0, 0, 0, 0, 0, 0], [0; 8]]
    }

    #[test]
    fn only_calls_that_queries_make_are_loaded() {
        let call = |source: u8, function: u8| [CALL, source << 4, 0, 0, function, 0, 0, 0];
        assert_eq!(vet(&spec(&[call(0, Helper::KtimeGetNs as u8), EXIT])), Ok(()));
        // bpf_probe_read_kernel, bpf_redirect, a call within the program, one of a kernel function by type.
        for (source, function) in [(0, 113), (0, 23), (1, 5), (2, 5)] {
            let refused = vet(&spec(&[call(source, function), EXIT]));
            assert_eq!(refused, Err(Unacceptable::Call { slot: 0, function: i32::from(function) }));
        }
    }

    #[test]
    fn only_addresses_of_the_program_are_loaded() {
        let with = |source| vet(&spec(&[&load(source)[..], &[EXIT]].concat()));
        assert_eq!(with(0), Ok(()));
        for source in 1..=6 {
            assert_eq!(with(source), Err(Unacceptable::Address { slot: 0 }));
        }
        // What looks like a call in the second half of an instruction is none.
        let half = [[LD_IMM64, 1, 0, 0, 0, 0, 0, 0], [CALL, 0, 0, 0, 113, 0, 0, 0], EXIT];
        assert_eq!(vet(&spec(&half)), Ok(()));
    }

    #[test]
    fn references_lead_somewhere() {
        let with = |slot, target| {
            let mut spec = spec(&[&load(0)[..], &[EXIT]].concat());
            spec.code.to_mut().relocations.push(Relocation { slot, target });
            vet(&spec)
        };
        assert_eq!(with(0, Target::Map(MapId(0))), Ok(()));
        for (slot, target) in [
            (0, Target::Map(MapId(1))),
            (0, Target::Function(0)),
            (2, Target::Map(MapId(0))),
            (9, Target::Map(MapId(0))),
            (0, Target::Parts),
        ] {
            assert_eq!(with(slot, target), Err(Unacceptable::Reference { slot }));
        }
        for slot in [0, 3] {
            let mut spec = spec(&[&load(0)[..], &[EXIT]].concat());
            spec.code.to_mut().functions.push(Function { name: "f".into(), slot });
            assert_eq!(vet(&spec), Err(Unacceptable::Reference { slot }));
        }
    }

    #[test]
    fn sizes_and_names_have_limits() {
        let mut large = spec(&[EXIT]);
        large.maps.to_mut()[0] = MapSpec {
            name: "t".into(),
            kind: MapKind::PerCpuArray,
            bytes: 1 << 20,
            entries: 1 << 20,
        };
        assert!(matches!(vet(&large), Err(Unacceptable::TooMuch { what: "bytes of maps", .. })));
        for name in ["", "a/b", "sixteen_letters_"] {
            let named = Specification { name: Cow::Borrowed(name), ..spec(&[EXIT]) };
            assert_eq!(vet(&named), Err(Unacceptable::Name { name: name.to_owned() }));
        }
    }
}
