//! The command `xdp-cost`.

use anyhow::{Result, bail};
use wt_bench::live::{is_root, xdp_cost};
use wt_bench::svg::{self, Group};
use wt_bench::sys;

use super::live::Bench;
use crate::cli::XdpCostArgs;

/// Compares generated programs with C.
pub fn xdp_cost(args: &XdpCostArgs) -> Result<()> {
    if !is_root() {
        bail!("programs in the kernel need root: run it as root, or with sudo -E");
    }
    let bench = Bench::new(&args.live)?;
    sys::pin(&[bench.core])?;
    let (empty, all) =
        xdp_cost::compare(&bench.wiretable, bench.scratch.dir(), args.rounds, args.repeat)?;
    let mut report = bench.begin("Generated programs against C");
    report.line(&format!(
        "\nns per packet of 64 bytes (TCP to port 80, one flow), by `BPF_PROG_TEST_RUN` and a clock outside of it (processor time of the thread), net of an empty program ({:.1} ns) that runs before each. \
         {} rounds in turns of {} runs: {:.0} million of each. Every program is loaded several times, as the place of its code and maps matters, and rounds go from copy to copy. Medians; spread is the least and the greatest. C by clang -O2 from `bench/c`. Instructions as loaded; what the packet needs of them is a small part.\n",
        empty.median(),
        args.rounds,
        args.repeat,
        f64::from(args.rounds) * f64::from(args.repeat) / 1e6,
    ));
    report.line("| query | generated ns | spread | C ns | spread | ratio | instructions | of C |");
    report.line("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut groups = Vec::new();
    for compared in &all {
        let (generated, c) = (&compared.generated, &compared.c);
        let spread =
            |s: &wt_bench::statistics::Sample| format!("{:.1}–{:.1}", s.least(), s.greatest());
        report.line(&format!(
            "| {} | {:.1} | {} | {:.1} | {} | {:.2} | {} | {} |",
            compared.subject.name,
            generated.net_ns.median(),
            spread(&generated.net_ns),
            c.net_ns.median(),
            spread(&c.net_ns),
            compared.ratio(),
            generated.instructions,
            c.instructions,
        ));
        groups.push(Group {
            title: compared.subject.name.to_owned(),
            bars: vec![("wiretable".to_owned(), compared.ratio()), ("bound: C".to_owned(), 1.0)],
        });
    }
    let within = all.iter().filter(|c| c.ratio() <= args.goal).count();
    report.line(&format!("\n{within} of {} are within {:.2} of C.", all.len(), args.goal));
    for compared in &all {
        report.line(&format!(
            "\n{}:\n\n```sql\n{}\n```",
            compared.subject.name,
            compared.subject.text.trim()
        ));
    }
    bench.finish(report, "xdp-cost", &svg::chart("Time of generated programs over C", &groups))
}
