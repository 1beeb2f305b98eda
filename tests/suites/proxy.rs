//! The northbound proxy: desired state in the database becomes what a live run does, and what the run is comes back.
//!
//! Needs root and Postgres; without root every test says that it is skipped.

use wt_tests::control_plane::{Serving, beside, quick, wait_as_wanted, want};
use wt_tests::database::Database;
use wt_tests::live::{Running, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{outcome, run, wiretable};

const TEXT: &str = "DEFINE { query_name by; } PARAM { least uint; } SELECT day, count(*) AS n FROM udp WHERE destPort >= $least GROUP BY time/86400 AS day";

/// A live run that is the device `nic`.
fn appliance(netns: &Netns, socket: &str) -> Running {
    let arguments = [
        "query",
        TEXT,
        "-i",
        "near",
        "--control",
        socket,
        "-p",
        "least=0",
        "--capture",
        "xdp",
        "--format",
        "ndjson",
    ];
    let running = Running::start(netns, &arguments, 1);
    wait_until("the socket is there", || std::path::Path::new(socket).exists());
    running
}

fn ctl(socket: &str, arguments: &[&str]) -> String {
    let mut command = wiretable(["ctl", "-s", socket]);
    outcome(command.args(arguments).output().unwrap()).expect_status(0).stdout
}

#[test]
fn desired_state_becomes_what_a_run_does() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let netns = Netns::new();
    let (_, socket) = beside(&database, "nic.sock");
    let device = appliance(&netns, &socket);
    let folder = std::path::Path::new(&socket).parent().unwrap().display().to_string();
    database
        .sql("INSERT INTO net.device (device, driver, target) VALUES ('nic', 'appliance', 'nic')");
    let serving = Serving::start(&database, &quick(&format!("[appliance]\nfolder = '{folder}'")));

    // A parameter, a query, a block.
    want(&database, "nic", "param", "least", r#"'{"value": 2000}'"#);
    want(
        &database,
        "nic",
        "query",
        "more",
        r#"'{"text": "SELECT day, count(*) AS n FROM ip GROUP BY time/86400 AS day"}'"#,
    );
    database.sql("INSERT INTO net.block (device, prefix) VALUES ('nic', '198.51.100.0/24')");
    for name in ["least", "more", "198.51.100.0/24"] {
        wait_as_wanted(&database, "nic", name);
    }
    assert!(ctl(&socket, &["list"]).contains("more  "));
    assert!(ctl(&socket, &["block", "list"]).contains("198.51.100.0/24"));
    assert_eq!(
        database.sql("SELECT observed ->> 'value' FROM net.object WHERE kind = 'param'"),
        "2000"
    );

    // What is not wanted any more goes.
    want(&database, "nic", "query", "more", "NULL");
    database.sql("DELETE FROM net.block");
    for name in ["more", "198.51.100.0/24"] {
        wait_as_wanted(&database, "nic", name);
    }
    assert!(!ctl(&socket, &["list"]).contains("more  "));
    assert!(!ctl(&socket, &["block", "list"]).contains("198.51.100.0/24"));

    // Each command once, and none failed.
    assert_eq!(
        database.sql(
            "SELECT string_agg(DISTINCT state, ',') || ' ' || max(attempts) FROM north.command"
        ),
        "done 1"
    );

    // What somebody changes by hand is changed back; what nobody asked the control plane for stays.
    ctl(&socket, &["set", "least=1"]);
    ctl(&socket, &["block", "add", "203.0.113.0/24"]);
    wait_until("the parameter is what it should be", || {
        database.sql("SELECT desired_gen > 1 AND observed_gen = desired_gen AND observed ->> 'value' = '2000' FROM net.object WHERE kind = 'param'") == "t"
    });
    assert!(ctl(&socket, &["block", "list"]).contains("203.0.113.0/24"));

    // A run that ends takes its blocks with it; the next one gets them again.
    database.sql("INSERT INTO net.block (device, prefix) VALUES ('nic', '198.51.100.0/24')");
    wait_as_wanted(&database, "nic", "198.51.100.0/24");
    device.interrupt();
    let device = appliance(&netns, &socket);
    wait_until("the block is back", || {
        ctl(&socket, &["block", "list"]).contains("198.51.100.0/24")
    });

    // What a device refuses fails at once and stays in sight.
    want(&database, "nic", "query", "wrong", r#"'{"text": "SELECT nothing FROM nowhere"}'"#);
    wait_until("the command has failed", || {
        database.sql("SELECT count(*) FROM north.failed WHERE name = 'wrong' AND error LIKE '%nowhere%' AND attempts = 1") == "1"
    });
    let at = ["--database-url", &database.url, "--format", "csv"];
    let listed = run([&["device", "list"][..], &at].concat()).expect_status(0).stdout;
    assert!(
        listed.lines().any(|l| l.starts_with("nic,appliance,nic,t,") && l.contains(",1,20")),
        "{listed}"
    );
    let shown =
        run([&["device", "show", "nic", "--drift"][..], &at].concat()).expect_status(0).stdout;
    assert!(shown.lines().count() == 2 && shown.contains("failed"), "{shown}");
    want(&database, "nic", "query", "wrong", "NULL");
    wait_as_wanted(&database, "nic", "wrong");
    let shown = run([&["device", "show", "nic"][..], &at].concat()).expect_status(0).stdout;
    assert!(shown.contains("block,198.51.100.0/24"), "{shown}");
    let unknown = run([&["device", "show", "none"][..], &at].concat()).expect_status(1);
    assert!(unknown.stderr.contains("no device `none`"), "{}", unknown.stderr);
    serving.interrupt();
    device.interrupt();
}

#[test]
fn a_device_that_is_away_is_tried_again_and_keeps_nobody_waiting() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let netns = Netns::new();
    let (path, socket) = beside(&database, "nic.sock");
    let (hung, _) = beside(&database, "hung.sock");
    // It takes connections and says nothing.
    let _listener = std::os::unix::net::UnixListener::bind(&hung).unwrap();
    let folder = path.parent().unwrap().display().to_string();
    database.sql("INSERT INTO net.device (device, driver, target) VALUES ('nic', 'appliance', 'nic'), ('hung', 'appliance', 'hung'), ('k', 'kubernetes', 'x')");
    let serving = Serving::start(&database, &quick(&format!("[appliance]\nfolder = '{folder}'")));
    database.sql("INSERT INTO net.block (device, prefix) SELECT 'hung', set_masklen(('10.0.0.0'::inet + 65536 * i)::cidr, 16) FROM generate_series(1, 100) i");
    database.sql("INSERT INTO net.block (device, prefix) VALUES ('nic', '198.51.100.0/24')");
    wait_until("it was tried", || {
        database.sql("SELECT count(*) FROM north.command WHERE device = 'nic' AND attempts > 1 AND error LIKE '%nic.sock%'") == "1"
    });
    let device = appliance(&netns, &socket);
    wait_as_wanted(&database, "nic", "198.51.100.0/24");
    wait_until("the device that hangs shows", || {
        database.sql(
            "SELECT count(*) FROM north.command WHERE device = 'hung' AND error LIKE '%no answer%'",
        ) != "0"
    });
    wait_until("its check has failed", || {
        database.sql(
            "SELECT count(*) FROM north.health WHERE device = 'hung' AND error LIKE '%no answer%'",
        ) == "1"
    });
    serving.interrupt();
    device.interrupt();
}

#[test]
fn wrong_settings_are_refused_before_a_database_is_asked() {
    let folder = wt_tests::corpus::Scratch::new().unwrap();
    let config = folder.path("serve.toml");
    for (text, said) in [
        ("[proxy]\nlease = '1ms'\n", "proxy.lease is not from 50ms"),
        ("[proxi]\n", "unknown field"),
    ] {
        std::fs::write(&config, text).unwrap();
        let path = config.display().to_string();
        let url = "postgres://u@127.0.0.1:1/none";
        let refused = run(["serve", "--listen", "none", "--database-url", url, "--config", &path])
            .expect_status(1);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}
