//! The command `xdp-rate`.

use anyhow::Result;
use wt_bench::live::lab::Lab;
use wt_bench::live::xdp_rate::{Measured, measure, subjects};
use wt_bench::svg::{self, Curve};

use super::live::Bench;
use crate::cli::XdpRateArgs;

/// Measures queries in the driver against a program that only counts.
pub fn xdp_rate(args: &XdpRateArgs) -> Result<()> {
    let bench = Bench::new(&args.live)?;
    let lab = Lab::new(1)?;
    let cores = [args.live.sender_core, bench.core];
    let subjects = subjects(&args.sources);
    let all = measure(&lab, &bench.wiretable, cores, bench.duration, subjects, args.rounds)?;
    let mut report = bench.begin("64-byte packets on one core");
    report.line(&format!(
        "\nLive frames of 64 bytes (TCP to port 80) into a program in the driver, disposition drop. Core {} makes, sends and receives them; `wiretable` empties tables and ring on core {}. \
         M/cpu-s: millions of packets seen per second of processor time of all of these, so that what else the machine does plays no part. The ratio is to the yardstick of the same round: a program that adds one to one word. \
         A table has 4096 slots. Medians of {} rounds in turns, {} s each.\n",
        cores[0], cores[1], args.rounds, args.live.seconds,
    ));
    report.line("| query | groups | M packets/s | M/cpu-s | ratio | spread | ejected per packet | lost | books |");
    report.line("|---|---:|---:|---:|---:|---:|---:|---:|---|");
    for m in &all {
        let books = match (&m.imbalance, m.subject.text) {
            (Some(why), _) => format!("DO NOT BALANCE: {why}"),
            (None, Some(_)) => "balance".to_owned(),
            (None, None) => "–".to_owned(),
        };
        report.line(&format!(
            "| {} | {} | {:.2} | {:.2} | {:.3} | {:.3}–{:.3} | {:.1}% | {:.2}% | {books} |",
            m.subject.name,
            m.subject.sources,
            m.rate.median() / 1e6,
            m.per_cpu.median(),
            m.ratio.median(),
            m.ratio.least(),
            m.ratio.greatest(),
            100.0 * m.ejected.median(),
            100.0 * m.lost.median(),
        ));
    }
    report.line("");
    for m in all.iter().filter(|m| m.subject.sources == 1 && m.subject.text.is_some()) {
        report.line(&format!("- {}: `{}`", m.subject.name, m.subject.text.unwrap_or("")));
    }
    let grouping: Vec<&Measured> = all.iter().filter(|m| m.subject.name == "group").collect();
    let points = grouping.iter().map(|m| (f64::from(m.subject.sources).log2(), m.ratio.median()));
    let curve = Curve { name: "group".to_owned(), points: points.collect() };
    let axes = ["groups, as a power of two", "M/cpu-s over the yardstick's"];
    bench.finish(report, "xdp-rate", &svg::plot("Rate by groups", axes, &[curve], Some(0.95)))
}
