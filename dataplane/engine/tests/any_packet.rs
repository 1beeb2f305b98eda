//! Every field of every built-in protocol, over packets that are damaged in every way: no panic, and each packet has
//! exactly one fate in each query.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proptest::prelude::*;
use wt_catalog::{Catalog, Value};
use wt_engine::{LftaBackend, Memory, Packet, ReferenceLfta};
use wt_plan::ir::LftaProgram;
use wt_plan::{CompileInput, InterfaceInfo, compile};
use wt_wire::CaptureReader;

/// A query for each field of each protocol: in a query of several the first absent field would hide the others.
fn program() -> &'static LftaProgram {
    static PROGRAM: OnceLock<LftaProgram> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let catalog = Catalog::builtin();
        let mut queries = Vec::new();
        for protocol in &catalog.protocols {
            for (_, _, field) in catalog.fields_of(protocol.id) {
                let (protocol, field) = (&protocol.name, &field.name);
                let query = format!("SELECT {field} AS f FROM {protocol}");
                if let Some(mut program) = lfta(&catalog, &query) {
                    assert_eq!(program.queries.len(), 1, "{query}");
                    program.queries[0].name = format!("{protocol}_{field}");
                    queries.push(format!(
                        "DEFINE {{ query_name '{protocol}_{field}'; }} {query}"
                    ));
                }
            }
        }
        assert!(queries.len() > 150, "{} fields can be queried", queries.len());
        queries.push("DEFINE { query_name 'filter'; } SELECT len FROM packet WHERE pcap_filter('tcp port 80 or (vlan and ip6)')".to_owned());
        lfta(&catalog, &queries.join(";\n")).unwrap()
    })
}

/// The program of a text whose queries run next to the interface.
fn lfta(catalog: &Catalog, text: &str) -> Option<LftaProgram> {
    let interfaces = [InterfaceInfo { name: "default".to_owned(), properties: Vec::new() }];
    let input = CompileInput {
        catalog,
        text,
        file_name: "",
        interfaces: &interfaces,
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite: true,
        library: &|_| None,
    };
    let mut compiled = compile(&input).ok()?;
    Some(compiled.physical.interfaces.pop()?.program)
}

/// Gives packets to a fresh backend and checks its books.
fn check<'a>(packets: impl IntoIterator<Item = (u16, &'a [u8])>) -> Result<(), TestCaseError> {
    let program = program();
    let mut backend = ReferenceLfta::new(program, &[], &[], &mut Memory::new(None)).unwrap();
    let name = Value::bytes("any");
    let mut sent = vec![0u64; program.queries.len()];
    let mut ordinal = 0;
    for (link_type, data) in packets {
        let packet = Packet {
            timestamp_ns: u64::MAX - ordinal,
            len: data.len() as u32,
            link_type,
            interface: &name,
            ifindex: 0,
            direction: 0,
            data,
        };
        backend.packet(&packet, ordinal, &mut |query, message| {
            sent[query as usize] += message.rows();
        });
        ordinal += 1;
    }
    prop_assert_eq!(backend.packets().packets, ordinal);
    for (query, sent) in sent.iter().enumerate() {
        let t = backend.tuples(query as u32);
        prop_assert_eq!(t.offered, ordinal);
        prop_assert_eq!(t.offered, t.matched + t.filtered + t.absent + t.failed + t.late);
        prop_assert_eq!((t.output, t.matched), (*sent, *sent));
    }
    Ok(())
}

fn captures(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"))
        .collect();
    files.sort();
    files
}

/// Packets of the carried captures, a few of each.
fn samples() -> &'static [(u16, Vec<u8>)] {
    static SAMPLES: OnceLock<Vec<(u16, Vec<u8>)>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
        let files = [captures(&root), captures(&root.join("generated"))].concat();
        let mut samples = Vec::new();
        for file in files {
            let Ok(mut reader) = CaptureReader::open(&file) else { continue };
            for _ in 0..6 {
                let Ok(Some(record)) = reader.next() else { break };
                samples.push((record.link_type.0, record.data.to_vec()));
            }
        }
        assert!(samples.len() > 100, "{} packets", samples.len());
        samples
    })
}

#[test]
fn every_length_of_every_sample() {
    for (link_type, data) in samples() {
        let cuts: Vec<usize> = (0..=data.len().min(160)).chain([data.len()]).collect();
        check(cuts.iter().map(|&cut| (*link_type, &data[..cut]))).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn samples_with_bytes_overwritten(
        sample in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (link_type, mut data) = samples()[sample.index(samples().len())].clone();
        for (at, byte) in damage {
            if !data.is_empty() {
                // Headers lie in front: most damage goes there.
                let at = at.index(data.len().min(80));
                data[at] = byte;
            }
        }
        check([(link_type, &data[..])])?;
    }

    #[test]
    fn arbitrary_bytes_of_every_link_type(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let link_types = program().parse.start.iter().map(|(link_type, _)| *link_type);
        check(link_types.chain([u16::MAX]).map(|link_type| (link_type, &data[..])))?;
    }
}
