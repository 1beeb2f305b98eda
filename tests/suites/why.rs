//! From packets to a device and back: rows of a query fire a policy, the policy blocks a prefix, the device answers, and `wiretable why` tells the
//! story. Also `sql` and `call`.

use wt_tests::database::Database;
use wt_tests::program::{Outcome, capture_argument, root, run, run_with_input};

const TALKERS: &str =
    "DEFINE { query_name talkers; } SELECT srcIP, count(*) AS packets FROM udp GROUP BY srcIP";
/// A capture without packets: it declares the result and no more.
const EMPTY: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
const POLICY: &str = "
INSERT INTO net.device (device, driver) VALUES ('nic', 'appliance');
SELECT wt.apply($json$[
  {\"call\": \"createSchema\", \"schema\": \"lab\"},
  {\"call\": \"createStoredProcedure\", \"schema\": \"lab\", \"name\": \"block\", \"params\": [{\"name\": \"new_rows\", \"type\": \"jsonb\"}],
   \"body\": \"BEGIN PERFORM net.report_rate('nic', set_masklen((r ->> 'srcip')::cidr, 24), (r ->> 'packets')::float8, 3, 1, '10 s', now(), 'too many') FROM jsonb_array_elements(new_rows) r; END\"},
  {\"call\": \"createTrigger\", \"schema\": \"result\", \"table\": \"talkers\", \"name\": \"hot\", \"events\": [\"insert\"], \"procedure\": \"lab.block\",
   \"condition\": [{\"column\": \"packets\", \"op\": \">=\", \"value\": 3}, {\"column\": \"srcip\", \"op\": \"<<=\", \"value\": \"0.0.0.0/0\"}]}
]$json$)";

fn sql(database: &Database, text: &str, more: &[&str]) -> Outcome {
    run([&["sql", text, "--database-url", &database.url], more].concat())
}

fn why(database: &Database, arguments: &[&str]) -> Outcome {
    run([&["why"], arguments, &["--database-url", &database.url]].concat())
}

/// Loads the rows of a capture into `result.talkers`, with the policy on it.
fn story(database: &Database) {
    let spool = database.path("spool").display().to_string();
    let to = ["-o", &database.url, "--spool", &spool, "--appliance", "edge-1"];
    run_with_input([&["query", TALKERS, "-r", "-"], &to[..]].concat(), &EMPTY).expect_status(0);
    sql(database, POLICY, &[]).expect_status(0);
    let capture = capture_argument("dns.pcap");
    run([&["query", TALKERS, "-r", &capture], &to[..]].concat()).expect_status(0);
}

#[test]
fn a_block_is_explained_from_the_device_to_the_packets() {
    let Some(database) = Database::start() else { return };
    story(&database);
    let prefix = database.sql("SELECT prefix FROM net.block ORDER BY prefix LIMIT 1");
    assert!(prefix.ends_with("/24"), "{prefix}");
    let command = database.sql(&format!("SELECT id FROM north.command WHERE name = '{prefix}'"));
    // A device takes the command, and answers.
    database.sql("SELECT north.ack(id, lease, body) FROM north.lease('test', 100)");
    assert_eq!(database.sql("SELECT count(*) FROM net.drift"), "0");
    let tree = why(&database, &[&command]).expect_status(0).expect_quiet().stdout;
    let order = [
        "batch result.talkers [edge-1,",
        "└─ trigger hot on result.talkers",
        "→ lab.block version 1",
        "insert net.block [nic,",
        "insert net.object [nic,block,",
        "command north.command [nic,block,",
        "device nic/block/",
    ];
    let mut rest = tree.as_str();
    for part in order {
        let at =
            rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing in order in\n{tree}"));
        rest = &rest[at + part.len()..];
    }
    assert!(tree.contains("◀") && tree.contains("\"packets\":"), "{tree}");
    // The row leads to the same story.
    let row = why(&database, &["net.block", &format!("nic,{prefix}")]).expect_status(0).stdout;
    assert!(row.contains("batch result.talkers") && row.contains("device nic/block/"), "{row}");

    let json = why(&database, &[&command, "--format", "json"]).expect_status(0).stdout;
    let events: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(events[0]["op"], "batch");
    assert_eq!(events[1]["procedure"], "lab.block");
    let dot = why(&database, &[&command, "--format", "dot"]).expect_status(0).stdout;
    assert!(dot.starts_with("digraph") && dot.matches(" -> ").count() >= 5, "{dot}");
    let prov = why(&database, &[&command, "--format", "prov"]).expect_status(0).stdout;
    let prov: serde_json::Value = serde_json::from_str(&prov).expect("JSON");
    assert!(prov["wasInformedBy"].as_object().is_some_and(|m| m.len() >= 5), "{prov}");
    assert!(prov["used"].as_object().is_some_and(|m| !m.is_empty()), "{prov}");
    // Names are qualified ones (PROV-N): one prefix, and nothing in the rest that needs an escape; what is told of is there.
    let is_name = |name: &str| {
        let local = name.strip_prefix("wt:").or_else(|| name.strip_prefix("_:"));
        local.is_some_and(|l| l.chars().all(|c| c.is_ascii_alphanumeric() || "_./~-%".contains(c)))
    };
    for (kind, of_kind) in prov.as_object().unwrap().iter().filter(|(kind, _)| *kind != "prefix") {
        for (name, is) in of_kind.as_object().unwrap() {
            assert!(is_name(name), "{kind} {name}");
            for (role, of) in
                [("prov:activity", "activity"), ("prov:entity", "entity"), ("prov:agent", "agent")]
            {
                let told = is.get(role).and_then(serde_json::Value::as_str);
                assert!(
                    told.is_none_or(|told| prov[of].get(told).is_some()),
                    "{kind} {name}: {is}"
                );
            }
        }
    }
    assert_eq!(database.sql("SELECT count(*) FROM prov.event WHERE forged"), "0");
}

#[test]
fn policies_are_listed_shown_applied_and_turned_off() {
    let Some(database) = Database::start() else { return };
    story(&database);
    let policy =
        |more: &[&str]| run([&["policy"], more, &["--database-url", &database.url]].concat());
    let list = policy(&["list", "--format", "csv"]).expect_status(0).stdout;
    assert!(
        list.starts_with("table,name,events,condition,procedure,version,active,tenant,author\n")
    );
    assert!(list.contains("result.talkers,hot,insert,"), "{list}");
    assert!(list.contains(",lab.block,1,t,system,"), "{list}");
    let text = policy(&["show", "lab.block"]).expect_status(0).expect_quiet().stdout;
    assert!(text.contains("net.report_rate") && text.contains("FUNCTION lab.block"), "{text}");

    // Another version, dry first.
    let file = database.path("policy.json");
    let calls = r#"[{"call": "createStoredProcedure", "schema": "lab", "name": "block", "params": [{"name": "new_rows", "type": "jsonb"}], "body": "BEGIN NULL; END"}]"#;
    std::fs::write(&file, calls).unwrap();
    let path = file.display().to_string();
    let dry = policy(&["apply", &path, "--dry-run"]).expect_status(0).stdout;
    let dry: serde_json::Value = serde_json::from_str(&dry).expect("JSON");
    let events = dry["events"].as_array().unwrap();
    assert!(events.iter().any(|event| event["op"] == "createStoredProcedure"), "{events:?}");
    policy(&["show", "lab.block", "--version", "2"]).expect_status(1).expect_said("no version 2");
    policy(&["apply", &path]).expect_status(0).expect_no_output().expect_said("1 calls are done");
    let now = policy(&["show", "lab.block"]).expect_status(0).stdout;
    assert!(now.contains("BEGIN NULL; END"), "{now}");
    assert_eq!(policy(&["show", "lab.block", "--version", "1"]).expect_status(0).stdout, text);
    let versions = policy(&["versions", "lab.block", "--format", "csv"]).expect_status(0).stdout;
    assert_eq!(versions.lines().count(), 3, "{versions}");

    policy(&["deactivate", "lab.block"]).expect_status(0).expect_said("lab.block is off");
    policy(&["deactivate", "lab.block"]).expect_status(0).expect_said("was off");
    assert!(policy(&["list", "--format", "csv"]).stdout.contains(",lab.block,2,f,"));
    policy(&["drop", "result.talkers", "hot"]).expect_status(0).expect_said("is gone");
    assert_eq!(policy(&["list", "--format", "csv"]).expect_status(0).stdout.lines().count(), 1);

    policy(&["drop", "result.talkers", "hot"]).expect_status(1).expect_said("no trigger \"hot\"");
    policy(&["show", "lab"]).expect_status(1).expect_said("schema.name");
    policy(&["show", "lab.nothing"]).expect_status(1).expect_said("there is no procedure");
    // Who has made it cannot turn it on.
    policy(&["activate", "lab.block"]).expect_status(1).expect_said("cannot activate it");
    std::fs::write(&file, "[{").unwrap();
    policy(&["apply", &path]).expect_status(1).expect_said("no JSON");
    std::fs::write(&file, r#"[{"call": "createNothing"}]"#).unwrap();
    policy(&["apply", &path]).expect_status(1).expect_said("call \"createNothing\" is unknown");
    policy(&["apply", "/nonexistent.json"]).expect_status(2);
}

#[test]
fn what_is_not_recorded_is_said() {
    let Some(database) = Database::start() else { return };
    why(&database, &["net.block", "nic,10.0.0.0/8"])
        .expect_status(1)
        .expect_said("nothing is recorded of net.block nic,10.0.0.0/8");
    why(&database, &["4711"]).expect_status(1).expect_said("nothing is recorded of command 4711");
    why(&database, &["net.block"]).expect_status(1).expect_said("without a key");
    let empty = database.url.replace("/wiretable?", "/postgres?");
    run(["why", "1", "--database-url", &empty]).expect_status(2).expect_said("cannot ask why");
}

#[test]
fn statements_print_rows_in_every_form() {
    let Some(database) = Database::start() else { return };
    let text = "SELECT 1 AS a, 'x,y' AS b, NULL AS c";
    let of = |format: &str| {
        sql(&database, text, &["--format", format]).expect_status(0).expect_quiet().stdout
    };
    assert_eq!(of("csv"), "a,b,c\n1,\"x,y\",\n");
    assert_eq!(of("ndjson"), "{\"a\":\"1\",\"b\":\"x,y\",\"c\":null}\n");
    assert_eq!(of("json"), "[\n{\"a\":\"1\",\"b\":\"x,y\",\"c\":null}\n]\n");
    assert!(of("table").contains("x,y") && of("table").contains("(1 row)"));
    sql(&database, "CREATE TABLE public.t (v int); INSERT INTO public.t VALUES (1), (2)", &[])
        .expect_status(0)
        .expect_said("done, 2 rows");
    // All or nothing.
    sql(&database, "INSERT INTO public.t VALUES (3); SELECT nothing", &[])
        .expect_status(1)
        .expect_said("column \"nothing\" does not exist");
    assert_eq!(database.sql("SELECT count(*) FROM public.t"), "2");
    sql(&database, "INSERT INTO net.block (device, prefix) VALUES ('nic', '0.0.0.0/0')", &[])
        .expect_status(1);
    sql(&database, "UPDATE prov.event SET op = 'x'", &[])
        .expect_status(1)
        .expect_said("help: What was recorded stays");
}

#[test]
fn a_call_names_its_caller_and_can_be_dry() {
    let Some(database) = Database::start() else { return };
    story(&database);
    let call = |more: &[&str]| run([&["call"], more, &["--database-url", &database.url]].concat());
    let rows = "new_rows=[{\"srcip\": \"203.0.113.9\", \"packets\": 50}]";
    let dry = call(&["lab.block", rows, "--dry-run"]).expect_status(0).stdout;
    let dry: serde_json::Value = serde_json::from_str(&dry).expect("JSON");
    assert_eq!(dry["commands"][0]["name"], "203.0.113.0/24");
    assert_eq!(dry["events"][0]["op"], "call");
    let there = || database.sql("SELECT count(*) FROM net.block WHERE prefix = '203.0.113.0/24'");
    assert_eq!(there(), "0", "a dry run leaves nothing");
    let mut command =
        wt_tests::program::wiretable(["call", "lab.block", rows, "--database-url", &database.url]);
    command.env_remove("SUDO_USER").env("USER", "ada");
    let done = wt_tests::program::outcome(command.output().expect("starts")).expect_status(0);
    assert_eq!(done.stdout, "null\n");
    assert_eq!(there(), "1");
    let tree = why(&database, &["net.block", "nic,203.0.113.0/24"]).expect_status(0).stdout;
    assert!(tree.starts_with("call lab.block version 1  (ada as postgres,"), "{tree}");
    call(&["lab.block"])
        .expect_status(1)
        .expect_said("argument \"new_rows\" of \"lab.block\" is missing");
    call(&["lab.block", "x"]).expect_status(1).expect_said("name=value");
    call(&["lab.block", "a=1", "a=2"]).expect_status(1).expect_said("given twice");
    call(&["lab.nothing"]).expect_status(1).expect_said("there is no procedure");
}

/// The help of the commands, as the README of `control` promises them.
#[test]
fn the_commands_are_described() {
    let text =
        std::fs::read_to_string(root().join("control/README.md")).expect("control/README.md");
    for word in [
        "wiretable db start",
        "wiretable why",
        "wiretable policy",
        "wiretable sql",
        "wiretable call",
        "postgres://",
    ] {
        assert!(text.contains(word), "control/README.md does not speak of {word}");
    }
}
