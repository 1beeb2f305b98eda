//! The `wt-bench` command.

mod cli;
mod commands;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use cli::{Cli, Command};
use wt_bench::generate::amplify::{Amplify, amplify};
use wt_bench::generate::{self, Written};
use wt_bench::live::{discard, flood};
use wt_bench::{bound, sys};

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wt-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Generate(args) => {
            let written =
                with_output(&args.output, |output| Ok(generate::generate(&args.spec(), output)?))?;
            report(written);
        }
        Command::Amplify(args) => {
            let spec = Amplify {
                inputs: args.inputs,
                amount: args.amount.amount(),
                rate: args.rate,
                fill: args.fill,
            };
            let written = with_output(&args.output, |output| Ok(amplify(&spec, output)?))?;
            report(written);
        }
        Command::Bound(args) => {
            let mut output = BufWriter::new(io::stdout().lock());
            bound::run(args.task, args.method, args.cores, &args.trace, &mut output)?;
            output.flush().context("cannot write the answer")?;
        }
        Command::Tasks => commands::tasks(),
        Command::Peers(args) => commands::peers(args.install)?,
        Command::Run(args) => commands::run(&args)?,
        Command::Flows(args) => commands::flows(&args)?,
        Command::Memory(args) => commands::memory(&args)?,
        Command::Startup(args) => commands::startup(&args)?,
        Command::Calibrate(args) => commands::calibrate(&args)?,
        Command::Replay(args) => commands::replay(&args)?,
        Command::XdpCost(args) => commands::xdp_cost(&args)?,
        Command::XdpRate(args) => commands::xdp_rate(&args)?,
        Command::Record(args) => commands::record(&args)?,
        Command::Index(args) => commands::index(&args)?,
        Command::Slice(args) => {
            bound::slice::slice(&args.trace, args.from_ns, args.to_ns, &args.output)?;
        }
        Command::HttpShare(args) => commands::http_share(&args)?,
        Command::Dbnet(args) => commands::dbnet(&args)?,
        Command::Flood(args) => flood(&args)?,
        Command::Discard(args) => discard::run(&args.interface)?,
    }
    Ok(())
}

/// Sends a flood and prints when: `first NS`, `last NS`, then what was sent.
fn flood(args: &cli::FloodArgs) -> Result<()> {
    let phases: Vec<Duration> =
        args.phases.iter().map(|seconds| Duration::from_secs_f64(*seconds)).collect();
    let [before, during, after] = phases[..] else {
        anyhow::bail!("--phases takes three times, such as 2 4 4")
    };
    let course = flood::Course {
        phases: [before, during, after],
        background: f64::from(args.background),
        flood: f64::from(args.flood),
    };
    let mut output = io::stdout();
    let sent = flood::run(&args.interface, &course, |what, ns| {
        writeln!(output, "{what} {ns}")?;
        output.flush()
    })?;
    println!("background {}\nflood {}", sent.background, sent.flood);
    Ok(())
}

/// Runs a writer of large pieces on a file or on standard output. A reader that has seen enough is no failure.
fn with_output(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<Written>,
) -> Result<Option<Written>> {
    let written = if path == Path::new("-") {
        let output = io::stdout();
        sys::widen_pipe(&output);
        // Without the line buffer of standard output.
        let mut raw = File::from(std::os::fd::AsFd::as_fd(&output).try_clone_to_owned()?);
        write(&mut raw)
    } else {
        let mut file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        write(&mut file)
    };
    match written {
        Ok(written) => Ok(Some(written)),
        Err(error) if closed(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn closed(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn report(written: Option<Written>) {
    if let Some(Written { packets, bytes }) = written {
        eprintln!("{packets} packets, {bytes} bytes");
    }
}
