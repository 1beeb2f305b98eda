use super::*;
use crate::generate::{Amount, Profile, Random, Spec, generate};

/// Where each record began, and a sum that depends on all bytes and on no order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    offsets: Vec<u64>,
    sum: u64,
}

impl Task for Seen {
    fn record(&mut self, record: &Record<'_>) {
        self.offsets.push(record.offset);
        let data: u64 = record.data.iter().map(|&b| u64::from(b)).sum();
        self.sum += data + u64::from(record.len) + u64::from(record.seconds);
    }

    fn merge(&mut self, later: Self) {
        self.offsets.extend(later.offsets);
        self.sum += later.sum;
    }

    fn finish(self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

struct TraceFile(PathBuf);

impl TraceFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path =
            std::env::temp_dir().join(format!("wt-bench-{}-{name}.pcap", std::process::id()));
        std::fs::write(&path, bytes).expect("a temporary file");
        Self(path)
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// All ways to go through a file; each must see what `read` does.
fn check_all(name: &str, bytes: &[u8]) -> Seen {
    let file = TraceFile::new(name, bytes);
    let mut none = io::sink();
    let reference = with_read(&file.0, Seen::default(), &mut none).expect("read");
    let mapped = Mapped::open(&file.0).expect("map");
    let mut others = vec![
        ("single", mapped.single(Seen::default(), &mut none)),
        ("ahead", mapped.ahead(Seen::default(), &mut none)),
        ("cursors", mapped.cursors::<_, 8>(Seen::default, false, &mut none)),
        ("two cursors", mapped.cursors::<_, 2>(Seen::default, false, &mut none)),
    ];
    for cores in [2, 3] {
        others.push(("read on cores", mapped.read_on(cores, Seen::default, &mut none)));
        let cursors = mapped.cursors_on::<_, 4>(cores, Seen::default, false, &mut none);
        others.push(("cursors on cores", cursors));
    }
    for (way, seen) in others {
        assert!(seen.expect(way) == reference, "{name}: {way} sees other records than read");
    }
    let shared = mapped.cursors::<_, 8>(Seen::default, true, &mut none).expect("shared");
    assert_eq!((shared.sum, shared.offsets.len()), (reference.sum, reference.offsets.len()));
    reference
}

fn generated(profile: Profile, packets: u64) -> Vec<u8> {
    let spec = Spec { profile, amount: Amount::Packets(packets), flows: 50, ..Spec::default() };
    let mut bytes = Vec::new();
    generate(&spec, &mut bytes).expect("a vector takes all");
    bytes
}

fn file(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 262_144, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (i, packet) in packets.iter().enumerate() {
        for word in [1_700_000_000 + i as u32, 7, packet.len() as u32, packet.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(packet);
    }
    bytes
}

#[test]
fn generated_traces_of_any_length() {
    for packets in [0, 1, 2, 7, 8, 9, 100, 5000] {
        let seen = check_all("generated", &generated(Profile::Imix, packets));
        assert_eq!(seen.offsets.len() as u64, packets);
    }
}

#[test]
fn packets_that_hold_captures_mislead_no_cursor() {
    // Every place in the middle of a packet is a perfect boundary of the capture inside it.
    let inner = generated(Profile::Attack, 180);
    let packets: Vec<Vec<u8>> = (0..40).map(|i| inner[..inner.len() - i * 11].to_vec()).collect();
    let seen = check_all("nested", &file(&packets));
    assert_eq!(seen.offsets.len(), 40);
}

#[test]
fn zeros_and_noise_inside_packets() {
    let mut random = Random::new(9);
    let packets: Vec<Vec<u8>> = (0..300)
        .map(|i| {
            let len = random.below(3000) as usize;
            // A row of zeros is a row of headers of empty records.
            (0..len).map(|_| if i % 2 == 0 { 0 } else { random.draw() as u8 }).collect()
        })
        .collect();
    assert_eq!(check_all("zeros", &file(&packets)).offsets.len(), 300);
}

#[test]
fn records_of_the_greatest_length() {
    let packets: Vec<Vec<u8>> =
        (0..9_u8).map(|i| vec![i; if i % 3 == 0 { CAPLEN_MAX } else { 60 }]).collect();
    assert_eq!(check_all("long", &file(&packets)).offsets.len(), 9);
}

#[test]
fn a_file_that_ends_inside_a_record_is_refused_by_all() {
    let whole = generated(Profile::Imix, 2000);
    for missing in [1, 15, 17, 40] {
        let file = TraceFile::new("cut", &whole[..whole.len() - missing]);
        let mut none = io::sink();
        let cut = |result: Result<Seen, BoundError>| matches!(result, Err(BoundError::Cut { .. }));
        assert!(cut(with_read(&file.0, Seen::default(), &mut none)));
        let mapped = Mapped::open(&file.0).expect("map");
        assert!(cut(mapped.single(Seen::default(), &mut none)));
        assert!(cut(mapped.ahead(Seen::default(), &mut none)));
        assert!(cut(mapped.cursors::<_, 8>(Seen::default, false, &mut none)));
        assert!(cut(mapped.read_on(2, Seen::default, &mut none)));
        assert!(cut(mapped.cursors_on::<_, 8>(2, Seen::default, false, &mut none)));
    }
}

#[test]
fn other_formats_are_refused() {
    let mut none = io::sink();
    let text = TraceFile::new("text", b"this is no capture, but long enough for its header");
    let refused = with_read(&text.0, Seen::default(), &mut none);
    assert!(matches!(refused, Err(BoundError::Format { .. })));
    let mut raw = file(&[]);
    raw[20] = 101;
    let raw = TraceFile::new("raw", &raw);
    assert!(matches!(Mapped::open(&raw.0), Err(BoundError::LinkType { link_type: 101, .. })));
    let empty = TraceFile::new("empty", b"");
    assert!(matches!(Mapped::open(&empty.0), Err(BoundError::Format { .. })));
}
