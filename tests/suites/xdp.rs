//! Programs in the kernel against the reference interpreter: random programs and queries over carried, damaged and invented packets.
//! `WT_FUZZ=SEED` looks for an hour, from another seed; `WT_FUZZ_ONE=SEED` runs one seed.

use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::fuzz::backends::runs::{
    Tally, random_placement, random_program_in_kernel, random_queries_in_kernel,
};
use wt_tests::kernel;

/// Seed of ordinary runs.
const SEED: u64 = 2;

/// Trials of an ordinary run.
const PROGRAMS: u64 = 900;
const QUERY_BATCHES: u64 = 100;
const PLACEMENTS: u64 = 400;

/// How long a longer look takes, each suite of it.
const LONGER: Duration = Duration::from_secs(60 * 60);

/// Seeds that have found something: a header that another may follow taken for the end of the likeliest path, a field behind what is known of one, and
/// a header that may have no length at all taken for one of the least.
const FOUND: [u64; 3] = [0x018e_725a_0000_0018, 0x018e_725a_0000_02c0, 0x0002_0000_02ad];

type Compare = fn(u64) -> Result<Tally, String>;

fn main() {
    let arguments = Arguments::from_args();
    let is_left_out = kernel::refusal().is_some();
    if let Some(refusal) = kernel::refusal() {
        eprintln!("programs are not compared: {refusal}");
    }
    let trials = vec![
        Trial::test("programs_of_any_shape_agree", || {
            enough(compare(random_program_in_kernel, PROGRAMS)?, PROGRAMS)
        }),
        Trial::test("queries_of_any_kind_agree", || {
            enough(compare(random_queries_in_kernel, QUERY_BATCHES)?, QUERY_BATCHES)
        }),
    ];
    let mut trials: Vec<Trial> =
        trials.into_iter().map(|trial| trial.with_ignored_flag(is_left_out)).collect();
    // This one needs no privilege.
    trials.push(Trial::test("planner_and_generator_agree_about_what_has_code", placements));
    libtest_mimic::run(&arguments, trials).exit();
}

/// What EXPLAIN says of a query is what happens.
fn placements() -> Result<(), Failed> {
    let (mut with_code, mut without) = (0, 0);
    for seed in 0..PLACEMENTS {
        match random_placement(SEED << 32 | seed)? {
            Some(true) => with_code += 1,
            Some(false) => without += 1,
            None => {}
        }
    }
    let is_enough = with_code * 10 > PLACEMENTS && without * 10 > PLACEMENTS;
    if is_enough { Ok(()) } else { Err(format!("{with_code} with code, {without} without").into()) }
}

fn seed_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|seed| seed.parse().ok())
}

/// Runs trials until there were enough, or for a long time when that is asked for.
fn compare(trial: Compare, count: u64) -> Result<Tally, Failed> {
    if let Some(seed) = seed_of("WT_FUZZ_ONE") {
        return Ok(trial(seed)?);
    }
    let asked = seed_of("WT_FUZZ");
    let first = asked.unwrap_or(SEED).wrapping_mul(1 << 32);
    let start = Instant::now();
    let mut total = Tally::default();
    for seed in FOUND {
        total.add(trial(seed)?);
    }
    let mut number = 0;
    while if asked.is_some() { start.elapsed() < LONGER } else { number < count } {
        total.add(trial(first.wrapping_add(number))?);
        number += 1;
    }
    eprintln!("{total:?}");
    Ok(total)
}

/// A comparison shows something only when much of it ran in the kernel, and had tuples that qualified.
fn enough(tally: Tally, least: u64) -> Result<(), Failed> {
    if seed_of("WT_FUZZ_ONE").is_some() {
        return Ok(());
    }
    let Tally { batches, compiled, packets, matched, .. } = tally;
    let is_enough = batches >= least && compiled * 3 >= batches && matched * 20 >= packets;
    if is_enough { Ok(()) } else { Err(format!("too little was compared: {tally:?}").into()) }
}
