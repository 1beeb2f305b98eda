//! Watchlists of a live run and what a recorder keeps, as devices of the control plane: from the wish in the database, or the rows of a query, to the
//! device and back, and `wiretable why` tells the story.
//!
//! Needs Postgres and root.

use std::path::Path;

use serde_json::json;
use wt_tests::control_plane::{Serving, beside, quick, wait_as_wanted, want};
use wt_tests::database::Database;
use wt_tests::live::{Running, WAYS, frames, send, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{outcome, run, wiretable};

/// Sources that send much go on a watchlist.
const POLICY: &str = r#"[
  {"call": "createSchema", "schema": "watch"},
  {"call": "createStoredProcedure", "schema": "watch", "name": "list", "params": [{"name": "new_rows", "type": "jsonb"}],
   "body": "DECLARE v jsonb; BEGIN SELECT jsonb_agg(e ORDER BY e) INTO v FROM (SELECT e FROM net.object o CROSS JOIN jsonb_array_elements_text(o.desired -> 'entries') e WHERE o.device = 'nic' AND o.kind = 'watchlist' AND o.name = 'bad' UNION SELECT (r ->> 'srcip') || ',much' FROM jsonb_array_elements(new_rows) r) s; INSERT INTO net.object AS o (device, kind, name, desired) VALUES ('nic', 'watchlist', 'bad', jsonb_build_object('entries', v)) ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired WHERE o.desired IS DISTINCT FROM excluded.desired; END"},
  {"call": "createTrigger", "schema": "result", "table": "much", "name": "noted", "events": ["insert"], "procedure": "watch.list",
   "condition": [{"column": "n", "op": ">=", "value": 20}]}
]"#;

/// UDP from 10.N.0.1.
fn from(second: u8, count: usize) -> Vec<Vec<u8>> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, second, 0, 1, 10, 0, 0, 2]);
    frame.extend([3, 232, 7, 208, 0, 26, 0, 0]);
    frame.resize(60, 0);
    vec![frame; count]
}

#[test]
fn rows_put_sources_on_a_watchlist_that_a_query_of_the_same_run_reads() {
    if !may_make() {
        return;
    }
    for way in WAYS {
        let Some(database) = Database::start() else { return };
        let netns = Netns::new();
        let (file, path) = beside(&database, "bad.csv");
        std::fs::write(&file, "# address, why\n").unwrap();
        let (socket_file, socket) = beside(&database, "nic.sock");
        let (_, spool) = beside(&database, "spool");
        let at = "TIME'1970-01-01T00:00:00Z' + tb*100ms AS at, srcIP, count(*) AS n";
        let by = "GROUP BY timestamp/100ms AS tb, srcIP";
        let text = format!(
            "DEFINE {{ query_name bad; filename '{path}'; refresh_interval '60'; }} WATCHLIST FIELDS {{ INET addr (key); string why; }}; \
             DEFINE {{ query_name much; }} SELECT {at} FROM udp {by}; \
             DEFINE {{ query_name hits; }} SELECT {at} FROM udp WHERE srcIP IN bad {by}"
        );
        let to = ["-o", &database.url, "--spool", &spool, "--appliance", "edge-1"];
        let arguments =
            [&["query", &text, "-i", "near", "--control", &socket], &to[..], &way[..]].concat();
        let device = Running::start(&netns, &arguments, 1);
        wait_until("the socket is there", || socket_file.exists());
        database.sql(&format!(
            "INSERT INTO net.device (device, driver, target) VALUES ('nic', 'appliance', '{socket}')"
        ));
        // The sink makes its tables beside the run.
        wait_until("the results have a table", || {
            database.sql("SELECT to_regclass('result.much') IS NOT NULL") == "t"
        });
        let policy = database.path("policy.json");
        std::fs::write(&policy, POLICY).unwrap();
        let policy = policy.display().to_string();
        run(["policy", "apply", &policy, "--database-url", &database.url]).expect_status(0);
        let serving = Serving::start(&database, &quick(""));

        send(&netns, "far", &from(7, 40));
        send(&netns, "far", &from(8, 3));
        wait_until("the list is wanted", || {
            database.sql("SELECT count(*) FROM net.object WHERE name = 'bad'") == "1"
        });
        wait_as_wanted(&database, "nic", "bad");
        send(&netns, "far", &from(7, 5));
        send(&netns, "far", &from(8, 4));
        let hits = "SELECT string_agg(s, ' ') FROM (SELECT host(srcip) || '=' || sum(n) AS s FROM result.hits GROUP BY srcip) x";
        // Whatever came before the list had it is no hit.
        wait_until("the packets are hits", || database.sql(hits) == "10.7.0.1=5");
        device.interrupt();
        assert_eq!(database.sql(hits), "10.7.0.1=5", "{way:?}");

        let command =
            database.sql("SELECT id FROM north.command WHERE name = 'bad' ORDER BY id LIMIT 1");
        let tree = run(["why", &command, "--database-url", &database.url]).expect_status(0).stdout;
        let order = [
            "batch result.much [edge-1,",
            "└─ trigger noted on result.much",
            "→ watch.list version 1",
            "insert net.object [nic,watchlist,bad]",
            "command north.command [nic,watchlist,bad",
            "device nic/watchlist/bad",
        ];
        let mut rest = tree.as_str();
        for part in order {
            let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing in\n{tree}"));
            rest = &rest[at + part.len()..];
        }
        assert!(tree.contains("10.7.0.1,much") && !tree.contains("10.8.0.1,much"), "{tree}");
        let json = ["why", "net.object", "nic,watchlist,bad", "--format", "json"];
        let json = run([&json[..], &["--database-url", &database.url]].concat()).expect_status(0);
        let events: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(events[0]["op"], json!("batch"), "{events}");
        serving.interrupt();
    }
}

#[test]
fn watchlists_of_an_appliance_are_as_wanted_and_are_put_right() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let netns = Netns::new();
    let (file, path) = beside(&database, "bad.csv");
    std::fs::write(&file, "192.0.2.1,old\n").unwrap();
    let (_, socket) = beside(&database, "nic.sock");
    let text = format!(
        "DEFINE {{ query_name bad; filename '{path}'; refresh_interval '60'; }} WATCHLIST FIELDS {{ INET addr (key); string why; }}; \
         DEFINE {{ query_name hits; }} SELECT time, srcIP FROM ip WHERE srcIP IN bad"
    );
    let arguments = ["query", &text, "-i", "near", "--control", &socket, "--format", "ndjson"];
    let start = || {
        let device = Running::start(&netns, &arguments, 1);
        wait_until("the socket is there", || Path::new(&socket).exists());
        device
    };
    let watched = |arguments: &[&str]| {
        let mut command = wiretable(["ctl", "-s", &socket, "watch", "bad"]);
        outcome(command.args(arguments).output().unwrap()).expect_status(0).stdout
    };
    let device = start();
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('nic', 'appliance', '{socket}')"
    ));
    let serving = Serving::start(&database, &quick(""));

    // The entries of the object and no others, once.
    let entries = r#"'{"entries": ["203.0.113.9,scanner", "198.51.100.0/24,flood"]}'"#;
    want(&database, "nic", "watchlist", "bad", entries);
    wait_as_wanted(&database, "nic", "bad");
    let as_wanted = "203.0.113.9,scanner\n198.51.100.0/24,flood\n";
    assert_eq!(watched(&[]), as_wanted);
    let attempts = "SELECT string_agg(state || attempts, ',' ORDER BY id) FROM north.command WHERE name = 'bad'";
    assert_eq!(database.sql(attempts), "done1");
    assert_eq!(
        database.sql("SELECT observed = desired FROM net.object WHERE name = 'bad'"),
        "t",
        "what the run says it has comes back"
    );

    // Changed by hand, put right.
    watched(&["--remove", "203.0.113.9", "--add", "192.0.2.7,mine"]);
    wait_until("the entries are right", || watched(&[]) == as_wanted);
    wait_as_wanted(&database, "nic", "bad");
    watched(&["--reread"]);
    wait_until("the entries are right again", || watched(&[]) == as_wanted);

    // The next run has none of it until it is told.
    device.interrupt();
    let device = start();
    wait_until("the entries are back", || watched(&[]) == as_wanted);
    wait_as_wanted(&database, "nic", "bad");

    // What is no record, no list, or no body fails at once, and the list is as it was.
    want(&database, "nic", "watchlist", "bad", r#"'{"entries": ["203.0.113.9"]}'"#);
    want(&database, "nic", "watchlist", "good", r#"'{"entries": []}'"#);
    wait_until("they have failed", || {
        database.sql("SELECT count(*) FROM north.failed WHERE attempts = 1") == "2"
    });
    let errors = "SELECT string_agg(error, E'\\n' ORDER BY name) FROM north.failed";
    let said = database.sql(errors);
    assert!(said.contains("entry 1 of the watchlist: expected 2 fields"), "{said}");
    assert!(said.contains("no query reads a watchlist `good`; there are: bad"), "{said}");
    assert_eq!(watched(&[]), as_wanted);
    want(&database, "nic", "watchlist", "good", "NULL");
    wait_as_wanted(&database, "nic", "good");
    want(&database, "nic", "watchlist", "bad", r#"'{"entry": []}'"#);
    wait_until("it has failed", || database.sql(errors).contains(r#"write {"entries""#));

    // No entries are entries; no object, and the file counts.
    want(&database, "nic", "watchlist", "bad", r#"'{"entries": []}'"#);
    wait_as_wanted(&database, "nic", "bad");
    assert_eq!(watched(&[]), "");
    want(&database, "nic", "watchlist", "bad", "NULL");
    wait_as_wanted(&database, "nic", "bad");
    assert_eq!(watched(&[]), "192.0.2.1,old\n");
    serving.interrupt();
    device.interrupt();
}

#[test]
fn recorders_keep_the_packets_of_a_time_that_is_wanted() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let netns = Netns::new();
    let (store, dir) = beside(&database, "packets");
    let (_, socket) = beside(&database, "recorder.sock");
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('rec', 'appliance', '{socket}')"
    ));
    let serving = Serving::start(&database, &quick(""));
    let start = |more: &[&str]| {
        let arguments = ["record", "-i", "near", "-w", &dir, "--control", &socket];
        let recorder = Running::start(&netns, &[&arguments[..], more].concat(), 1);
        wait_until("the socket is there", || Path::new(&socket).exists());
        recorder
    };
    let listed = || {
        let mut command = wiretable(["store", "list", &dir]);
        outcome(command.output().unwrap()).expect_status(0).stdout
    };
    // The words of the database are a time.
    let around = "jsonb_build_object('from', now() - interval '1 h', 'to', now() + interval '1 h')";

    // To disk: a pin, which is put back, outlives the recorder and goes when it is not wanted.
    let recorder = start(&[]);
    send(&netns, "far", &frames("dns.pcap"));
    want(&database, "rec", "save", "alarm", around);
    wait_as_wanted(&database, "rec", "alarm");
    let pins = store.join("pins.toml");
    assert!(std::fs::read_to_string(&pins).unwrap().contains("alarm"));
    std::fs::remove_file(&pins).unwrap();
    wait_until("the pin is back", || pins.exists());
    wait_as_wanted(&database, "rec", "alarm");
    recorder.interrupt();
    assert!(listed().ends_with(",pinned\n"), "{}", listed());
    let recorder = start(&[]);
    wait_as_wanted(&database, "rec", "alarm");

    // What is no time, no name, or nothing of a recorder fails at once.
    want(&database, "rec", "save", "odd", r#"'{"from": "-30s", "to": "now"}'"#);
    want(&database, "rec", "save", "../out", around);
    want(&database, "rec", "param", "least", r#"'{"value": 1}'"#);
    wait_until("they have failed", || {
        database.sql("SELECT count(*) FROM north.failed WHERE attempts = 1") == "3"
    });
    let errors = database.sql("SELECT string_agg(error, E'\\n') FROM north.failed");
    for said in ["no time that stays the same", "no name for a file", "of kind `save`"] {
        assert!(errors.contains(said), "{said}\n{errors}");
    }
    want(&database, "rec", "save", "alarm", "NULL");
    wait_as_wanted(&database, "rec", "alarm");
    assert!(!std::fs::read_to_string(&pins).unwrap().contains("alarm"));
    recorder.interrupt();

    // From memory: a file, written once.
    let recorder = start(&["--pre-trigger", "60s"]);
    send(&netns, "far", &frames("dns.pcap"));
    let saved = store.join("saved").join("flood.pcapng");
    let past = "jsonb_build_object('from', now() - interval '1 h', 'to', now())";
    want(&database, "rec", "save", "flood", past);
    wait_as_wanted(&database, "rec", "flood");
    wait_until("the file is there", || saved.exists());
    want(&database, "rec", "save", "flood", around);
    wait_until("it is refused", || {
        database
            .sql("SELECT error FROM north.failed WHERE name = 'flood'")
            .contains("of another time")
    });
    assert!(saved.exists());
    want(&database, "rec", "save", "flood", "NULL");
    wait_as_wanted(&database, "rec", "flood");
    assert!(!saved.exists());
    serving.interrupt();
    recorder.interrupt();
}
