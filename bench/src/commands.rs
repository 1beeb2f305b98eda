//! The commands that measure.

mod calibrate;
mod dbnet;
mod http_share;
mod index;
mod live;
mod record;
mod replay;
mod xdp_cost;
mod xdp_rate;

pub use calibrate::calibrate;
pub use dbnet::dbnet;
pub use http_share::http_share;
pub use index::index;
pub use record::record;
pub use replay::replay;
pub use xdp_cost::xdp_cost;
pub use xdp_rate::xdp_rate;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use wt_bench::bound::{Method, TaskName};
use wt_bench::compare::{LIBPCAP, Setting, select_peers};
use wt_bench::forms::Forms;
use wt_bench::generate::{Amount, Profile, Spec};
use wt_bench::program::{self, Program, Step};
use wt_bench::report::{Report, bars, mebibytes};
use wt_bench::statistics::Sample;
use wt_bench::trace::{self, Source};
use wt_bench::{cache, filters, machine, peers, special, svg, task};

use crate::cli::{FlowsArgs, MeasureArgs, MemoryArgs, RunArgs, StartupArgs};

/// `tasks`.
pub fn tasks() {
    for task in task::ALL {
        println!("-- {}\n{}\n", task::title(task), task::query(task).text.trim_end());
    }
    for (name, filters) in [("T8", filters::twenty()), ("wide", filters::hundred())] {
        println!("-- {name}, for libpcap");
        for (index, filter) in filters.iter().enumerate() {
            println!("{}: {}", filters::name(index), filter.pcap);
        }
        println!();
    }
}

/// `peers`.
pub fn peers(install: bool) -> Result<()> {
    if install {
        peers::install().context("cannot run apt-get")?;
    }
    for peer in peers::ALL {
        let state = if peer.is_available() { "available" } else { "not available" };
        println!("{:<18} {state:<14} package {:<17} {}", peer.name, peer.package, peer.note);
    }
    for (program, package) in peers::LIVE {
        let state = if peers::find(program).is_some() { "available" } else { "not available" };
        println!("{program:<18} {state:<14} package {package:<17} for commands that send live");
    }
    Ok(())
}

/// `run`.
pub fn run(args: &RunArgs) -> Result<()> {
    let mut setting = setting(&args.measure)?;
    setting.peers = select_peers(&args.peers)
        .map_err(|name| anyhow!("`{name}` is not one of the tools; `wt-bench peers` lists them"))?;
    setting.libpcap = args.peers.iter().any(|name| name == "all" || name == LIBPCAP);
    if args.without_wiretable {
        setting.wiretable = None;
    }
    if args.check {
        setting.repeat = 0;
    }
    if args.two_cores {
        let other = usize::from(setting.core == 0);
        setting.two = Some([setting.core, other]);
    }
    let tasks = if args.tasks.is_empty() { task::ALL.to_vec() } else { args.tasks.clone() };
    let captures = args
        .captures
        .clone()
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures"));
    let name = args.measure.name.as_deref().unwrap_or("run");
    let mut report = begin(&format!("Tasks: {name}"), args.measure.dir.as_path(), &setting);
    report.line(
        "\nA ratio is wall time over that of the better of the two single cursors, `read` and `mmap`, for the same task on the same trace; \
         below it is faster. Medians; spread is the least and the greatest.",
    );
    let mut charts = Vec::new();
    for given in &args.traces {
        let source = trace::named(given, args.packets, &captures)?;
        eprintln!("trace {given}");
        let trace = trace::prepare(given, &source, &args.measure.dir)?;
        let in_huge_pages = cache::hold(&trace.path, args.measure.pages)?;
        if let Some(wiretable) = setting.wiretable.as_deref().filter(|_| args.forms) {
            let forms = Forms::prepare(wiretable, &trace, &args.measure.dir, setting.core)?;
            for file in forms.files()? {
                cache::hold(&file, args.measure.pages)?;
            }
            setting.forms = Some(forms);
        }
        let facts = setting.facts(&trace)?;
        report.trace(&trace, &facts, in_huge_pages);
        let mut outcomes = Vec::new();
        for &task in &tasks {
            eprintln!("  {}", task::title(task));
            let outcome = setting.compare(task, &trace, &facts)?;
            if setting.repeat > 0 {
                report.outcome(&outcome, &facts);
                outcomes.push(outcome);
            }
        }
        if !outcomes.is_empty() {
            report.summary(&outcomes);
        }
        charts.push((trace.name.clone(), outcomes.iter().map(bars).collect::<Vec<_>>()));
    }
    if setting.repeat == 0 {
        eprintln!("all answers agree");
        return Ok(());
    }
    for (trace, groups) in &charts {
        let file = format!("{name}-{trace}.svg");
        report.line(&format!("\n![Ratios on trace {trace}]({file})"));
        fs::create_dir_all(&args.measure.results)?;
        let title = format!("Wall time over the single-cursor bound, trace {trace} (logarithmic)");
        fs::write(args.measure.results.join(&file), svg::chart(&title, groups))?;
    }
    finish(&report, &args.measure, "run")
}

/// `flows`.
pub fn flows(args: &FlowsArgs) -> Result<()> {
    let mut setting = setting(&args.measure)?;
    let mut report = begin("Flows: T4 by their number", &args.measure.dir, &setting);
    report.line(&format!(
        "\n{} packets, each of the next flow. Every program keeps one group for each flow.",
        args.packets
    ));
    if setting.wiretable_arguments.is_empty() {
        // Ten million groups are more than the default allows.
        setting.wiretable_arguments = ["--memory", "16GiB"].map(Into::into).into();
    }
    for &count in &args.counts {
        let spec = Spec {
            profile: Profile::Flows,
            amount: Amount::Packets(args.packets),
            flows: count,
            ..Spec::default()
        };
        let trace =
            trace::prepare(&format!("flows-{count}"), &Source::Generated(spec), &args.measure.dir)?;
        eprintln!("{count} flows");
        let in_huge_pages = cache::hold(&trace.path, args.measure.pages)?;
        let facts = setting.facts(&trace)?;
        let outcome = setting.compare(TaskName::T4, &trace, &facts)?;
        report.trace(&trace, &facts, in_huge_pages);
        report.outcome(&outcome, &facts);
    }
    finish(&report, &args.measure, "flows")
}

/// `memory`.
pub fn memory(args: &MemoryArgs) -> Result<()> {
    let setting = setting(&args.measure)?;
    let wiretable = needed(&setting)?;
    let mut report = begin("Memory over a long stream", &args.measure.dir, &setting);
    report.line(&format!(
        "\n`wt-bench generate --bytes {} -o - | wiretable query … -r -`: IMIX, 100,000 flows, one million packets a second; \
         the generator runs on another core.\n",
        args.bytes
    ));
    report.line("| task | wall s | CPU s | GB/s | rows | peak RSS |");
    report.line("|---|---:|---:|---:|---:|---:|");
    for &task in &args.tasks {
        if task::query(task).batch {
            bail!("{} is a batch; memory is measured of single queries", task::short(task));
        }
        // The same stream, but short, is checked first.
        let spec = Spec { amount: Amount::Packets(100_000), ..Spec::default() };
        let short = trace::prepare("imix", &Source::Generated(spec), &args.measure.dir)?;
        let cores = [setting.core];
        let reference = program::bound(&setting.this, task, Method::Read, &cores, &short.path);
        let path = short.path.display().to_string();
        let other = program::wiretable(wiretable, &task::query(task), &cores, &path, &[]);
        special::agree(task, &reference, &other)?;
        eprintln!("{}", task::title(task));
        let streamed = special::stream(&setting, wiretable, task, args.bytes)?;
        report.line(&format!(
            "| {} | {:.1} | {:.1} | {:.2} | {} | {} |",
            task::title(task),
            streamed.wall.as_secs_f64(),
            streamed.cpu.as_secs_f64(),
            args.bytes as f64 / streamed.wall.as_secs_f64() / 1e9,
            streamed.rows - 1,
            mebibytes(streamed.resident_bytes_max),
        ));
    }
    finish(&report, &args.measure, "memory")
}

/// `startup`.
pub fn startup(args: &StartupArgs) -> Result<()> {
    let setting = setting(&args.measure)?;
    let wiretable = needed(&setting)?;
    const PACKETS: u64 = 100;
    let spec = Spec { amount: Amount::Packets(PACKETS), ..Spec::default() };
    let trace = trace::prepare("startup", &Source::Generated(spec), &args.measure.dir)?;
    let cores = [setting.core];
    let path = trace.path.display().to_string();
    let query = |task| program::wiretable(wiretable, &task::query(task), &cores, &path, &[]);
    let tcpdump = |name: &str, arguments: &[&str]| Program {
        name: name.to_owned(),
        steps: vec![Step::new("tcpdump", arguments.iter().copied()).with_input(&trace.path)],
        cores: cores.to_vec(),
    };
    let mut programs = vec![
        Program { name: "wiretable query, T1".into(), ..query(TaskName::T1) },
        Program { name: "wiretable query, T4".into(), ..query(TaskName::T4) },
        Program { name: "wiretable query, T8".into(), ..query(TaskName::T8) },
    ];
    let first = programs[0].answer()?;
    if !first.output.contains(&format!("\n{PACKETS},")) {
        bail!("wiretable counts other than {PACKETS} packets: {}", first.output);
    }
    if peers::find("tcpdump").is_some() {
        programs.push(tcpdump("tcpdump -n -c 100", &["-n", "-r", "-", "-c", "100"]));
        programs.push(tcpdump("tcpdump --count", &["-n", "-r", "-", "--count"]));
    }
    let mut samples = vec![Sample::default(); programs.len()];
    for _ in 0..args.runs {
        for (program, sample) in programs.iter().zip(&mut samples) {
            sample.push(program.measure()?.wall.as_secs_f64() * 1e3);
        }
    }
    let mut report = begin("Start-up: a capture of 100 packets", &args.measure.dir, &setting);
    report.line(&format!("\nMedian wall time of {} runs, in turns.\n", args.runs));
    report.line("| program | wall ms | spread |");
    report.line("|---|---:|---:|");
    for (program, sample) in programs.iter().zip(&samples) {
        report.line(&format!(
            "| {} | {:.2} | {:.2}–{:.2} |",
            program.name,
            sample.median(),
            sample.least(),
            sample.greatest()
        ));
    }
    finish(&report, &args.measure, "startup")
}

fn needed(setting: &Setting) -> Result<&Path> {
    setting.wiretable.as_deref().context("there is no wiretable to measure")
}

fn begin(title: &str, dir: &Path, setting: &Setting) -> Report {
    // The folder must be there for its filesystem to be named.
    let _ = fs::create_dir_all(dir);
    let wiretable = setting.wiretable.clone().unwrap_or_default();
    Report::new(title, &machine::describe(dir, &wiretable))
}

fn finish(report: &Report, args: &MeasureArgs, name: &str) -> Result<()> {
    let name = args.name.as_deref().unwrap_or(name);
    let path = report
        .write(&args.results, name)
        .with_context(|| format!("cannot write to {}", args.results.display()))?;
    println!("{}", report.text());
    eprintln!("written to {}", path.display());
    Ok(())
}

fn setting(args: &MeasureArgs) -> Result<Setting> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let beside = || this.with_file_name("wiretable");
    let wiretable = args.wiretable.clone().unwrap_or_else(beside);
    if !wiretable.is_file() {
        bail!(
            "{} is not there: build it with `cargo build --release -p wiretable`, or name another with --wiretable",
            wiretable.display()
        );
    }
    let help = Command::new(&wiretable).args(["query", "--help"]).output();
    let help = help.with_context(|| format!("cannot run {}", wiretable.display()))?;
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    let scratch: PathBuf = args.dir.join("scratch");
    fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot write to {}", scratch.display()))?;
    Ok(Setting {
        wiretable_cores: String::from_utf8_lossy(&help.stdout).contains("--cores"),
        this,
        wiretable: Some(wiretable),
        wiretable_arguments: args.wiretable_args.split_whitespace().map(Into::into).collect(),
        libpcap: true,
        peers: Vec::new(),
        core: args.core.unwrap_or(last),
        two: None,
        forms: None,
        repeat: args.repeat,
        scratch,
    })
}
