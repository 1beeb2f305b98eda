//! Indices and extracts: as a user makes and takes them, compared with the tools of the field.

use std::path::{Path, PathBuf};
use std::process::Command;

use wt_tests::capture;
use wt_tests::corpus::Scratch;
use wt_tests::program::{Outcome, capture_argument, run};
use wt_wire::{
    ByteOrder, CaptureReader, Direction, LinkType, PcapNgWriter, PcapVariant, PcapWriter,
    TimeResolution,
};

/// A trace of about 4 MB: packets of carried captures again and again, a second apart; those of DNS near the end only.
fn long(scratch: &Scratch, name: &str) -> PathBuf {
    let path = scratch.path(name);
    let file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut writer =
        PcapWriter::new(file, PcapVariant::Nano, ByteOrder::Little, LinkType(1), 65535).unwrap();
    let mut packets: Vec<(bool, u32, Vec<u8>)> = Vec::new();
    for name in ["http.pcap", "dns.pcap"] {
        let mut reader = CaptureReader::open(&capture(name)).unwrap();
        while let Some(record) = reader.next().unwrap() {
            packets.push((name == "dns.pcap", record.len, record.data.to_vec()));
        }
    }
    let mut at_s = 1_700_000_000;
    while at_s < 1_700_020_000 {
        for (is_dns, len, data) in &packets {
            if *is_dns && at_s < 1_700_019_000 {
                continue;
            }
            writer.write(at_s * 1_000_000_000, *len, data).unwrap();
            at_s += 1;
        }
    }
    path
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// (blocks read, of), (bytes read, of) as the command says.
fn said(extract: &Outcome) -> ((u64, u64), (u64, u64)) {
    let line = extract.stderr.lines().find(|line| line.contains(" bytes ("));
    let line = line.unwrap_or_else(|| panic!("{}", extract.stderr));
    let pair = |what: &str| -> Option<(u64, u64)> {
        let before: Vec<&str> = line[..line.find(what)?].split_whitespace().collect();
        let [.., read, "of", of] = before[..] else { panic!("{line}") };
        Some((read.parse().unwrap(), of.parse().unwrap()))
    };
    (pair("indexed blocks").unwrap_or_default(), pair("bytes (").expect("bytes"))
}

/// Packets as tshark tells them: time and length.
fn packets(path: &Path) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.len",
        "-e",
        "ip.src",
        "-r",
    ]);
    let output = command.arg(path).output().expect("tshark starts: .ci/setup installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn an_extract_is_the_same_with_and_without_an_index() {
    let scratch = Scratch::new().unwrap();
    let trace = long(&scratch, "long.pcap");
    let argument = text(&trace);
    let (with, without) = (scratch.path("with.pcapng"), scratch.path("without.pcapng"));
    let built = run(["index", "build", "--index-ratio", "64KiB", &argument]).expect_status(0);
    assert!(built.stderr.contains("long.pcap.wti"), "{}", built.stderr);
    let cases: [&[&str]; 6] = [
        &["--from", "2023-11-15T01:00:00Z", "--to", "2023-11-15T01:05:00Z"],
        &["--from", "1700010000", "--to", "1700010010.5", "--filter", "tcp"],
        &["--from", "-10s"],
        &["--to", "+10s"],
        &["--filter", "udp and port 53"],
        &["--from", "+60s", "--to", "+2m", "--where", "len > 500"],
    ];
    for arguments in cases {
        let extract = |output: &Path, more: &[&str]| {
            let output = text(output);
            let fixed = ["extract", "-r", &argument, "-o", &output];
            run([&fixed[..], arguments, more].concat()).expect_status(0).expect_no_output()
        };
        let by_index = extract(&with, &[]);
        extract(&without, &["--no-index"]);
        let found = packets(&with);
        assert_eq!(found, packets(&without), "{arguments:?}");
        assert!(!found.is_empty(), "{arguments:?}");
        let ((blocks, of), (bytes, of_bytes)) = said(&by_index);
        assert!(blocks < of / 4 && bytes < of_bytes / 4, "{arguments:?}: {}", by_index.stderr);
    }
    // The tools of the field find as many.
    let output = text(&with);
    run(["extract", "-r", &argument, "--filter", "udp and port 53", "-o", &output])
        .expect_status(0);
    let tcpdump = Command::new("tcpdump").args(["-n", "-r", &argument, "udp and port 53"]).output();
    let tcpdump = tcpdump.expect("tcpdump starts: .ci/setup installs it").stdout;
    assert_eq!(packets(&with).len(), String::from_utf8_lossy(&tcpdump).lines().count());
}

#[test]
fn nothing_wanted_is_an_empty_extract() {
    let scratch = Scratch::new().unwrap();
    let output = scratch.path("none.pcapng");
    let http = capture_argument("http.pcap");
    let range = ["--from", "2001-01-01", "--to", "2001-01-02"];
    let arguments = ["extract", "-r", &http, "-o", &text(&output)];
    run([&arguments[..], &range].concat())
        .expect_status(0)
        .expect_said("no packet is wanted")
        .expect_said("the packets are from 2026-11-21T12:17:36.435015Z to ");
    assert!(packets(&output).is_empty());
    // To standard output, for a pipe.
    let arguments = ["extract", "-r", &http, "-o", "-", "--filter", "tcp port 80"];
    let piped = run(arguments).expect_status(0);
    assert!(piped.stdout.len() > 1000);
}

#[test]
fn a_store_is_extracted_from_by_its_segments() {
    let scratch = Scratch::new().unwrap();
    let trace = long(&scratch, "long.pcap");
    let store = text(&scratch.path("store"));
    let arguments = ["record", "-r", &text(&trace), "-w", &store, "--segment-size", "1MiB"];
    run([&arguments[..], &["--no-index"]].concat()).expect_status(0);
    run(["index", "verify", &store]).expect_status(1).expect_said("there is no index");
    let (bare, indexed) = (scratch.path("bare.pcapng"), scratch.path("indexed.pcapng"));
    let extract = |output: &Path| {
        let range = ["--from", "+5000s", "--to", "+5100s"];
        run([&["extract", "-w", &store, "-o", &text(output)][..], &range].concat()).expect_status(0)
    };
    // Ends of segments tell which has it.
    let (_, (bytes, of)) = said(&extract(&bare));
    assert!(3 * bytes <= 2 * of, "{bytes} of {of}");
    run(["index", "build", "--index-ratio", "64KiB", &store]).expect_status(0);
    run(["index", "verify", &store]).expect_status(0);
    let (_, (less, _)) = said(&extract(&indexed));
    assert!(less < bytes / 2, "{less} of {bytes}");
    let found = packets(&indexed);
    assert_eq!((found.len(), &found), (100, &packets(&bare)));
    // A query of the store is as before.
    let count = run(["query", "SELECT count(*) AS n FROM packet", "-r", &store]).expect_status(0);
    assert_eq!(count.stdout, format!("n\n{}\n", packets(&trace).len()));
    // A recorder does it as it goes, as coarsely as it is told.
    let other = text(&scratch.path("other"));
    let arguments = ["record", "-r", &text(&trace), "-w", &other, "--segment-size", "1MiB"];
    run([&arguments[..], &["--index-ratio", "64KiB"]].concat()).expect_status(0);
    run(["index", "verify", &other]).expect_status(0);
    let range = ["--from", "+5000s", "--to", "+5100s", "-o", &text(&bare)];
    let of_other = run([&["extract", "-w", &other][..], &range].concat()).expect_status(0);
    assert_eq!(said(&of_other), said(&extract(&indexed)), "as if it had been made later");
    assert_eq!(packets(&bare), found);
    // Several inputs are merged.
    let both = scratch.path("both.pcapng");
    let range = ["--from", "+5000s", "--to", "+5100s", "-o", &text(&both)];
    run([&["extract", "-w", &store, "-r", &text(&trace)][..], &range].concat()).expect_status(0);
    assert_eq!(packets(&both).len(), 200);
}

/// A large store is read by several threads; what they extract and say is what one does, also around damage.
#[test]
fn cores_extract_what_one_does() {
    let scratch = Scratch::new().unwrap();
    let trace = scratch.path("large.pcapng");
    let file = std::io::BufWriter::new(std::fs::File::create(&trace).unwrap());
    let mut writer = PcapNgWriter::new(file, ByteOrder::Little).unwrap();
    for name in ["eth0", "eth1"] {
        writer.interface(Some(name), LinkType(1), 0, TimeResolution::NANO).unwrap();
    }
    let mut udp = vec![0; 12];
    udp.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1, 4, 0]);
    for number in 0..60_000_u64 {
        let at = (1_700_000_000 + number) * 1_000_000_000;
        let mut data = udp.clone();
        data.extend(u16::to_be_bytes(if number.is_multiple_of(7) { 53 } else { 123 }));
        data.resize(1000 + (number % 500) as usize, number as u8);
        // The second interface is met late.
        let interface = u32::from(number > 40_000 && number.is_multiple_of(3));
        writer.write(interface, at, 1600, Direction::Unknown, &data).unwrap();
    }
    drop(writer);
    let store = text(&scratch.path("store"));
    let size = ["--segment-size", "40MiB", "--no-index"];
    run([&["record", "-r", &text(&trace), "-w", &store][..], &size].concat()).expect_status(0);
    let extract = |cores: &str, more: &[&str], status: i32| {
        let output = scratch.path("out.pcapng");
        let fixed = ["extract", "-w", &store, "-o", &text(&output), "--cores", cores];
        let told = run([&fixed[..], more].concat()).expect_status(status);
        (std::fs::read(output).unwrap(), told.stderr)
    };
    let conditions = [
        &["--filter", "udp port 53"][..],
        &["--from", "+1000s", "--to", "+45000s"],
        &["--where", "destPort = 123 AND time > 1700050000", "--protocol", "udp"],
        &["--filter", "tcp"],
    ];
    for more in conditions {
        let (alone, said) = extract("1", more, 0);
        for cores in ["2", "5"] {
            assert!(extract(cores, more, 0) == (alone.clone(), said.clone()), "{more:?}: {cores}");
        }
    }
    // Frames are damaged: left out, and told in their order.
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcapng"))
        .collect();
    segments.sort();
    for (segment, at) in segments.iter().zip([30_000_000, 5_000_000]) {
        let mut bytes = std::fs::read(segment).unwrap();
        bytes[at] ^= 0xff;
        std::fs::write(segment, bytes).unwrap();
    }
    let (alone, said) = extract("1", conditions[0], 1);
    assert!(said.contains("left out"), "{said}");
    assert!(extract("3", conditions[0], 1) == (alone, said));
}

/// What other programs write is indexed and queried as what this one writes.
#[test]
fn traces_of_other_programs_are_indexed_and_queried() {
    let scratch = Scratch::new().unwrap();
    let trace = long(&scratch, "long.pcap");
    let written = |name: &str, program: &str, arguments: &[&str]| {
        let path = scratch.path(name);
        let done = Command::new(program).args(arguments).arg(&path).output();
        let done = done.unwrap_or_else(|_| panic!("{program}: .ci/setup installs it"));
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        path
    };
    let from = text(&trace);
    let query = "SELECT tb, count(*) AS n FROM udp GROUP BY time/500 AS tb";
    let expected = run(["query", query, "-r", &from]).expect_status(0).stdout;
    assert!(expected.lines().count() > 2, "{expected}");
    for path in [
        written("tshark.pcapng", "tshark", &["-r", &from, "-w"]),
        written("editcap.pcap", "editcap", &["-F", "nsecpcap", &from]),
        written("tcpdump.pcap", "tcpdump", &["-Z", "root", "-r", &from, "-w"]),
    ] {
        let argument = text(&path);
        run(["index", "build", "--index-ratio", "64KiB", &argument]).expect_status(0);
        run(["index", "verify", &argument]).expect_status(0);
        let answer = run(["query", query, "-r", &argument]).expect_status(0).stdout;
        assert_eq!(answer, expected, "{argument}");
        let (by_index, by_scan) = (scratch.path("index.pcapng"), scratch.path("scan.pcapng"));
        let range = ["--from", "+19500s", "--filter", "udp and port 53"];
        for (output, more) in [(&by_index, &[][..]), (&by_scan, &["--no-index"][..])] {
            let fixed = ["extract", "-r", &argument, "-o", &text(output)];
            let extract = run([&fixed[..], &range, more].concat()).expect_status(0);
            if more.is_empty() {
                let ((blocks, of), _) = said(&extract);
                assert!(blocks < of / 4, "{}", extract.stderr);
            }
        }
        let found = packets(&by_index);
        assert!(!found.is_empty() && found == packets(&by_scan), "{argument}");
    }
}

#[test]
fn indices_are_described_and_verified() {
    let scratch = Scratch::new().unwrap();
    let trace = long(&scratch, "long.pcap");
    let argument = text(&trace);
    run(["index", "info", &argument]).expect_status(1).expect_said("there is no index");
    run(["index", "build", &argument]).expect_status(0);
    let info = run(["index", "info", &argument]).expect_status(0);
    for line in
        ["entries ", "one for each 1048576 bytes", "order       of time", "% of wrong maybes"]
    {
        assert!(info.stdout.contains(line), "{}", info.stdout);
    }
    run(["index", "verify", &argument]).expect_status(0);
    let mut bytes = std::fs::read(&trace).unwrap();
    let modified = std::fs::metadata(&trace).unwrap().modified().unwrap();
    bytes[2_000_000] ^= 1;
    std::fs::write(&trace, &bytes).unwrap();
    run(["index", "verify", &argument]).expect_status(1).expect_said("changed later");
    std::fs::File::options().write(true).open(&trace).unwrap().set_modified(modified).unwrap();
    run(["index", "verify", &argument]).expect_status(1).expect_said("is not what was indexed");
    // Foreign traces, and what is none.
    let foreign = scratch.path("foreign.pcapng");
    std::fs::copy(capture("campus.pcapng"), &foreign).unwrap();
    run(["index", "build", &text(&foreign)]).expect_status(0);
    run(["index", "verify", &text(&foreign)]).expect_status(0);
    let packed = scratch.path("packed.pcapng.gz");
    std::fs::copy(capture("campus.pcapng.gz"), &packed).unwrap();
    run(["index", "build", &text(&packed)])
        .expect_status(1)
        .expect_said("is compressed")
        .expect_said("decompress it");
    run(["index", "build", "/nonexistent.pcap"]).expect_status(2);
    run(["index", "build", "--index-ratio", "1KiB", &argument])
        .expect_status(2)
        .expect_said("64KiB");
    let cargo = text(&wt_tests::tests_dir().join("Cargo.toml"));
    run(["index", "build", &cargo]).expect_status(1);
}

#[test]
fn wrong_extracts_are_refused() {
    let http = capture_argument("http.pcap");
    let refused = |arguments: &[&str], status: i32, said: &str| {
        let all = [&["extract", "-o", "-"][..], arguments].concat();
        run(all).expect_status(status).expect_no_output().expect_said(said);
    };
    refused(&["-r", &http, "--from", "yesterday"], 1, "is no time");
    refused(&["-r", &http, "--from", "2026-02-01", "--to", "2026-01-01"], 1, "later than --to");
    refused(&["-r", &http, "--filter", "tcp prt 80"], 1, "prt");
    refused(&["-r", &http, "--where", "lne > 5"], 1, "lne");
    refused(&["-r", "/nonexistent.pcap"], 2, "nonexistent");
    refused(&["-w", "/nonexistent"], 2, "nonexistent");
    refused(&["-r", "-", "--from", "+1s"], 1, "standard input");
    run(["extract", "-r", &http, "-o", "/nonexistent/x.pcapng"])
        .expect_status(2)
        .expect_said("cannot write");
}
