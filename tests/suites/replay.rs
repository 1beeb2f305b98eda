//! The committed fuzz corpus and seeded damage to it, through every target: what cargo-fuzz looks for at length, a little of it
//! in every run. `WT_FUZZ=SEED` looks longer, from another seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::fuzz::{TARGETS, Target};
use wt_tests::rng::{Rng, mutate};

/// The corpus stays small enough to be carried, bytes.
const CORPUS_BYTES_MAX: u64 = 200 * 1024;

/// Seed of the damage in ordinary runs, and how much more a longer look takes.
const SEED: u64 = 1;
const LONGER: usize = 50;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("corpus_is_small", corpus_is_small)];
    for target in TARGETS {
        trials.push(Trial::test(format!("corpus::{}", target.name), move || replay(target)));
        trials.push(Trial::test(format!("damage::{}", target.name), move || damage(target)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = wt_tests::tests_dir().join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

fn corpus_is_small() -> Result<(), Failed> {
    let mut bytes = 0;
    for target in TARGETS {
        for file in corpus(target.name) {
            bytes += file.metadata()?.len();
        }
    }
    if bytes > CORPUS_BYTES_MAX {
        Err(format!("the corpus has {bytes} bytes").into())
    } else {
        Ok(())
    }
}

fn replay(target: &Target) -> Result<(), Failed> {
    let files = corpus(target.name);
    if files.is_empty() {
        return Err(format!("no corpus for {}", target.name).into());
    }
    let mut refused = Vec::new();
    for file in &files {
        let data = std::fs::read(file)?;
        if !endure(target, &data, &file.display().to_string())? {
            refused.push(file);
        }
    }
    // A corpus that is refused at the door shows nothing of what lies behind.
    if refused.len() > files.len() / 2 {
        return Err(format!("{} of {} are refused: {refused:?}", refused.len(), files.len()).into());
    }
    Ok(())
}

fn damage(target: &Target) -> Result<(), Failed> {
    let seeds: Vec<Vec<u8>> =
        corpus(target.name).iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let asked = std::env::var("WT_FUZZ").ok().and_then(|seed| seed.parse::<u64>().ok());
    let mutations = target.mutations * if asked.is_some() { LONGER } else { 1 };
    let mut rng = Rng::named(asked.unwrap_or(SEED), target.name);
    for i in 0..mutations {
        let mut data = rng.pick(&seeds).clone();
        if rng.one_in(8) {
            // Two inputs spliced.
            let other = rng.pick(&seeds);
            data.truncate(rng.below(data.len() + 1));
            data.extend_from_slice(&other[rng.below(other.len() + 1)..]);
        }
        mutate(&mut data, &mut rng);
        endure(target, &data, &format!("damage {i}"))?;
    }
    Ok(())
}

fn endure(target: &Target, data: &[u8], name: &str) -> Result<bool, Failed> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(data))).map_err(|_| {
        // The input as cargo-fuzz takes it.
        let kept =
            std::env::temp_dir().join(format!("wiretable-{}-{}", target.name, std::process::id()));
        let where_kept = match std::fs::write(&kept, data) {
            Ok(()) => format!("the input is in {}", kept.display()),
            Err(error) => format!("the input could not be kept: {error}"),
        };
        Failed::from(format!("{}: {name} panics; {where_kept}", target.name))
    })
}
