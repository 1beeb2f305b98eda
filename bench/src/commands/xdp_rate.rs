//! The command `xdp-rate`.

use anyhow::Result;
use wt_bench::live::lab::Lab;
use wt_bench::live::xdp_rate::{Measured, Taker, measure, subjects};
use wt_bench::svg::{self, Curve};

use super::live::Bench;
use crate::cli::XdpRateArgs;

/// Measures queries in the driver against a program that only counts.
pub fn xdp_rate(args: &XdpRateArgs) -> Result<()> {
    let bench = Bench::new(&args.live)?;
    let lab = Lab::new(1)?;
    let cores = [args.live.sender_core, bench.core];
    let subjects = subjects(&args.sources);
    let (wiretable, dir) = (&bench.wiretable, bench.scratch.dir());
    let all = measure(&lab, wiretable, dir, cores, bench.duration, subjects, args.rounds)?;
    let mut report = bench.begin("64-byte packets on one core");
    report.line(&format!(
        "\nLive frames of 64 bytes (TCP to port 80) into a program in the driver, disposition drop. Core {} makes, sends and receives them; `wiretable` empties tables and ring on core {}. \
         Times are of processors, for a packet that was seen, so that what else the machine does plays little part: on the core is all that core {} does, beside is `wiretable`. The ratio is the rate that is kept: the time of the yardstick on the core in the same round, over that of the query. \
         The yardstick adds one to a word of its processor, which it looks up. *Of all* counts the time beside too. *In C* is the same query by hand, as clang makes it, with nobody who empties its tables. \
         A table has 4096 slots. Medians of {} rounds in turns, {} s each.\n",
        cores[0], cores[1], cores[0], args.rounds, args.live.seconds,
    ));
    report.line("| query | groups | M packets/s | ns on the core | ns beside | ratio | spread | of all | ejected per packet | lost | books |");
    report.line("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    for m in &all {
        let books = match (&m.imbalance, m.subject.taker) {
            (Some(why), _) => format!("DO NOT BALANCE: {why}"),
            (None, Taker::Query(_)) => "balance".to_owned(),
            (None, _) => "–".to_owned(),
        };
        report.line(&format!(
            "| {} | {} | {:.2} | {:.1} | {:.1} | {:.3} | {:.3}–{:.3} | {:.3} | {:.1}% | {:.2}% | {books} |",
            m.subject.name,
            m.subject.sources,
            m.rate.median() / 1e6,
            m.core_ns.median(),
            m.beside_ns.median(),
            m.ratio.median(),
            m.ratio.least(),
            m.ratio.greatest(),
            m.ratio_of_all.median(),
            100.0 * m.ejected.median(),
            100.0 * m.lost.median(),
        ));
    }
    report.line("");
    for m in all.iter().filter(|m| m.subject.sources == 1) {
        if let Taker::Query(text) = m.subject.taker {
            report.line(&format!("- {}: `{text}`", m.subject.name));
        }
    }
    let grouping: Vec<&Measured> = all.iter().filter(|m| m.subject.name == "group").collect();
    let points = grouping.iter().map(|m| (f64::from(m.subject.sources).log2(), m.ratio.median()));
    let curve = Curve { name: "group".to_owned(), points: points.collect() };
    let axes = ["groups, as a power of two", "rate over the yardstick's"];
    bench.finish(report, "xdp-rate", &svg::plot("Rate by groups", axes, &[curve], Some(0.95)))
}
