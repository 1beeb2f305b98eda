//! TLS: the server's, and that of connections to Postgres.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use wt_tests::corpus::Scratch;
use wt_tests::database::Database;
use wt_tests::live::{Guarded, Stream, wait_until};
use wt_tests::program::{Outcome, run, wiretable};
use wt_tests::tls::{Authority, Issued, get};

const HERE: &str = "DNS:localhost,IP:127.0.0.1";

/// A server in TLS: its process, what it says, where it listens.
fn serve(database: &Database, url: &str, identity: &Issued) -> (Guarded, Stream, String) {
    let file = database.path("address");
    let _ = fs::remove_file(&file);
    let mut command = wiretable(["serve", "--listen", "127.0.0.1:0", "--database-url", url]);
    command.arg("--address-file").arg(&file);
    command.arg("--tls-cert").arg(&identity.certificate).arg("--tls-key").arg(&identity.key);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("wiretable starts");
    let stderr = Stream::of(child.stderr.take().unwrap());
    let mut process = Guarded(child);
    let mut address = String::new();
    wait_until("the server listens", || {
        let ended = process.0.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", stderr.text());
        address = fs::read_to_string(&file).unwrap_or_default();
        address.ends_with('\n')
    });
    (process, stderr, address.trim().to_owned())
}

#[test]
fn requests_come_in_tls_and_whoever_is_deceived_notices() {
    let Some(database) = Database::start() else { return };
    let authority = Authority::new(&database.path("authority"));
    let other = Authority::new(&database.path("other"));
    let identity = authority.issue("server", HERE, false);
    let (mut process, stderr, address) = serve(&database, &database.url, &identity);
    wait_until("it says where", || stderr.text().contains("serving https://"));
    let trusted = &authority.certificate;
    // A client that says nothing holds up nobody.
    let silent = TcpStream::connect(&address).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let (answer, _) = get(&address, name, trusted, "/healthz").unwrap();
        assert_eq!((answer.status, &*answer.text()), (200, "alive\n"));
    }
    let (answer, first) = get(&address, "localhost", trusted, "/v1/events").unwrap();
    assert_eq!(answer.status, 401);
    let refused = get(&address, "localhost", &other.certificate, "/healthz").unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let refused = get(&address, "other.example", trusted, "/healthz").unwrap_err();
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
    // Plain HTTP gets no answer in plain HTTP.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&said));
    drop(silent);

    // A certificate that is replaced by one of no use changes nothing; one that is of use is taken over.
    fs::write(&identity.certificate, "no certificate").unwrap();
    wait_until("the damage is said", || stderr.text().contains("stays in use"));
    assert_eq!(get(&address, "localhost", trusted, "/healthz").unwrap().1, first);
    let renewed = authority.issue("renewed", HERE, false);
    fs::rename(&renewed.key, &identity.key).unwrap();
    fs::rename(&renewed.certificate, &identity.certificate).unwrap();
    wait_until("the new one is shown", || {
        get(&address, "localhost", trusted, "/healthz").unwrap().1 != first
    });
    process.0.kill().unwrap();
}

#[test]
fn a_server_without_a_key_that_fits_does_not_begin() {
    let scratch = Scratch::new().unwrap();
    let authority = Authority::new(&scratch.path("authority"));
    let (one, other) = (authority.issue("one", HERE, false), authority.issue("other", HERE, false));
    let nothing = scratch.path("nothing.pem");
    fs::write(&nothing, "nothing of the kind\n").unwrap();
    // No database is there, and none is needed to refuse these.
    let serve = |listen: &str, files: &[&Path], more: &[&str]| -> Outcome {
        let mut arguments: Vec<String> =
            ["serve", "--listen", listen, "--database-url", "postgres://u@127.0.0.1:1/d"]
                .map(str::to_owned)
                .into();
        for (option, file) in ["--tls-cert", "--tls-key"].iter().zip(files) {
            arguments.extend([(*option).to_owned(), file.display().to_string()]);
        }
        arguments.extend(more.iter().map(|m| (*m).to_owned()));
        run(arguments)
    };
    let here = "127.0.0.1:0";
    let missing = scratch.path("missing.pem");
    serve(here, &[&missing, &one.key], &[]).expect_status(2).expect_said("cannot read certificate");
    serve(here, &[&nothing, &one.key], &[]).expect_status(2).expect_said("BEGIN CERTIFICATE");
    serve(here, &[&one.certificate, &one.certificate], &[])
        .expect_status(2)
        .expect_said("BEGIN PRIVATE KEY");
    serve(here, &[&one.certificate, &other.key], &[])
        .expect_status(2)
        .expect_said("has to be that of the first certificate");
    serve(here, &[&one.certificate], &[]).expect_status(2).expect_said("--tls-key");
    serve("none", &[&one.certificate, &one.key], &[])
        .expect_status(1)
        .expect_said("--listen none takes none");
    // Without TLS only this host is served, unless somebody says that it is meant.
    serve("0.0.0.0:0", &[], &[]).expect_status(1).expect_said("--tls-cert");
    for (files, more) in
        [(&[][..], &["--plain-http"][..]), (&[&*one.certificate, &*one.key][..], &[][..])]
    {
        serve("0.0.0.0:0", files, more).expect_status(2).expect_said("cannot connect");
    }
}

/// A file of the database's own account, in its data directory.
fn put(database: &Database, name: &str, from: &Path) {
    let text = fs::read_to_string(from).unwrap();
    database.sql(&format!(
        "COPY (SELECT unnest(string_to_array($t${}$t$, E'\\n'))) TO PROGRAM 'umask 077; cat >{name}'",
        text.trim_end()
    ));
}

/// Has the database show this certificate.
fn show(database: &Database, identity: &Issued) {
    let folder = database.sql("SHOW data_directory");
    put(database, &format!("{folder}/tls.pem"), &identity.certificate);
    put(database, &format!("{folder}/tls.key"), &identity.key);
    for setting in ["ssl_cert_file = 'tls.pem'", "ssl_key_file = 'tls.key'", "ssl = on"] {
        database.sql(&format!("ALTER SYSTEM SET {setting}"));
    }
    database.sql("SELECT pg_reload_conf()");
}

#[test]
fn a_database_is_reached_in_tls_and_known_by_its_certificate() {
    let Some(database) = Database::start() else { return };
    database.command(&["stop"]).expect_status(0);
    database.command(&["start", "--listen", "127.0.0.1"]).expect_status(0);
    database.sql("CREATE ROLE ada LOGIN SUPERUSER PASSWORD 'secret'");
    let authority = Authority::new(&database.path("authority"));
    let other = Authority::new(&database.path("other"));
    let port = database.sql("SHOW port");
    let url =
        |host: &str, more: &str| format!("postgres://ada:secret@{host}:{port}/wiretable{more}");
    let ask = |url: &str| {
        let statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        run(["sql", statement, "--format", "csv", "--database-url", url])
    };
    let is_secret = |url: &str| {
        let said = ask(url).expect_status(0).stdout;
        said.lines().last().map(|line| line.to_lowercase()) == Some("t".to_owned())
    };
    // A server without TLS: whoever insists on it gets none.
    assert!(!is_secret(&url("127.0.0.1", "")));
    let refused = ask(&url("127.0.0.1", "?sslmode=require"));
    refused.expect_status(2).expect_said("does not support TLS");

    show(&database, &authority.issue("good", HERE, false));
    wait_until("it has TLS", || is_secret(&url("127.0.0.1", "")));
    let full = |authority: &Authority| {
        format!("?sslmode=verify-full&sslrootcert={}", authority.certificate.display())
    };
    assert!(!is_secret(&url("127.0.0.1", "?sslmode=disable")));
    assert!(is_secret(&url("127.0.0.1", "?sslmode=require")));
    for host in ["127.0.0.1", "localhost"] {
        assert!(is_secret(&url(host, &full(&authority))));
    }
    let refused = ask(&url("127.0.0.1", &full(&other)));
    refused.expect_status(2).expect_said("UnknownIssuer");
    ask(&url("127.0.0.1", "?sslmode=verify-ca")).expect_status(1).expect_said("verify-full");
    let absent = format!("?sslmode=verify-full&sslrootcert={}", database.path("none").display());
    ask(&url("127.0.0.1", &absent)).expect_status(1).expect_said("sslrootcert=system");

    // The server's own connections, and those of the roles that it answers as.
    let identity = authority.issue("server", HERE, false);
    let (mut process, _, address) =
        serve(&database, &url("localhost", &full(&authority)), &identity);
    let (answer, _) = get(&address, "localhost", &authority.certificate, "/readyz").unwrap();
    assert_eq!(answer.status, 200);
    let plain = "SELECT count(*), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename IN ('ada', 'wt_s_auth')";
    let counted = database.sql(plain);
    let (all, open) = counted.split_once('|').unwrap();
    assert!(all.parse::<u32>().unwrap() >= 2 && open == "0", "{counted}");
    process.0.kill().unwrap();

    // Certificates for somebody else, and of yesterday. What rests on neither takes them.
    show(&database, &authority.issue("elsewhere", "DNS:other.example", false));
    wait_until("the name is refused", || {
        let refused = ask(&url("127.0.0.1", &full(&authority)));
        refused.status == 2 && refused.stderr.contains("not valid for name")
    });
    show(&database, &authority.issue("expired", HERE, true));
    wait_until("the time is refused", || {
        let refused = ask(&url("127.0.0.1", &full(&authority)));
        refused.status == 2 && refused.stderr.contains("expired")
    });
    assert!(is_secret(&url("127.0.0.1", "?sslmode=require")));
}
