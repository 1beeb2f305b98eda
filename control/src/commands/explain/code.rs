//! `explain --code` beyond the intermediate representation, and `explain --emit`.

use std::fmt::Write as _;
use std::path::Path;

use wt_engine::NotCompiled;
use wt_plan::Compiled;
use wt_wire::LinkType;
use wt_xdp::codegen;
use wt_xdp::codegen::spec::{MapKind, MapSpec, ProgramSpec};
use wt_xdp::loader::Loaded;
use wt_xdp::object;

use crate::failure::Failure;

/// The instructions of this processor, by interface.
pub fn machine(compiled: &Compiled) -> Result<String, Failure> {
    let mut text = String::new();
    for (number, interface) in compiled.physical.interfaces.iter().enumerate() {
        let _ = writeln!(text, "\nmachine code {}, for Ethernet", interface.name);
        text += &machine_code(compiled, number)?;
    }
    Ok(text)
}

fn machine_code(compiled: &Compiled, interface: usize) -> Result<String, Failure> {
    match wt_engine::machine_code(&compiled.physical, interface, LinkType::ETHERNET.0) {
        Ok(listing) => Ok(listing),
        Err(NotCompiled::Unsupported(what)) => {
            Ok(format!("  none: there is no code for {what}; the interpreter runs it\n"))
        }
        Err(NotCompiled::Setup(error)) => Err(Failure::Query(error.to_string())),
    }
}

/// The XDP programs, by interface: what they consist of, what the verifier had to do, and their instructions.
pub fn xdp(compiled: &Compiled, programs: &[codegen::Compiled]) -> String {
    let mut text = String::new();
    for (index, made) in programs.iter().enumerate() {
        let _ = writeln!(text, "\nXDP program {}", compiled.physical.interfaces[index].name);
        match &made.spec {
            None => text += "  none: no LFTA has code there\n",
            Some(spec) => {
                let queries: Vec<&str> =
                    spec.layout.queries.iter().map(|q| q.name.as_str()).collect();
                let _ = writeln!(text, "  runs          {}", queries.join(", "));
                let _ = writeln!(text, "  instructions  {}", spec.code.slots.len());
                let _ = writeln!(text, "  verified      {}", verified(spec));
                let _ = writeln!(text, "  maps          {}", maps(spec));
            }
        }
        for (name, reasons) in host_only(compiled, index) {
            let _ = writeln!(text, "  host only     {name}: {reasons}");
        }
        if let Some(spec) = &made.spec {
            text += &spec.code.listing;
        }
    }
    text
}

/// The LFTAs of an interface that have no code for XDP, and why.
fn host_only(compiled: &Compiled, interface: usize) -> impl Iterator<Item = (&str, String)> {
    let queries = compiled.physical.interfaces[interface].program.queries.iter();
    let noted = queries.zip(&compiled.report.lftas[interface]);
    noted
        .filter(|(_, note)| !note.host_only.is_empty())
        .map(|(query, note)| (query.name.as_str(), note.host_only.join(", ")))
}

/// How many instructions the verifier of this kernel goes through, where it may be asked.
fn verified(spec: &ProgramSpec) -> String {
    match Loaded::load(spec).map(|mut loaded| loaded.verified_instructions()) {
        Ok(Some(count)) => format!("{count} instructions, by this kernel"),
        Ok(None) => "by this kernel, which does not tell how many instructions".to_owned(),
        Err(error) => format!("unknown: {error}. {}", error.hint()),
    }
}

/// The maps of a program, with their sizes.
fn maps(spec: &ProgramSpec) -> String {
    let map = |(number, map): (usize, &MapSpec)| {
        let (name, bytes) = (&map.name, map.bytes);
        match map.kind {
            MapKind::Data => format!("{number} {name}, {bytes} bytes"),
            MapKind::Ring => format!("{number} {name}, {bytes} bytes in a ring"),
            MapKind::Sockets => format!("{number} {name}, {} sockets", map.entries),
            MapKind::SharedPrefixes => {
                format!("{number} {name}, shared, {} prefixes of {bytes} bytes", map.entries)
            }
            MapKind::SharedData => format!("{number} {name}, shared, {bytes} bytes"),
            MapKind::PartPerCpu => format!("{number} {name}, {bytes} bytes per CPU"),
            MapKind::PerCpuArray => {
                format!("{number} {name}, {} entries of {bytes} bytes per CPU", map.entries)
            }
        }
    };
    spec.maps.iter().enumerate().map(map).collect::<Vec<_>>().join("; ")
}

/// Writes the object file of the one XDP program there is.
pub fn emit(
    compiled: &Compiled,
    programs: &[codegen::Compiled],
    file: &Path,
) -> Result<(), Failure> {
    let specs: Vec<&ProgramSpec> = programs.iter().filter_map(|made| made.spec.as_ref()).collect();
    let spec = match specs[..] {
        [spec] => spec,
        [] => return Err(Failure::Input(nothing_to_emit(compiled))),
        _ => {
            return Err(Failure::Input(format!(
                "--emit writes one program, and there are {}; choose an interface with -i",
                specs.len()
            )));
        }
    };
    let bytes = object::write(spec).map_err(|error| Failure::Environment(error.to_string()))?;
    std::fs::write(file, bytes).map_err(|error| Failure::path("write", file, &error))
}

fn nothing_to_emit(compiled: &Compiled) -> String {
    let mut text = "there is no XDP program to emit".to_owned();
    for interface in 0..compiled.physical.interfaces.len() {
        for (name, reasons) in host_only(compiled, interface) {
            let _ = write!(text, "\n  `{name}` is host only: {reasons}");
        }
    }
    text
}
