//! Compiled code against the reference interpreter: random programs and queries over random packets, and packets at the edge of
//! memory. `WT_FUZZ=SEED` looks for an hour, from another seed, or for the minutes of `WT_FUZZ_MINUTES`; `WT_FUZZ_ONE=SEED` runs one seed.

use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use wt_catalog::Catalog;
use wt_tests::fuzz::backends::runs::{Tally, random_program, random_queries};
use wt_tests::fuzz::backends::{guard, program, traffic};
use wt_tests::rng::Rng;
use wt_tests::run::Setup;

/// Seed of ordinary runs.
const SEED: u64 = 1;

/// Trials of an ordinary run. They are counted, not timed, so that every machine compares the same.
const PROGRAMS: u64 = 800;
const QUERY_BATCHES: u64 = 60;

/// How long a longer look takes unless it is said, minutes, each suite of it.
const LONGER_MINUTES: u64 = 60;

type Compare = fn(u64) -> Result<Tally, String>;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("programs_of_any_shape_agree", || {
            enough(compare(random_program, PROGRAMS)?, PROGRAMS)
        }),
        Trial::test("queries_of_any_kind_agree", || {
            enough(compare(random_queries, QUERY_BATCHES)?, QUERY_BATCHES)
        }),
        Trial::test("compiled_queries_read_nothing_outside_a_packet", guarded_queries),
        Trial::test("compiled_programs_read_nothing_outside_a_packet", guarded_programs),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

/// Runs trials until there were enough, or for a long time when that is asked for.
fn compare(trial: Compare, count: u64) -> Result<Tally, Failed> {
    if let Some(seed) = number_of("WT_FUZZ_ONE") {
        return Ok(trial(seed)?);
    }
    let asked = number_of("WT_FUZZ");
    let first = asked.unwrap_or(SEED).wrapping_mul(1 << 32);
    let start = Instant::now();
    let longer = Duration::from_secs(60 * number_of("WT_FUZZ_MINUTES").unwrap_or(LONGER_MINUTES));
    let mut total = Tally::default();
    let mut number = 0;
    while if asked.is_some() { start.elapsed() < longer } else { number < count } {
        total.add(trial(first.wrapping_add(number))?);
        number += 1;
    }
    eprintln!("{total:?}");
    Ok(total)
}

/// A comparison shows something only when most of it was compiled, and had tuples that qualified.
fn enough(tally: Tally, least: u64) -> Result<(), Failed> {
    if number_of("WT_FUZZ_ONE").is_some() {
        return Ok(());
    }
    let Tally { batches, compiled, refused, queries, packets, matched } = tally;
    let is_enough = batches >= least
        && compiled * 4 >= batches * 3
        && refused <= 3 * queries
        && queries >= batches
        && matched * 20 >= packets;
    if is_enough { Ok(()) } else { Err(format!("too little was compared: {tally:?}").into()) }
}

/// Queries that read each kind of place.
const QUERIES: [&str; 10] = [
    "SELECT eth_src, eth_dst, eth_type FROM eth",
    "SELECT srcIP, destIP, protocol, ttl, ip_len, ip_payload_len, hdr_len FROM ip",
    "SELECT srcPort, destPort, seq, flags, window, tcp_hdr_len, data_len FROM tcp",
    "SELECT mss, wscale, tsval, tsecr FROM tcp",
    "SELECT data FROM tcp WHERE str_regex_match[data, '[a-z]+$']",
    "SELECT data, udp_len FROM udp",
    "SELECT vxlan.ip.srcIP AS a FROM vxlan.ip",
    "SELECT ip_checksum_ok, ip_options FROM ipv4",
    "SELECT depth(ip) AS d, present(vlan) AS v, vlan[last].vlan_id AS t FROM vlan",
    "SELECT len FROM packet WHERE pcap_filter('vlan and ip6 or tcp[tcpflags] & tcp-syn != 0 or udp[8:4] = 7')",
];

fn guarded_queries() -> Result<(), Failed> {
    let catalog = Catalog::builtin();
    let named = |(i, query): (usize, &&str)| format!("DEFINE {{ query_name 'q{i}'; }} {query}");
    let texts: Vec<String> = QUERIES.iter().enumerate().map(named).collect();
    let plan = Setup::default().compile(&catalog, &texts.join(";\n"), true)?;
    let program = &plan.physical.interfaces[0].program;
    let mut samples: Vec<_> = traffic::carried().iter().step_by(12).cloned().collect();
    samples.extend(traffic::packets(&mut Rng::new(SEED), 60));
    let run = guard::run(program, &samples, 160)?;
    match run {
        Some(packets) if packets > 10_000 => Ok(()),
        run => Err(format!("{run:?} packets were run").into()),
    }
}

fn guarded_programs() -> Result<(), Failed> {
    let (mut programs, mut packets) = (0, 0);
    for number in 0..200 {
        let mut rng = Rng::named(number, "guard");
        let (mut program, _) = program::program(&mut rng);
        // Groups are sent when their window closes, which the reference may do in parts.
        program.queries.retain(|q| matches!(q.action, wt_plan::ir::LftaAction::Select { .. }));
        let samples: Vec<_> = (0..6)
            .map(|_| wt_tests::fuzz::backends::Sample {
                link_type: *rng.pick(&program::LINK_TYPES),
                timestamp_ns: number,
                len: 60,
                direction: wt_wire::Direction::Unknown,
                data: program::bytes(&mut rng),
            })
            .collect();
        match guard::run(&program, &samples, 64) {
            Ok(Some(run)) => (programs, packets) = (programs + 1, packets + run),
            Ok(None) => {}
            // Code for some other link type cannot be made.
            Err(error) if error.contains("no code") => {}
            Err(error) => return Err(format!("program {number}: {error}").into()),
        }
    }
    if programs >= 60 && packets >= 10_000 {
        Ok(())
    } else {
        Err(format!("{programs} programs over {packets} packets").into())
    }
}
