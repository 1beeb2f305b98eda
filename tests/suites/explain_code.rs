//! `wiretable explain --code=xdp` and `--emit`: the program that would run next to the driver, and its object file.
//! `UPDATE=1` rewrites the golden file.

use wt_tests::corpus::Scratch;
use wt_tests::program::run;

const BATCH: &str = "DEFINE { query_name 'arps'; }
    SELECT tb, count(*) AS n FROM eth WHERE eth_type = 0x806 GROUP BY time/60 AS tb;
    DEFINE { query_name 'halves'; } SELECT tb, max(len * 0.5) AS m FROM packet GROUP BY time/60 AS tb";

/// The listing without what the machine says: the verifier is asked only where programs may be loaded.
fn without_kernel(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("  verified      ") {
        Some(_) => "  verified      …\n".to_owned(),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_listing_says_what_runs_where_and_what_it_takes() {
    let said = run(["explain", "--code=xdp", BATCH]).expect_status(0).expect_quiet().stdout;
    let verified = said.lines().find_map(|line| line.strip_prefix("  verified      "));
    let verified = verified.expect("a line about the verifier");
    assert!(
        verified.starts_with("unknown: ") || verified.ends_with(" instructions, by this kernel"),
        "{verified}"
    );
    let listing = said.find("XDP program").map_or("", |at| &said[at..]);
    let actual = without_kernel(listing);
    let path = wt_tests::tests_dir().join("golden/explain-code.txt");
    if wt_tests::update_mode() {
        std::fs::write(&path, &actual).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file");
    assert_eq!(actual, expected);
}

#[test]
fn both_forms_for_people_are_printed_unless_one_is_named() {
    let text = "SELECT len FROM packet WHERE len > 100";
    let both = run(["explain", "--code", text]).expect_status(0).stdout;
    assert!(both.contains("\nprogram default\n") && both.contains("\nXDP program default\n"));
    let ir = run(["explain", "--code=ir", text]).expect_status(0).stdout;
    assert!(ir.contains("\nprogram default\n") && !ir.contains("XDP program"), "{ir}");
    let xdp = run(["explain", "--code=xdp", text]).expect_status(0).stdout;
    assert!(!xdp.contains("\nprogram default\n") && xdp.contains("exit"), "{xdp}");
    run(["explain", "--code=bpf", text]).expect_status(2).expect_no_output().expect_said("xdp");
}

#[test]
fn the_plan_names_what_shows_only_when_code_is_made() {
    // The type of the state is what the planner does not look at.
    let text = "SELECT tb, max(srcIP) AS m FROM ip GROUP BY time/60 AS tb";
    let said = run(["explain", text]).expect_status(0).stdout;
    assert!(said.contains("host only: an aggregate of INET as INET"), "{said}");
    assert!(said.contains("1 LFTA, 0 portable"), "{said}");
}

#[test]
fn an_object_file_is_written_and_only_when_there_is_one_program() {
    let scratch = Scratch::new().expect("a directory");
    let file = scratch.path("arps.o");
    let name = file.to_str().expect("a name");
    run(["explain", "--emit", name, BATCH]).expect_status(0).expect_quiet();
    let bytes = std::fs::read(&file).expect("the object");
    assert_eq!(bytes[..4], *b"\x7fELF");
    // Little-endian, 64 bits, machine 247: BPF.
    assert_eq!((bytes[4], bytes[5], bytes[18]), (2, 1, 247));

    let none = scratch.path("none.o");
    let name = none.to_str().expect("a name");
    run(["explain", "--emit", name, "SELECT data FROM udp"])
        .expect_status(1)
        .expect_no_output()
        .expect_said("`default_query` is host only: reads a run of bytes");
    let two = "DEFINE { query_name 'x'; } SELECT len FROM a.packet; DEFINE { query_name 'y'; } SELECT len FROM b.packet";
    run(["explain", "-i", "a", "-i", "b", "--emit", name, two])
        .expect_status(1)
        .expect_no_output()
        .expect_said("--emit writes one program, and there are 2");
    assert!(!none.exists(), "nothing is written when the answer is no");
    let nowhere = scratch.path("no/such/directory.o");
    let name = nowhere.to_str().expect("a name");
    run(["explain", "--emit", name, BATCH])
        .expect_status(2)
        .expect_no_output()
        .expect_said("No such file or directory");
    run(["explain", "--emit"]).expect_status(2).expect_no_output();
}

#[test]
fn whose_stamps_packets_of_a_device_carry_is_said() {
    let text = "SELECT time, len FROM packet";
    let said = run(["explain", "-i", "lo", text]).expect_status(0).stdout;
    assert!(said.contains("\nstamps      lo: by the kernel"), "{said}");
    let said = run(["explain", "-i", "no-device", text]).expect_status(0).stdout;
    assert!(!said.contains("\nstamps "), "{said}");
}

#[test]
fn machine_code_of_many_filters_says_what_is_asked_of_all_packets_in_arrays() {
    let filters = ["tcp", "udp", "icmp", "ipv4", "ipv6", "tcp WHERE destPort = 80"];
    let query = |(number, filter): (usize, &&str)| {
        format!("DEFINE {{ query_name q{number}; }} SELECT count(*), sum(len) FROM {filter};")
    };
    let batch: String = filters.iter().enumerate().map(query).collect();
    let code = run(["explain", "--code=machine", &batch]).expect_status(0).stdout;
    let (_, asked) = code
        .split_once("filters, of all packets in arrays, whose numbers are as they lie:\n")
        .unwrap_or_else(|| panic!("{code}"));
    let takes: Vec<&str> = asked.lines().filter(|line| line.contains(" += packets of ")).collect();
    assert_eq!(takes.len(), filters.len(), "{asked}");
    // Most significant byte first.
    let is_port = |line: &&&str| line.contains(&format!(" == {:#x},", 80_u16.to_be()));
    assert_eq!(takes.iter().filter(is_port).count(), 1, "{asked}");
}

/// A filter is one program for each link type that there may be; code is made for one.
#[test]
fn machine_code_of_a_tcpdump_filter_is_that_of_its_link_type() {
    let lines = |condition: &str| {
        let text = format!("SELECT count(*) AS n FROM packet WHERE {condition}");
        run(["explain", "--code=machine", &text]).expect_status(0).stdout.lines().count()
    };
    let (all, some) = (lines("len > 0"), lines("pcap_filter('tcp port 80')"));
    assert!(some < all + 300, "{some} lines, and {all} without a filter");
}
