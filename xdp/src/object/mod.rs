//! A program specification as an ELF object, in memory: what loaders take, and what `llvm-objdump -d` reads.
//!
//! Sections are `license`, `maps` with one legacy map definition of 28 bytes per map, `.data` with the data map, `.bss` with the frames, one for each CPU that this
//! machine may have, and `xdp` with the instructions; functions that are called back stand in `.text`, and `.BTF` gives them the types without which the verifier refuses a
//! callback. A reference to a map or function is a relocation on the instruction that loads its address.

mod btf;

use std::os::fd::RawFd;

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};

use crate::asm::{Code, MapId, Target};
use crate::codegen::spec::{MapKind, MapSpec, ProgramSpec, control_words};
use crate::host::last_core;

/// Relocation of a load of 64 bits.
const R_BPF_64_64: u32 = 1;

const MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const MAP_TYPE_XSKMAP: u32 = 17;
const MAP_TYPE_RINGBUF: u32 = 27;

/// Source registers of a load of 64 bits that names a map by its descriptor: the map, or the address of its one entry.
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

/// An object that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A fault of the generator: more than the format holds.
    #[error("the program has no object file: {0}; please report it")]
    Format(#[from] object::write::Error),
    /// How many CPUs there may be is not known.
    #[error("the kernel does not say which CPUs there may be: {0}")]
    Cpus(#[from] std::io::Error),
    /// A map that is made before the program was not given.
    #[error("the program has no object file: the map `{map}` is not given; please report it")]
    NoMap {
        /// Its name.
        map: String,
    },
}

/// Parts of maps that have one for each CPU: as many as there may be CPUs on this machine, rounded up to a power of two, so that a mask of a CPU's number is
/// that of its part.
///
/// # Errors
/// The kernel does not say.
pub fn parts() -> std::io::Result<u32> {
    Ok((last_core()? + 1).next_power_of_two())
}

/// The object of a program, for machines with as many CPUs as this one.
///
/// # Errors
/// A fault of the generator: more than the format holds. The kernel does not say how many CPUs there may be.
pub fn write(spec: &ProgramSpec) -> Result<Vec<u8>, ObjectError> {
    write_given(spec, &[])
}

/// The object of a program some of whose maps are there already: those that it shares with others, and others. `given` has their descriptors. Instructions name them
/// by these, so the object can be loaded by this process only.
///
/// # Errors
/// As [`write`]; a map is not there.
pub fn write_given(spec: &ProgramSpec, given: &[(MapId, RawFd)]) -> Result<Vec<u8>, ObjectError> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    // The helpers used are open to programs under this license only.
    object.append_section_data(license, b"GPL\0", 1);
    let maps = object.add_section(Vec::new(), b"maps".to_vec(), SectionKind::Data);
    let data = object.add_section(Vec::new(), b".data".to_vec(), SectionKind::Data);
    let (parts, sections) = (parts()?, Sections { maps, data });
    let symbols: Vec<Option<SymbolId>> = (0..)
        .map(MapId)
        .zip(&spec.maps)
        .map(|(id, map)| match given.iter().any(|(known, _)| *known == id) {
            true => None,
            false => add_map(&mut object, map, parts, &sections),
        })
        .collect();

    // The main program has a section of its own; what is called back stands in another.
    let mut code = spec.code.clone();
    name_given(&mut code, spec, given)?;
    count_parts(&mut code, parts);
    let code = &code;
    let slots = |range: std::ops::Range<usize>| code.slots[range].concat();
    let end = code.slots.len();
    let main_end = code.functions.first().map_or(end, |function| function.slot);
    let main = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    object.append_section_data(main, &slots(0..main_end), 8);
    let size = 8 * main_end as u64;
    object.add_symbol(symbol(&spec.name, 0, size, SymbolKind::Text, main));
    let mut functions = Vec::with_capacity(code.functions.len());
    let mut others = main;
    if main_end < end {
        others = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        object.append_section_data(others, &slots(main_end..end), 8);
    }
    for (index, function) in code.functions.iter().enumerate() {
        let next = code.functions.get(index + 1).map_or(end, |next| next.slot);
        let at = 8 * (function.slot - main_end) as u64;
        let size = 8 * (next - function.slot) as u64;
        let symbol = symbol(&function.name, at, size, SymbolKind::Text, others);
        functions.push(object.add_symbol(symbol));
    }
    for relocation in &code.relocations {
        let symbol = match relocation.target {
            Target::Map(MapId(map)) => match symbols[map as usize] {
                Some(symbol) => symbol,
                None => continue,
            },
            Target::Function(function) => functions[function],
            // It is in the instruction.
            Target::Parts => continue,
        };
        let (section, first) =
            if relocation.slot < main_end { (main, 0) } else { (others, main_end) };
        let entry = Relocation {
            offset: 8 * (relocation.slot - first) as u64,
            symbol,
            addend: 0,
            flags: RelocationFlags::Elf { r_type: R_BPF_64_64 },
        };
        object.add_relocation(section, entry)?;
    }
    if !code.functions.is_empty() {
        let types = btf::types(&spec.name, &code.functions, main_end);
        for (name, bytes) in [(".BTF", types.types), (".BTF.ext", types.functions)] {
            let section =
                object.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Other);
            object.append_section_data(section, &bytes, 4);
        }
    }
    Ok(object.write()?)
}

/// Writes the descriptors of maps that are given into the instructions that name them.
fn name_given(
    code: &mut Code,
    spec: &ProgramSpec,
    given: &[(MapId, RawFd)],
) -> Result<(), ObjectError> {
    for relocation in &code.relocations {
        let Target::Map(id) = relocation.target else { continue };
        let map = &spec.maps[id.0 as usize];
        let given = given.iter().find(|(known, _)| *known == id);
        let (_, fd) = match given {
            Some(given) => given,
            None if map.kind.is_shared() => {
                return Err(ObjectError::NoMap { map: map.name.clone() });
            }
            None => continue,
        };
        let pseudo = match map.kind.is_addressed() {
            true => PSEUDO_MAP_VALUE,
            false => PSEUDO_MAP_FD,
        };
        let pair = code.slots.get_mut(relocation.slot..relocation.slot + 2);
        let [first, second] = pair.unwrap_or_default() else {
            return Err(ObjectError::NoMap { map: map.name.clone() });
        };
        first[1] |= pseudo << 4;
        // An address has its offset in the second slot.
        second[4..].copy_from_slice(&first[4..]);
        first[4..].copy_from_slice(&fd.to_le_bytes());
    }
    Ok(())
}

/// Writes how many parts there are into the instructions that take the one of their CPU.
fn count_parts(code: &mut Code, parts: u32) {
    for relocation in code.relocations.iter().filter(|r| r.target == Target::Parts) {
        if let Some(slot) = code.slots.get_mut(relocation.slot) {
            slot[4..].copy_from_slice(&(parts - 1).to_le_bytes());
        }
    }
}

/// Where maps are defined.
struct Sections {
    maps: SectionId,
    data: SectionId,
}

fn add_map(
    object: &mut Object<'_>,
    map: &MapSpec,
    parts: u32,
    sections: &Sections,
) -> Option<SymbolId> {
    let Sections { maps, data } = *sections;
    let definition = |kind: u32, key: u32, value: u32, entries: u32| {
        [kind, key, value, entries, 0, 0, 0].map(u32::to_le_bytes).concat()
    };
    let (section, bytes) = match map.kind {
        MapKind::PartPerCpu => {
            let bytes = u64::from(map.bytes) * u64::from(parts);
            let kind = SectionKind::UninitializedData;
            let bss = object.add_section(Vec::new(), b".bss".to_vec(), kind);
            let at = object.append_section_bss(bss, bytes, 8);
            return Some(object.add_symbol(symbol(&map.name, at, bytes, SymbolKind::Data, bss)));
        }
        MapKind::Data => (data, first_control(map.bytes as usize)),
        MapKind::PerCpuArray => {
            (maps, definition(MAP_TYPE_PERCPU_ARRAY, 4, map.bytes, map.entries))
        }
        MapKind::Ring => (maps, definition(MAP_TYPE_RINGBUF, 0, 0, map.bytes)),
        MapKind::Sockets => (maps, definition(MAP_TYPE_XSKMAP, 4, map.bytes, map.entries)),
        MapKind::SharedPrefixes | MapKind::SharedData => return None,
    };
    let at = object.append_section_data(section, &bytes, 8);
    Some(object.add_symbol(symbol(&map.name, at, bytes.len() as u64, SymbolKind::Data, section)))
}

/// The control map before user space writes it: windows are kept on any kernel, as none has longer ticks.
fn first_control(bytes: usize) -> Vec<u8> {
    let mut words = vec![0; bytes / 8];
    if let Some(tick_ns) = words.get_mut(control_words::TICK_NS as usize) {
        *tick_ns = control_words::TICK_MAX_NS;
    }
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn symbol(name: &str, value: u64, size: u64, kind: SymbolKind, section: SectionId) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size,
        kind,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    }
}
