//! What the cost model believes of compiled code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wt_plan::physical::StreamRef;
use wt_plan::shape;
use wt_wire::RecordRef;

use super::*;
use crate::lfta::Readers;
use crate::run::{ahead, fixed_hash};
use crate::testing::plan;

#[test]
fn the_model_knows_what_leaves_together_and_what_is_judged_then() {
    let mut together = 0;
    for text in [
        "SELECT time, srcIP, len FROM tcp WHERE destPort = 80",
        "SELECT time, data FROM tcp",
        "SELECT time, len FROM tcp WHERE str_regex_match[data, 'a+b'] AND str_regex_match[data, 'c+']",
        "SELECT count(*), sum(len) FROM tcp WHERE str_regex_match[data, 'a+b']",
        "SELECT str_truncate(data, 3) AS head FROM tcp WHERE str_regex_match[data, 'a+b']",
        "SELECT tb, srcIP, count(*) FROM ip GROUP BY time/1 AS tb, srcIP",
        "SELECT count(*) FROM ip",
        "SELECT tb, count_distinct(srcIP) FROM ip GROUP BY time/1 AS tb",
        "DEFINE { real_time yes; } SELECT tb, count(*) FROM tcp WHERE syn GROUP BY time/1 AS tb",
        "DEFINE { aggregate_slots 64; } SELECT srcIP, count(*) FROM ip GROUP BY srcIP",
        "DEFINE { query_name a; } SELECT time, len FROM tcp; DEFINE { query_name b; } SELECT time FROM udp",
        "DEFINE { query_name a; } SELECT time, len FROM tcp; DEFINE { query_name b; } SELECT count(*) FROM udp",
    ] {
        let plan = plan(text);
        let program = &plan.interfaces[0].program;
        let (fixed, ahead) = (fixed_hash(&plan, 0), ahead(&plan, 0));
        let paths = PathsWanted::Seen(Vec::new());
        let memory = &mut Memory::new(None);
        let readers = Readers { fixed: &fixed, ahead: &ahead, free: &[] };
        let code = CompiledLfta::new(program, &[], readers, paths, 1, memory);
        let mut code = code.unwrap_or_else(|why| panic!("{text}: {why:?}"));
        code.send_blocks();
        for (number, query) in code.queries.iter().enumerate() {
            let stream = StreamRef::Lfta { interface: 0, query: number as u32 };
            let leaves_together = match &query.sink {
                Sink::Groups(groups) => groups.are_whole(),
                _ => query.block.is_some(),
            };
            assert_eq!(shape::sends_blocks(&plan, stream), leaves_together, "{text}");
            together += u32::from(leaves_together);
            let reader = shape::reader_ahead(&plan, stream);
            assert_eq!(reader.is_some(), code.judges_ahead(number as u32), "{text}");
        }
    }
    assert!(together >= 6, "{together} leave together");
}

#[test]
fn what_is_listed_is_the_code_that_runs() {
    // Keys of IPv4 have two words, beside two of states: they have no ordinals if nobody asks for them.
    let text = "SELECT sum(n), sum(bytes) FROM (SELECT srcIP, destIP, srcPort, destPort, count(*) AS n, \
                sum(len) AS bytes FROM tcp GROUP BY srcIP, destIP, srcPort, destPort) AS flow";
    let plan = plan(text);
    let program = &plan.interfaces[0].program;
    let [free, ordered] = [true, false].map(|is_free| {
        let readers = Readers { free: &[is_free], ..Readers::default() };
        machine_code(program, &[], readers, 1).unwrap()
    });
    let listed = crate::run::machine_code(&plan, 0, 1).unwrap();
    assert!(listed == free && listed != ordered);
}

#[test]
fn a_record_that_ends_behind_its_batch_is_not_read() {
    let plan = plan("SELECT count(*), sum(len) FROM packet");
    let program = &plan.interfaces[0].program;
    let memory = &mut Memory::new(None);
    let readers = Readers::default();
    let mut code = CompiledLfta::new(program, &[], readers, PathsWanted::All, 1, memory).unwrap();
    let data = [0; 64];
    let mut give = |at, caplen| {
        let len = caplen;
        let record = RecordRef { at, caplen, len, ..RecordRef::EMPTY };
        let batch = PacketBatch {
            data: &data,
            records: &[RecordRef { caplen: 0, ..record }, record],
            link_type: 1,
            interface: &Value::bytes("any"),
            ifindex: 0,
            meanwhile: None,
        };
        let given = || code.batch(&batch, 0, &mut Memory::new(None), &mut |_, _| {});
        catch_unwind(AssertUnwindSafe(given)).map(Result::unwrap)
    };
    for (at, caplen) in [(0, 64), (64, 0), (1, 63)] {
        give(at, caplen).unwrap();
    }
    for (at, caplen) in [(0, 65), (64, 1), (65, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
        let panic = give(at, caplen).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a record lies outside its batch"));
    }
}
