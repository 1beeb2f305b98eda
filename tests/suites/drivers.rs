//! The drivers for HTTP, Kubernetes and Linux, against services in this process and a network namespace, from the wish in the database to the device and back.
//!
//! Needs Postgres; that for Linux root and nftables as well.

use std::sync::{Arc, Mutex};

use serde_json::json;
use wt_tests::cluster::{Cluster, Trouble};
use wt_tests::control_plane::{Serving, quick, wait_as_wanted, want};
use wt_tests::database::Database;
use wt_tests::live::wait_until;
use wt_tests::netns::{Netns, may_make};
use wt_tests::service::{Answer, Reply, Request, Service};

#[test]
fn http_calls_are_templated_keyed_and_within_the_allow_list() {
    let Some(database) = Database::start() else { return };
    let log: Arc<Mutex<Vec<Request>>> = Arc::default();
    let service = {
        let log = Arc::clone(&log);
        Service::start(move |request| {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            let changes =
                log.iter().filter(|r| r.method != "GET" && r.path == request.path).count();
            let is_get = request.method == "GET";
            Reply::Now(match request.path.as_str() {
                // Busy for the first time, and says until when.
                "/api/nodes/a%2F1/weight" if !is_get && changes == 1 => {
                    Answer::json(429, json!({"message": "busy"})).with("Retry-After", 1)
                }
                "/api/nodes/a%2F1/weight" if is_get => {
                    Answer::json(200, json!({"weight": 0.5, "load": 7}))
                        .with("X-Wiretable-Generation", 1)
                }
                "/api/nodes/a%2F1/weight" => Answer::json(200, json!({"weight": 0.5, "load": 3})),
                "/api/pool/wrong" if request.method == "PUT" => {
                    Answer::json(422, json!({"error": "no such pool"}))
                }
                _ => Answer::of(404),
            })
        })
    };
    let base = format!("{}/api", service.url());
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('lb', 'http', '{base}'), ('else', 'http', '{}/secret'), ('tls', 'http', 'https://h/api')",
        service.url()
    ));
    let http =
        format!("[http]\nallow = ['{base}']\npaths = {{ weight = '/nodes/{{name}}/weight' }}");
    let serving = Serving::start(&database, &quick(&http));
    want(&database, "lb", "weight", "a/1", "'{\"weight\": 0.5}'");
    wait_as_wanted(&database, "lb", "a/1");
    assert_eq!(
        database.sql("SELECT observed ->> 'weight' FROM net.object WHERE name = 'a/1'"),
        "0.5"
    );
    assert_eq!(database.sql("SELECT attempts FROM north.command WHERE name = 'a/1'"), "2");
    {
        let log = log.lock().unwrap();
        let puts: Vec<&Request> = log.iter().filter(|r| r.method == "PUT").collect();
        let keys: Vec<&str> = puts.iter().map(|r| r.headers["idempotency-key"].as_str()).collect();
        assert_eq!(keys, ["lb/weight/a/1/1", "lb/weight/a/1/1"], "the same when it is sent again");
        assert_eq!(puts[1].headers["x-wiretable-generation"], "1");
        assert_eq!(puts[1].body, Some(json!({"weight": 0.5})));
    }
    // What is refused, and what is not allowed, fails at once.
    want(&database, "lb", "pool", "wrong", "'{}'");
    want(&database, "else", "pool", "x", "'{}'");
    want(&database, "tls", "pool", "x", "'{}'");
    wait_until("they have failed", || database.sql("SELECT count(*) FROM north.failed") == "3");
    let errors = database.sql(
        "SELECT string_agg(error, E'\\n' ORDER BY device) FROM north.failed WHERE attempts = 1",
    );
    for said in ["none of [http] allow", "status 422: no such pool", "TLS, which is not built in"] {
        assert!(errors.contains(said), "{said}\n{errors}");
    }
    assert!(
        log.lock().unwrap().iter().all(|r| r.path.starts_with("/api/")),
        "nobody else is called"
    );
    // What is not there is gone.
    want(&database, "lb", "pool", "wrong", "NULL");
    wait_as_wanted(&database, "lb", "wrong");
    serving.interrupt();
}

#[test]
fn workloads_and_nodes_of_kubernetes_are_made_scaled_and_removed_once() {
    let Some(database) = Database::start() else { return };
    let cluster: Arc<Mutex<Cluster>> = Arc::default();
    let service = {
        let cluster = Arc::clone(&cluster);
        Service::start(move |request| cluster.lock().unwrap().answer(request))
    };
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('k8s', 'kubernetes', '{0}'), ('other', 'kubernetes', 'http://127.0.0.1:1')",
        service.url()
    ));
    let allow = format!("[kubernetes]\nallow = ['{}']\nimage = 'pause:1'", service.url());
    let serving = Serving::start(&database, &quick(&allow));
    let web = "/apis/apps/v1/namespaces/prod/deployments/web";
    let object = |path: &str| cluster.lock().unwrap().objects.get(path).cloned();
    let changes = || cluster.lock().unwrap().changes.clone();

    // Made though the server is busy first, and then breaks off after it has made it.
    cluster.lock().unwrap().troubles = vec![Trouble::Busy, Trouble::DoneAndGone];
    want(&database, "k8s", "workload", "prod/web", r#"'{"replicas": 2, "image": "nginx:1"}'"#);
    wait_as_wanted(&database, "k8s", "prod/web");
    assert_eq!(object(web).unwrap()["spec"]["replicas"], 2);
    assert_eq!(changes(), [format!("PATCH {web}")], "once, though it was sent three times");
    assert_eq!(database.sql("SELECT attempts FROM north.command WHERE name = 'prod/web'"), "3");

    // Scaled though somebody else changes it at the same time, whose fields stay.
    cluster.lock().unwrap().objects.get_mut(web).unwrap()["spec"]["paused"] = true.into();
    cluster.lock().unwrap().troubles = vec![Trouble::Conflict];
    want(&database, "k8s", "workload", "prod/web", r#"'{"replicas": 5}'"#);
    wait_as_wanted(&database, "k8s", "prod/web");
    let scaled = object(web).unwrap();
    assert_eq!((&scaled["spec"]["replicas"], &scaled["spec"]["paused"]), (&json!(5), &json!(true)));
    assert_eq!(scaled["metadata"]["annotations"]["wiretable.io/generation"], "2");

    // A node of the paper's tables is a Pod, and its state comes back.
    database.sql("INSERT INTO net.pods (pod_id) VALUES ('web')");
    database.sql("INSERT INTO net.nodes (node_id, pod_id, device) VALUES ('node-4', 'web', 'k8s')");
    wait_as_wanted(&database, "k8s", "node-4");
    let pod = "/api/v1/namespaces/default/pods/node-4";
    let made = object(pod).unwrap();
    assert_eq!(made["metadata"]["labels"]["wiretable.io/pod"], "web");
    assert_eq!(made["spec"]["containers"][0]["image"], "pause:1");
    wait_until("the node runs", || database.sql("SELECT status FROM net.nodes") == "running");

    // What vanishes is made again, also when the server has forgotten it.
    cluster.lock().unwrap().objects.remove(pod);
    cluster.lock().unwrap().gone.push(pod.to_owned());
    wait_until("the pod is back", || object(pod).is_some());
    wait_as_wanted(&database, "k8s", "node-4");

    // Removed, and what was removed by somebody else is removed.
    database.sql("DELETE FROM net.nodes");
    want(&database, "k8s", "workload", "prod/web", "NULL");
    for name in ["node-4", "prod/web"] {
        wait_as_wanted(&database, "k8s", name);
    }
    assert!(object(pod).is_none() && object(web).is_none());
    let deletes = changes().iter().filter(|change| change.starts_with("DELETE")).count();
    assert_eq!(deletes, 2, "{:?}", changes());

    // Elsewhere nobody is called.
    want(&database, "other", "workload", "prod/web", r#"'{"replicas": 1}'"#);
    want(&database, "k8s", "workload", "prod/../x", r#"'{"replicas": 1}'"#);
    wait_until("they have failed", || {
        database.sql("SELECT count(*) FROM north.failed WHERE attempts = 1") == "2"
    });
    serving.interrupt();
}

#[test]
fn sets_and_routes_of_linux_are_as_wanted_and_are_put_right() {
    if !may_make() {
        return;
    }
    if std::process::Command::new("nft").arg("--version").output().is_err() {
        eprintln!("skipped: nftables is not installed; .ci/setup installs it");
        return;
    }
    let Some(database) = Database::start() else { return };
    let netns = Netns::new();
    let tool = |program: &str, arguments: &[&str]| {
        let output = netns.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    netns.ip(&["addr", "add", "10.9.0.1/24", "dev", "near"]);
    let name = netns.name();
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('host', 'linux', '{name}')"
    ));
    let state = database.path("devices").display().to_string();
    let serving = Serving::start(&database, &quick(&format!("state = '{state}'")));
    let set = ["list", "set", "inet", "defence", "bad"];

    want(
        &database,
        "host",
        "nft_set",
        "inet/defence/bad",
        r#"'{"type": "ipv4_addr", "elements": ["203.0.113.9", "198.51.100.0/24"]}'"#,
    );
    want(&database, "host", "route", "198.18.0.0/15", r#"'{"via": "10.9.0.7", "dev": "near"}'"#);
    want(&database, "host", "route", "192.0.2.0/24", r#"'{"type": "blackhole"}'"#);
    for object in ["inet/defence/bad", "198.18.0.0/15", "192.0.2.0/24"] {
        wait_as_wanted(&database, "host", object);
    }
    let shown = tool("nft", &set);
    assert!(shown.contains("198.51.100.0/24") && shown.contains("203.0.113.9"), "{shown}");
    assert!(tool("ip", &["route"]).contains("198.18.0.0/15 via 10.9.0.7 dev near"));
    assert!(tool("ip", &["route"]).contains("blackhole 192.0.2.0/24"));
    assert_eq!(
        database.sql("SELECT string_agg(DISTINCT state, ',') || max(attempts) FROM north.command"),
        "done1"
    );

    // Changed by hand, put right.
    tool("nft", &["flush", "set", "inet", "defence", "bad"]);
    netns.ip(&["route", "del", "198.18.0.0/15"]);
    wait_until("the set is right", || tool("nft", &set).contains("198.51.100.0/24"));
    wait_until("the route is back", || tool("ip", &["route"]).contains("198.18.0.0/15"));

    // Other elements; then nothing.
    want(
        &database,
        "host",
        "nft_set",
        "inet/defence/bad",
        r#"'{"type": "ipv4_addr", "elements": ["203.0.113.10"]}'"#,
    );
    wait_as_wanted(&database, "host", "inet/defence/bad");
    let shown = tool("nft", &set);
    assert!(shown.contains("203.0.113.10") && !shown.contains("198.51.100"), "{shown}");
    for (kind, object) in
        [("nft_set", "inet/defence/bad"), ("route", "198.18.0.0/15"), ("route", "192.0.2.0/24")]
    {
        want(&database, "host", kind, object, "NULL");
        wait_as_wanted(&database, "host", object);
    }
    assert!(!tool("ip", &["route"]).contains("198.18"));
    assert!(!tool("nft", &["list", "ruleset"]).contains("bad"));

    // What is no set, no route, or more than that.
    want(
        &database,
        "host",
        "nft_set",
        "inet/defence/x",
        r#"'{"elements": ["1.2.3.4; flush ruleset"]}'"#,
    );
    want(&database, "host", "route", "-help", r#"'{"dev": "near"}'"#);
    want(&database, "host", "route", "198.19.0.0/16", r#"'{"dev": "near", "type": "nat"}'"#);
    want(&database, "host", "file", "passwd", r#"'{}'"#);
    wait_until("they have failed", || {
        database.sql("SELECT count(*) FROM north.failed WHERE attempts = 1") == "4"
    });
    serving.interrupt();
}
