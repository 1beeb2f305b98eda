//! `wiretable index`: makes, describes and verifies indices.

use std::path::{Path, PathBuf};

use wt_trace::index::{self, BuildError, Entry, Index, IndexError, RATIO_DEFAULT};
use wt_trace::store::Store;

use crate::cli::index::{IndexArgs, IndexCommand};
use crate::execute::progress_bar;
use crate::failure::Failure;
use crate::moment;
use crate::record::failure;

/// Does what is asked.
pub fn index(args: &IndexArgs) -> Result<(), Failure> {
    match &args.command {
        IndexCommand::Build { index_ratio, no_progress, traces } => {
            for (trace, of_store) in files(traces)? {
                let ratio = index_ratio.or(of_store).unwrap_or(RATIO_DEFAULT);
                let made = build(&trace, ratio, !no_progress)?;
                eprintln!("wiretable: {}", made_line(&made, &trace));
            }
            Ok(())
        }
        IndexCommand::Info { traces } => {
            for (trace, _) in files(traces)? {
                let index = Index::open(&trace).map_err(|error| unusable(&trace, &error))?;
                info(&trace, &index.checked());
            }
            Ok(())
        }
        IndexCommand::Verify { traces } => {
            let mut wrong = Vec::new();
            for (trace, _) in files(traces)? {
                match verify(&trace)? {
                    None => println!("{}: as its index says", trace.display()),
                    Some(what) => wrong.push(format!("{}: {what}", trace.display())),
                }
            }
            match wrong.is_empty() {
                true => Ok(()),
                false => Err(Failure::Input(format!(
                    "{}\n  help: readers leave such an index alone; `wiretable index build` makes it anew",
                    wrong.join("\nwiretable: ")
                ))),
            }
        }
    }
}

/// The traces: those named, and the closed plain segments of stores, with the ratio of their store.
fn files(traces: &[PathBuf]) -> Result<Vec<(PathBuf, Option<u64>)>, Failure> {
    let mut files = Vec::new();
    for path in traces {
        if !path.is_dir() {
            files.push((path.clone(), None));
            continue;
        }
        let store = Store::open(path).map_err(failure)?;
        let ratio = store.index_ratio().clamp(*index::RATIOS.start(), *index::RATIOS.end());
        for segment in store.segments().map_err(failure)? {
            // One that is being written has an index when it is closed, and of a compressed one no part can be read alone.
            if !segment.name.is_compressed && store.summary(&segment).is_some() {
                files.push((segment.path, Some(ratio)));
            }
        }
    }
    Ok(files)
}

fn build(trace: &Path, ratio: u64, wants_bar: bool) -> Result<Index, Failure> {
    let bar = progress_bar(wants_bar);
    if let (Some(bar), Ok(metadata)) = (&bar, std::fs::metadata(trace)) {
        bar.set_length(metadata.len());
    }
    let made = index::build(trace, ratio, &mut |bytes| {
        if let Some(bar) = &bar {
            bar.set_position(bytes);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    made.map_err(|error| match error {
        BuildError::Compressed { .. } => Failure::Input(format!(
            "{error}\n  help: decompress it, or record it: `wiretable record -r {} -w DIR`",
            trace.display()
        )),
        BuildError::Capture(wt_wire::CaptureError::Open { .. }) | BuildError::Io { .. } => {
            Failure::Environment(error.to_string())
        }
        BuildError::Capture(_) | BuildError::Changed { .. } => Failure::Input(error.to_string()),
    })
}

fn made_line(made: &Index, trace: &Path) -> String {
    let (len, _) = made.covered();
    let share = 100.0 * made.bytes() as f64 / len.max(1) as f64;
    format!(
        "{}: {} entries, {} bytes, {share:.2}% of the trace",
        index::path_of(trace).display(),
        made.len(),
        made.bytes()
    )
}

fn unusable(trace: &Path, error: &IndexError) -> Failure {
    let help = format!("`wiretable index build {}` makes one", trace.display());
    let message = format!("{}: {error}\n  help: {help}", trace.display());
    match error {
        IndexError::Io { .. } => Failure::Environment(message),
        _ => Failure::Input(message),
    }
}

fn info(trace: &Path, index: &Index) {
    let line = |name: &str, value: String| println!("{name:<12}{value}");
    let (len, covered) = index.covered();
    let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    line("trace", trace.display().to_string());
    line("bytes", format!("{len}, {:.1}% indexed", share(covered, len)));
    line("entries", format!("{}, one for each {} bytes", index.len(), index.ratio()));
    line(
        "index",
        format!("{} bytes, {:.2}% of the trace", index.bytes(), share(index.bytes(), len)),
    );
    let entries = index.entries();
    let packets: u64 = entries.iter().map(|entry| u64::from(entry.packets)).sum();
    line("packets", packets.to_string());
    if let Some((from_ns, to_ns)) = index.range_ns() {
        line("from", moment::show(from_ns));
        line("to", moment::show(to_ns));
    }
    let in_order = entries.iter().all(|entry| entry.is_in_order)
        && entries.windows(2).all(|pair| pair[0].max_ns <= pair[1].min_ns);
    line("order", if in_order { "of time" } else { "stamps fall at places" }.to_owned());
    let opaque = entries.iter().filter(|entry| entry.summary.is_opaque()).count();
    let fills: Vec<f64> = entries.iter().map(|entry| entry.summary.fill()).collect();
    let mean = fills.iter().sum::<f64>() / fills.len().max(1) as f64;
    line(
        "summaries",
        format!(
            "{} bytes each, {:.1}% full: {:.2}% of wrong maybes; {opaque} blocks may hold anything",
            index.summary_bytes(),
            100.0 * mean,
            100.0 * mean.powi(3)
        ),
    );
}

/// What differs between a trace and its index.
fn verify(trace: &Path) -> Result<Option<String>, Failure> {
    let index = match Index::open(trace) {
        Ok(index) => index.checked(),
        Err(error @ IndexError::Io { .. }) => return Err(unusable(trace, &error)),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let again = index::scan(trace, index.ratio(), &mut |_| {});
    let again = again.map_err(|error| Failure::Input(error.to_string()))?;
    let entries = index.entries();
    let pairs = || entries.iter().zip(&again);
    // A trace that has grown has a last block that was shorter.
    let differs = |(kept, now): &(&Entry, &Entry)| kept.len == now.len && kept != now;
    if let Some((kept, _)) = pairs().find(differs) {
        return Ok(Some(format!("the block at byte {} is not what was indexed", kept.offset)));
    }
    let (len, covered) = index.covered();
    let of_now = again.last().map_or(covered, |last| last.offset + last.len);
    if covered < of_now && entries.len() < again.len() {
        let rest = len - covered;
        return Ok(Some(format!("the last {rest} bytes have no entry, and are always read")));
    }
    Ok(None)
}
