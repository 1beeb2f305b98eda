use super::*;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("wt-spool-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn open(&self) -> Spool {
        Spool::open(&self.0, 1 << 20, false).expect("opens")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn batch(seq: u64) -> Record {
    Record {
        kind: Kind::Batch,
        epoch: 7,
        seq,
        rows: 3,
        at_min: -1,
        at_max: i64::MAX,
        completeness: 0.5,
        lost_bytes: 0,
    }
}

fn waiting(spool: &Spool) -> Vec<u64> {
    spool.waiting.iter().map(|(r, _)| r.seq).collect()
}

#[test]
fn what_is_not_sent_is_there_again() {
    let dir = Dir::new("again");
    let mut spool = dir.open();
    for seq in 0..4 {
        spool.append(batch(seq), format!("payload {seq}").as_bytes()).unwrap();
    }
    spool.sent(1).unwrap();
    drop(spool);
    let mut spool = dir.open();
    assert_eq!(waiting(&spool), [1, 2, 3]);
    assert_eq!(spool.waiting(), (3, 9));
    let (record, place) = spool.first(0)[0];
    assert_eq!(record, batch(1));
    assert_eq!(spool.first(200).len(), 2, "as many as fit");
    assert_eq!(read_payload(&spool.path_of(place), place).unwrap(), b"payload 1");
    for _ in 0..3 {
        spool.sent(1).unwrap();
    }
    assert!(spool.is_empty() && spool.first(1 << 20).is_empty());
    assert_eq!(spool.bytes, 0);
    assert_eq!(waiting(&dir_reopened(&dir, spool)), [] as [u64; 0]);
}

#[test]
fn numbers_go_on_when_everything_was_sent() {
    let dir = Dir::new("numbers");
    let mut spool = dir.open();
    for seq in 0..3 {
        spool.append(batch(seq), b"x").unwrap();
        spool.sent(1).unwrap();
    }
    let mut spool = dir_reopened(&dir, spool);
    spool.append(batch(3), b"y").unwrap();
    assert_eq!(waiting(&dir_reopened(&dir, spool)), [3]);
}

fn dir_reopened(dir: &Dir, spool: Spool) -> Spool {
    drop(spool);
    dir.open()
}

#[test]
fn a_spool_has_one_process() {
    let dir = Dir::new("busy");
    let _spool = dir.open();
    assert!(matches!(Spool::open(&dir.0, 1, false), Err(SpoolError::Busy(_))));
}

#[test]
fn it_is_bounded() {
    let dir = Dir::new("bound");
    let mut spool = Spool::open(&dir.0, 1000, false).unwrap();
    assert!(spool.has_room(900));
    assert!(!spool.has_room(1000));
    spool.append(batch(0), &[0; 900]).unwrap();
    assert!(!spool.has_room(0));
    spool.sent(1).unwrap();
    assert!(spool.has_room(900));
}

/// Every way in which a segment can end, and every bit of it flipped: the records before the damage are there, those after it are not.
#[test]
fn damage_ends_a_segment_and_nothing_else() {
    let dir = Dir::new("damage");
    let mut spool = dir.open();
    for seq in 0..3 {
        spool.append(batch(seq), b"twenty bytes of rows").unwrap();
    }
    drop(spool);
    let path = dir.0.join("00000001.seg");
    let whole = fs::read(&path).unwrap();
    let record = whole.len() / 3;
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let spool = dir.open();
        assert_eq!(waiting(&spool).len(), cut / record, "cut at {cut}");
        assert_eq!(spool.damaged(), u64::from(cut % record != 0));
        drop(spool);
        fs::write(&path, &whole).unwrap();
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        let spool = dir.open();
        assert_eq!(waiting(&spool).len(), bit / 8 / record, "bit {bit}");
        drop(spool);
    }
}

#[test]
fn appending_goes_on_in_a_new_segment_after_damage() {
    let dir = Dir::new("goes-on");
    let mut spool = dir.open();
    spool.append(batch(0), b"x").unwrap();
    drop(spool);
    let path = dir.0.join("00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"WTB1 half a rec");
    fs::write(&path, bytes).unwrap();
    let mut spool = dir.open();
    spool.append(batch(1), b"y").unwrap();
    assert_eq!(waiting(&dir_reopened(&dir, spool)), [0, 1]);
}

#[test]
fn an_unfinished_run_is_known() {
    let dir = Dir::new("epoch");
    let mut spool = dir.open();
    assert_eq!(spool.unfinished(), None);
    spool.mark_epoch(7, false).unwrap();
    assert_eq!(spool.unfinished(), Some((7, 0)));
    for seq in 0..2 {
        spool.append(batch(seq), b"x").unwrap();
        spool.sent(1).unwrap();
    }
    let mut spool = dir_reopened(&dir, spool);
    assert_eq!(spool.unfinished(), Some((7, 2)));
    spool.append(batch(2), b"x").unwrap();
    let spool = dir_reopened(&dir, spool);
    assert_eq!(spool.unfinished(), Some((7, 3)));
    spool.mark_epoch(7, true).unwrap();
    assert_eq!(spool.unfinished(), None);
}

#[test]
fn columns_are_remembered() {
    let dir = Dir::new("columns");
    let spool = dir.open();
    assert!(!spool.knows("[]"));
    spool.remember("[]").unwrap();
    assert!(spool.knows("[]") && !spool.knows("[1]"));
}
