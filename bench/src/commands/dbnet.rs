//! `dbnet`.

use anyhow::{Context, Result};
use wt_bench::report::Report;
use wt_bench::{dbnet, machine};

use crate::cli::DbnetArgs;

/// Runs DBNet's experiments and writes the report.
pub fn dbnet(args: &DbnetArgs) -> Result<()> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let wiretable = args.wiretable.clone().unwrap_or_else(|| this.with_file_name("wiretable"));
    let wiretable = wiretable.canonicalize().with_context(|| {
        format!("{} is not there: build it, or name another with --wiretable", wiretable.display())
    })?;
    // Postgres's account has to reach the folder, and those above a checkout may be closed to it.
    let dir = std::env::temp_dir().join(format!("wt-bench-dbnet-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let facts = machine::describe(&dir, &wiretable);
    let outcomes = dbnet::run(&wiretable, &dir, args.rounds as usize);
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    let outcomes = outcomes?;
    let mut report = Report::new("DBNet's experiments", &facts);
    report.line(&format!(
        "\nOver HTTP, by the client's clock: request, transaction with provenance, durable commit, answer; in the database, by the server's: from asking for a connection until the commit is answered. The paper's figures are of its DBMS alone for the two examples, to be compared with the database's time, and whole for the others. {} rounds each.\n",
        args.rounds
    ));
    report.line("| experiment | median ms | spread | in the database, median ms | spread | paper ms | of the paper | goal ms |");
    report.line("|---|---:|---:|---:|---:|---:|---:|---:|");
    for outcome in &outcomes {
        let (took, median) = (&outcome.took_ms, outcome.took_ms.median());
        let or_none =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.0}"));
        let ratio = outcome
            .paper_ms
            .map_or_else(|| "–".to_owned(), |paper| format!("{:.3}", median / paper));
        let database = match &outcome.database_ms {
            none if none.is_empty() => "– | –".to_owned(),
            of => format!("{:.2} | {:.2}–{:.2}", of.median(), of.least(), of.greatest()),
        };
        report.line(&format!(
            "| {} | {median:.2} | {:.2}–{:.2} | {database} | {} | {ratio} | {} |",
            outcome.name,
            took.least(),
            took.greatest(),
            or_none(outcome.paper_ms),
            or_none(outcome.goal_ms)
        ));
    }
    print!("{}", report.text());
    let path = report.write(&args.results, "dbnet").context("cannot write the report")?;
    eprintln!("wt-bench: wrote {}", path.display());
    Ok(())
}
