use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use wt_catalog::Ordering as Ordered;
use wt_plan::physical::ColumnInfo;

use crate::db::cluster::Cluster;
use crate::db::migrate::{LOCK_TIMEOUT, migrate};
use crate::db::programs::Programs;

use super::*;

#[test]
fn digests_do_not_change() {
    // Keys in databases out there depend on these.
    assert_eq!(digest(b""), 0x65f9_4e72_4211_1192);
    assert_eq!(digest(b"wiretable"), digest(b"wiretable"));
    assert_ne!(digest(b"a"), digest(b"b"));
}

#[test]
fn names_fold_as_postgres_folds_them() {
    assert_eq!(relation_of("TopTalkers").unwrap(), "toptalkers");
    let long = relation_of(&"x".repeat(51)).unwrap_err().to_string();
    assert!(long.contains("51 bytes"), "{long}");
}

/// A cluster that goes with the test.
struct TestCluster {
    cluster: Cluster,
    dir: PathBuf,
    url: DatabaseUrl,
}

impl TestCluster {
    fn start(name: &str) -> Option<Self> {
        if Programs::find(None).is_err() {
            let required = std::env::var_os("WT_REQUIRE_POSTGRES").is_some_and(|v| v == "1");
            assert!(!required, "Postgres is required and not installed: run .ci/setup");
            eprintln!("SKIPPED: Postgres is not installed");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("wt-sink-{}-{name}", std::process::id()));
        let cluster = Cluster::new(&dir.join("db"), None).unwrap();
        cluster.start(None).unwrap();
        let url = DatabaseUrl::parse(&cluster.url().unwrap()).unwrap();
        migrate(&url, LOCK_TIMEOUT).unwrap();
        Some(Self { cluster, dir, url })
    }

    fn target(&self, relation: &str, replay: Option<u64>) -> PostgresTarget {
        PostgresTarget {
            url: self.url.clone(),
            relation: relation.to_owned(),
            appliance: "test".to_owned(),
            spool: self.dir.join("spool"),
            spool_bytes_max: 1 << 30,
            keep: None,
            patience: Duration::from_secs(60),
            replay,
        }
    }

    fn texts(&self, statement: &str) -> Vec<String> {
        let mut client = self.url.connect().unwrap();
        let rows = client.query(statement, &[]).unwrap();
        rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()).collect()
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        let _ = self.cluster.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn schema(columns: &[(&str, Type)]) -> Schema {
    let column = |(name, ty): &(&str, Type)| ColumnInfo {
        name: (*name).to_owned(),
        ty: *ty,
        ordering: Ordered::Varying,
        window: false,
        subtype: None,
    };
    Schema { columns: columns.iter().map(column).collect() }
}

/// Values of every type, the extremes among them, and what Postgres is to show for each.
#[test]
fn every_type_comes_back_as_it_went() {
    let Some(test) = TestCluster::start("types") else { return };
    let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let cases: Vec<(Type, Vec<(Value, &str)>)> = vec![
        (Type::Bool, vec![(Value::Bool(true), "true"), (Value::Bool(false), "false")]),
        (Type::Ushort, vec![(Value::Uint(0), "0"), (Value::Uint(65_535), "65535")]),
        (Type::Uint, vec![(Value::Uint(u64::from(u32::MAX)), "4294967295")]),
        (Type::Int, vec![(Value::Int(i64::from(i32::MIN)), "-2147483648"), (Value::Int(7), "7")]),
        (
            Type::Ullong,
            vec![
                (Value::Uint(0), "0"),
                (Value::Uint(9_999), "9999"),
                (Value::Uint(10_000), "10000"),
                (Value::Uint(1_000_000_000_000), "1000000000000"),
                (Value::Uint(u64::MAX), "18446744073709551615"),
            ],
        ),
        (
            Type::Llong,
            vec![
                (Value::Int(i64::MIN), "-9223372036854775808"),
                (Value::Int(i64::MAX), "9223372036854775807"),
            ],
        ),
        (
            Type::Float,
            vec![
                (Value::Float(-0.1), "-0.1"),
                (Value::Float(f64::NAN), "NaN"),
                (Value::Float(f64::NEG_INFINITY), "-Infinity"),
            ],
        ),
        (Type::Ip, vec![(Value::Ip(Ipv4Addr::new(192, 0, 2, 1)), "192.0.2.1/32")]),
        (Type::Ipv6, vec![(Value::Ipv6(v6), "2001:db8::1/128")]),
        (
            Type::Inet,
            vec![
                (Value::Inet(IpAddr::V4(Ipv4Addr::BROADCAST)), "255.255.255.255/32"),
                (Value::Inet(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), "::/128"),
            ],
        ),
        (
            Type::Prefix,
            vec![
                (Value::Prefix(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8), "10.0.0.0/8"),
                (Value::Prefix(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0), "::/0"),
            ],
        ),
        (Type::Mac, vec![(Value::Mac([2, 0, 0, 0xaa, 0xff, 1]), "02:00:00:aa:ff:01")]),
        (
            Type::String,
            vec![
                (Value::bytes("GET / äöü"), "GET / äöü"),
                (Value::bytes(b""), ""),
                (Value::bytes(b"a\0b\xff"), "a\\x00b\\xff"),
            ],
        ),
        (Type::Bytes, vec![(Value::bytes(b"\0\xff"), "\\x00ff"), (Value::bytes(b""), "\\x")]),
        (Type::TimeVal, vec![(Value::TimeVal(1_795_651_200_123), "2026-11-26 00:00:00.123+00")]),
        (
            Type::Time,
            vec![
                (Value::Time(0), "1970-01-01 00:00:00+00"),
                (Value::Time(4_294_967_295_999_999_999), "2106-02-07 06:28:15.999999+00"),
                (Value::Time(1_795_651_200_000_001_999), "2026-11-26 00:00:00.000001+00"),
            ],
        ),
        (
            Type::Duration,
            vec![
                (Value::Duration(-1_500_000_000), "-00:00:01.5"),
                (Value::Duration(90_061_000_001_000), "25:01:01.000001"),
            ],
        ),
    ];
    assert_eq!(cases.len(), Type::ALL.len());
    for (ty, values) in cases {
        let name = format!("t_{}", ty.name().to_lowercase());
        let mut writer =
            PostgresWriter::open(test.target(&name, Some(1)), &schema(&[("V", ty)])).unwrap();
        for (value, _) in &values {
            writer.row(std::slice::from_ref(value)).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        let there = test.texts(&format!("SELECT v::text FROM result.{name} ORDER BY ctid"));
        let meant: Vec<&str> = values.iter().map(|(_, text)| *text).collect();
        assert_eq!(there, meant, "{ty}");
    }
}

/// A sink that is dropped without an end leaves its whole batches for the next.
#[test]
fn what_was_sealed_survives_its_writer() {
    let Some(test) = TestCluster::start("sealed") else { return };
    let columns = schema(&[("n", Type::Uint)]);
    let mut writer = PostgresWriter::open(test.target("kept", None), &columns).unwrap();
    for n in 0..BATCH_ROWS + 5 {
        writer.row(&[Value::Uint(n)]).unwrap();
    }
    drop(writer);
    let mut writer = PostgresWriter::open(test.target("kept", None), &columns).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let there = test.texts("SELECT count(*) || ' ' || count(DISTINCT n) FROM result.kept");
    assert_eq!(there, [format!("{BATCH_ROWS} {BATCH_ROWS}")]);
    assert_eq!(test.texts("SELECT reason || ' ' || seq FROM res.gap"), ["crash 1"]);
}

/// An interrupted replay does not give the key of a whole batch to half of one.
#[test]
fn an_interrupted_replay_is_made_whole_by_the_next() {
    let Some(test) = TestCluster::start("interrupted") else { return };
    let columns = schema(&[("n", Type::Uint)]);
    let send = |rows: u64, interrupted: bool| {
        let mut writer = PostgresWriter::open(test.target("whole", Some(9)), &columns).unwrap();
        writer.watch(&Arc::new(AtomicBool::new(interrupted)));
        for n in 0..rows {
            writer.row(&[Value::Uint(n)]).unwrap();
        }
        writer.finish().unwrap();
    };
    let count = || test.texts("SELECT count(*)::text FROM result.whole");
    send(BATCH_ROWS + 100, true);
    assert_eq!(count(), [BATCH_ROWS.to_string()]);
    send(2 * BATCH_ROWS + 7, false);
    assert_eq!(count(), [(2 * BATCH_ROWS + 7).to_string()]);
    assert!(Path::new(&test.dir).is_dir());
}

/// What a query says of its windows stands with the batch.
#[test]
fn the_worst_window_of_a_batch_is_known() {
    let Some(test) = TestCluster::start("windows") else { return };
    let columns = schema(&[("tb", Type::Uint), ("completeness", Type::Float)]);
    let mut writer = PostgresWriter::open(test.target("w", None), &columns).unwrap();
    for share in [1.0, 0.25, 0.75] {
        writer.row(&[Value::Uint(1), Value::Float(share)]).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(test.texts("SELECT completeness::text FROM res.batch"), ["0.25"]);
    assert_eq!(test.texts("SELECT completeness_min::text FROM res.coverage"), ["0.25"]);
}

#[test]
fn what_the_run_lost_meanwhile_stands_beside_each_batch() {
    let Some(test) = TestCluster::start("losses") else { return };
    let columns = schema(&[("tb", Type::Uint)]);
    let mut writer = PostgresWriter::open(test.target("w", None), &columns).unwrap();
    let kernel = Arc::new(AtomicU64::new(5));
    let counted = Arc::clone(&kernel);
    writer.account(
        &(Arc::new(move || vec![("kernel", counted.load(Ordering::Relaxed)), ("driver", 0)])
            as Lost),
    );
    for lost in [5, 5, 12] {
        kernel.store(lost, Ordering::Relaxed);
        writer.row(&[Value::Uint(lost)]).unwrap();
        // Once a window has closed and the pause is over, the rows go.
        std::thread::sleep(BATCH_PAUSE);
        writer.window().unwrap();
    }
    writer.row(&[Value::Uint(9)]).unwrap();
    writer.idle().unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(
        test.texts("SELECT coalesce(lost::text, 'none') FROM res.batch ORDER BY seq"),
        ["{\"kernel\": 5}", "none", "{\"kernel\": 7}", "none"]
    );
    assert_eq!(test.texts("SELECT tb::text FROM result.w ORDER BY w.tb"), ["5", "5", "9", "12"]);
}

/// A database that is away is not waited for once the run has been interrupted.
#[test]
fn an_interrupted_run_does_not_wait_for_a_database_that_is_away() {
    let Some(test) = TestCluster::start("interrupted") else { return };
    let columns = schema(&[("tb", Type::Uint)]);
    let target = PostgresTarget { patience: Duration::from_secs(600), ..test.target("w", None) };
    let mut writer = PostgresWriter::open(target, &columns).unwrap();
    let cancel = Arc::new(AtomicBool::new(true));
    writer.watch(&cancel);
    test.cluster.stop().unwrap();
    writer.row(&[Value::Uint(1)]).unwrap();
    // Without the flag this would take ten minutes, which no test runner waits.
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("the database is away"), "{error}");
    assert!(error.contains("1 rows in 1 batches wait in"), "{error}");
}
