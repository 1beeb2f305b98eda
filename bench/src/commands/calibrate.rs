//! The command `calibrate`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wt_bench::calibrate::{self, Costs, Job, Run, measure, queries};
use wt_bench::report::Report;
use wt_bench::trace::{self, Trace};
use wt_bench::{machine, sys};

use crate::cli::CalibrateArgs;

/// Runs the queries, fits costs, writes the table.
pub fn calibrate(args: &CalibrateArgs) -> Result<()> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let wiretable = args.wiretable.clone().unwrap_or_else(|| this.with_file_name("wiretable"));
    if !wiretable.is_file() {
        bail!(
            "{} is not there: build it with `cargo build --release -p wiretable`, or name another with --wiretable",
            wiretable.display()
        );
    }
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    let core = args.core.unwrap_or(last);
    // Before this process is bound to one core: it tells how many there are.
    let _ = fs::create_dir_all(&args.dir);
    let machine = machine::describe(&args.dir, &wiretable);
    sys::pin(&[core]).with_context(|| format!("cannot run on core {core}"))?;

    let mut traces = Vec::new();
    for fitted in calibrate::traces(args.packets, &captures()) {
        let name = format!("costs-{}", fitted.name);
        traces.push((trace::prepare(&name, &fitted.source, &args.dir)?, fitted.about));
    }
    let check = trace::named("real", Some(args.packets), &captures())?;
    let check = trace::prepare("costs-real", &check, &args.dir)?;

    let mut jobs = fitted(&traces);
    let count = jobs.len();
    // In turns with each other, so that a busy moment hits what is fitted and what is checked alike.
    jobs.extend(
        queries::CHECKED.iter().flat_map(|(name, query)| {
            [&traces[0].0, &check].map(|trace| Job { name, query, trace })
        }),
    );
    eprintln!("{count} runs to fit, {} to check, {} times each", jobs.len() - count, args.repeat);
    let measured = measure(&wiretable, &jobs, args.repeat)?;
    let (fitted, checked) = measured.runs.split_at(count);
    let costs = calibrate::costs(fitted, &measured.guess, measured.yardstick_ns);
    for trace in traces.iter().map(|(trace, _)| trace).chain([&check]) {
        // They are quickly made again.
        let _ = fs::remove_file(&trace.path);
    }

    let name = machine.iter().find(|(name, _)| *name == "processor").map_or("unknown", |m| &m.1);
    let table = costs.toml(name);
    if args.output == Path::new("-") {
        print!("{table}");
    } else {
        fs::write(&args.output, &table)
            .with_context(|| format!("cannot write {}", args.output.display()))?;
    }
    let mut report = Report::new("Capacity: predicted and measured", &machine);
    section(&mut report, &costs, fitted, "Fitted", "The queries that costs were fitted from.");
    section(
        &mut report,
        &costs,
        checked,
        "Held back",
        "Queries that the fit has not seen, predicted from the tuples that there were.",
    );
    if let Some(dir) = &args.results {
        let path = report
            .write(dir, "capacity")
            .with_context(|| format!("cannot write to {}", dir.display()))?;
        eprintln!("written to {}", path.display());
    } else {
        eprintln!("{}", report.text());
    }
    Ok(())
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures")
}

/// Queries that costs are fitted from, each on the traces that are meant for it.
fn fitted<'a>(traces: &'a [(Trace, &[&str])]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for (trace, about) in traces {
        // CUBE takes long, and depends on neither sizes nor flows.
        let is_slow = |text: &str| text.contains("CUBE");
        let is_meant = |text: &str| about.iter().any(|word| text.contains(word)) && !is_slow(text);
        let texts = queries::FITTED.iter().filter(|text| about.is_empty() || is_meant(text));
        jobs.extend(texts.map(|query| Job { name: query, query, trace }));
    }
    jobs
}

fn section(report: &mut Report, costs: &Costs, runs: &[Run], title: &str, about: &str) {
    report.line(&format!("\n## {title}\n\n{about}\n"));
    report.line("| query | trace | predicted ns | measured ns | ratio |");
    report.line("|---|---|---:|---:|---:|");
    let mut within = 0;
    for run in runs {
        let ns = costs.predict(run);
        let ratio = ns / run.ns;
        within += usize::from((0.5..=2.0).contains(&ratio));
        report.line(&format!(
            "| `{}` | {} | {ns:.1} | {:.1} | {ratio:.2} |",
            run.name.replace('|', "\\|"),
            run.trace.trim_start_matches("costs-"),
            run.ns
        ));
    }
    report.line(&format!("\n{within} of {} within a factor of two.", runs.len()));
}
