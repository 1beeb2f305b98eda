//! What the command reads, says and books of it.

use std::fs;
use std::path::Path;

use wt_tests::corpus::Scratch;
use wt_tests::program::{Outcome, run};
use wt_trace::index;
use wt_trace::store::Store;

use crate::made::{START_S, ordered, text};

fn by_index_and_not(arguments: &[&str]) -> (Outcome, Outcome) {
    let with = run([arguments, &["--ledger"]].concat()).expect_status(0);
    let without = run([arguments, &["--no-index"]].concat()).expect_status(0);
    assert_eq!(with.stdout, without.stdout, "{arguments:?}");
    (with, without)
}

/// The row of a table of the books.
fn booked(outcome: &Outcome, table: &str, row: &str) -> Vec<u64> {
    let lines = outcome.stderr.lines().skip_while(|line| !line.starts_with(table)).skip(1);
    let mut lines = lines.filter(|line| line.split_whitespace().next() == Some(row));
    let line = lines.next().unwrap_or_else(|| panic!("{}", outcome.stderr));
    line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect()
}

#[test]
fn a_query_reads_what_it_needs_and_the_books_say_so() {
    let scratch = Scratch::new().unwrap();
    let trace = text(&ordered(&scratch, "a.pcap"));
    run(["index", "build", "--index-ratio", "64KiB", &trace]).expect_status(0);
    let second = START_S + 1000;
    let count = format!(
        "SELECT tb, count(*) AS n FROM packet WHERE time >= {second} AND time < {} GROUP BY time/10 AS tb",
        second + 100
    );
    let (with, _) = by_index_and_not(&["query", &count, "-r", &trace]);
    assert_eq!(with.stdout.lines().count(), 11, "{}", with.stdout);
    let index = booked(&with, "index", "default");
    let [records, skipped, _, _, blocks, of_blocks, bytes, of_bytes] = index[..] else {
        panic!("{index:?}");
    };
    assert_eq!(records + skipped, 2500);
    assert!(blocks <= 3 && of_blocks > 20 && 8 * bytes < of_bytes, "{index:?}");
    assert_eq!(booked(&with, "packets", "default")[0], records);
    // EXPLAIN says the same before, `--analyze` behind.
    let explained = run(["explain", &count, "-r", &trace]).expect_status(0).stdout;
    let amounts = format!("{blocks} of {of_blocks} indexed blocks, {bytes} of {of_bytes} bytes");
    assert!(explained.contains(&amounts), "{explained}");
    assert!(explained.contains("by index what may meet time >= "), "{explained}");
    let analyzed = run(["explain", "--analyze", &count, "-r", &trace]).expect_status(0).stdout;
    assert!(analyzed.contains(&format!("read        default: {amounts}")), "{analyzed}");
    let unused = run(["explain", "--no-index", &count, "-r", &trace]).expect_status(0).stdout;
    assert!(!unused.contains("indexed blocks"), "{unused}");
    let all = "SELECT count(*) AS n FROM packet";
    let explained = run(["explain", all, "-r", &trace]).expect_status(0).stdout;
    assert!(explained.contains("everything: no predicate of"), "{explained}");
    // A batch needs what one of its queries does, and a configuration reads by index as well.
    let port = "DEFINE { query_name rare; } SELECT time, srcPort FROM udp WHERE srcPort = 1050";
    let batch = format!("DEFINE {{ query_name counts; }} {count}; {port}");
    let (both, _) = by_index_and_not(&["query", &batch, "-r", &trace, "--format", "ndjson"]);
    let wide = booked(&both, "index", "default");
    assert!(wide[4] > blocks && wide[4] < of_blocks / 2, "{wide:?}");
    let config = scratch.path("batch.toml");
    let source = format!("[[source]]\ntraces = ['{trace}']\n[[query]]\ntext = \"{count}\"\n");
    fs::write(&config, source).unwrap();
    let (configured, _) = by_index_and_not(&["run", &text(&config)]);
    assert_eq!(configured.stdout, with.stdout);
    assert_eq!(booked(&configured, "index", "default"), index);
}

#[test]
fn a_store_is_queried_by_its_segments() {
    let scratch = Scratch::new().unwrap();
    let trace = text(&ordered(&scratch, "a.pcap"));
    let store = text(&scratch.path("store"));
    let arguments = ["record", "-r", &trace, "-w", &store, "--segment-size", "1MiB"];
    run(arguments).expect_status(0);
    let named = format!("edge={store}");
    let second = START_S + 1000;
    let count = format!(
        "SELECT tb, count(*) AS n FROM edge.packet WHERE time >= {second} AND time < {} GROUP BY time/10 AS tb",
        second + 30
    );
    let (bare, _) = by_index_and_not(&["query", &count, "--store", &named]);
    assert_eq!(bare.stdout.lines().count(), 4);
    let index = booked(&bare, "index", "edge");
    assert_eq!((index[0] + index[1], index[2], index[3]), (2500, 1, 2), "{index:?}");
    run(["index", "build", "--index-ratio", "64KiB", &store]).expect_status(0);
    let (indexed, _) = by_index_and_not(&["query", &count, "--store", &named]);
    assert_eq!(indexed.stdout, bare.stdout);
    let less = booked(&indexed, "index", "edge");
    assert_eq!(less[0] + less[1], 2500);
    assert!(less[6] < index[6] / 4, "{less:?} of {index:?}");
    let explained = run(["explain", &count, "--store", &named]).expect_status(0).stdout;
    assert!(explained.contains("1 of 2 segments, "), "{explained}");
    assert!(
        explained.contains("cut into pieces for as many threads as --cores says"),
        "{explained}"
    );
    run(["explain", "--analyze", &count, "--store", &named])
        .expect_status(0)
        .stdout
        .contains("1 of 2 segments")
        .then_some(())
        .expect("it says what was read");
    // An index that is not of its segment is told of, and the answer stays.
    let segments = Store::open(Path::new(&store)).unwrap().segments().unwrap();
    let sidecar = index::path_of(&segments[0].path);
    let mut bytes = fs::read(&sidecar).unwrap();
    bytes[20] ^= 1;
    fs::write(&sidecar, &bytes).unwrap();
    let (damaged, _) = by_index_and_not(&["query", &count, "--store", &named]);
    assert!(damaged.stderr.contains("is not used"), "{}", damaged.stderr);
}

#[test]
fn what_is_wrong_with_an_index_is_said_and_changes_no_row() {
    let scratch = Scratch::new().unwrap();
    let path = ordered(&scratch, "a.pcap");
    let trace = text(&path);
    run(["index", "build", "--index-ratio", "64KiB", &trace]).expect_status(0);
    let good = fs::read(index::path_of(&path)).unwrap();
    let second = START_S + 1500;
    let rows =
        format!("SELECT time, len FROM packet WHERE time >= {second} AND time < {}", second + 9);
    let arguments = ["query", &rows, "-r", &trace];
    let (expected, _) = by_index_and_not(&arguments);
    let answers = |said: &str| {
        let (outcome, _) = by_index_and_not(&arguments);
        assert_eq!(outcome.stdout, expected.stdout, "{said}");
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    };
    // Cut off, of another version, of an earlier state of the trace.
    fs::write(index::path_of(&path), &good[..good.len() / 2 + 7]).unwrap();
    answers("what follows is read as a whole");
    fs::write(index::path_of(&path), &good[1..]).unwrap();
    answers("is no index of this version");
    fs::write(index::path_of(&path), &good).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let later = modified + std::time::Duration::from_secs(9);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    answers("the trace was changed later");
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    answers("");
    // Times without packets.
    let early = "SELECT time FROM packet WHERE time < 1000";
    let (none, _) = by_index_and_not(&["query", early, "-r", &trace]);
    assert_eq!(none.stdout, "time\n");
    assert!(none.stderr.contains("has no packet of the time that is asked for"), "{}", none.stderr);
    // No store, no trace.
    let store = format!("s={}", text(&scratch.path("nothing")));
    run(["query", "SELECT time FROM s.packet WHERE time < 5", "--store", &store]).expect_status(2);
    let tests = format!("s={}", text(&wt_tests::tests_dir()));
    run(["query", "SELECT time FROM s.packet WHERE time < 5", "--store", &tests])
        .expect_status(2)
        .expect_said("is no store");
}
