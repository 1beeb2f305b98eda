//! Types of functions (BTF, `Documentation/bpf/btf.rst` of the kernel): as few as a callback needs.

use crate::asm::Function;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Bytes of the header of `.BTF`, and of that of `.BTF.ext`.
const HEADER_BYTES: u32 = 24;
/// Bytes of a record that gives a function its type.
const RECORD_BYTES: u32 = 8;

const KIND_INT: u32 = 1;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// Number of the integer type, and of the type of all functions.
const INT: u32 = 1;
const PROTO: u32 = 2;
const SIGNED: u32 = 1 << 24;

const STATIC: u32 = 0;
const GLOBAL: u32 = 1;

/// The two sections.
pub(super) struct Types {
    pub(super) types: Vec<u8>,
    pub(super) functions: Vec<u8>,
}

/// Strings, each once, named by their offset.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        at
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn header(rest: &[u32]) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend([VERSION, 0]);
    bytes.extend(words(&[HEADER_BYTES]));
    bytes.extend(words(rest));
    bytes
}

/// The types of a main program and of the functions behind its `main_end` slots: each takes a number and an address, and returns a
/// number.
pub(super) fn types(main: &str, functions: &[Function], main_end: usize) -> Types {
    let mut strings = Strings(vec![0]);
    let long = strings.add("long");
    let mut types = words(&[long, KIND_INT << 24, 8, SIGNED | 64]);
    types.extend(words(&[0, KIND_FUNC_PROTO << 24 | 2, INT, 0, INT, 0, INT]));
    let names = std::iter::once((main, GLOBAL));
    let names = names.chain(functions.iter().map(|f| (f.name.as_str(), STATIC)));
    for (name, linkage) in names {
        let name = strings.add(name);
        types.extend(words(&[name, KIND_FUNC << 24 | linkage, PROTO]));
    }
    let (in_main, in_text) = (strings.add("xdp"), strings.add(".text"));
    let types_bytes = types.len() as u32;
    let mut section = header(&[0, types_bytes, types_bytes, strings.0.len() as u32]);
    section.extend(types);
    section.extend(strings.0);

    let first = PROTO + 1;
    let mut records = words(&[RECORD_BYTES, in_main, 1, 0, first]);
    records.extend(words(&[in_text, functions.len() as u32]));
    for (function, id) in functions.iter().zip(first + 1..) {
        records.extend(words(&[8 * (function.slot - main_end) as u32, id]));
    }
    let records_bytes = records.len() as u32;
    // No lines: the record of an empty list still says how long its records are.
    let mut info = header(&[0, records_bytes, records_bytes, 4]);
    info.extend(records);
    info.extend(words(&[16]));
    Types { types: section, functions: info }
}
