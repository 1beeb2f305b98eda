//! What programs of typical queries cost: instructions, those that the verifier went through, and ns per packet as the kernel counts them.
//! `--emit FILE` writes the object of the last one, for `llvm-objdump -d`.

use std::error::Error;

use wt_catalog::{Catalog, Value};
use wt_plan::{CompileInput, InterfaceInfo};
use wt_xdp::codegen::{Clock, Options, compile};
use wt_xdp::loader::{Loaded, OnOneCpu};
use wt_xdp::object;

/// Runs of one packet that are timed together.
const REPEAT: u32 = 2_000_000;

const QUERIES: [&str; 8] = [
    "SELECT len FROM packet WHERE len > 1500",
    "SELECT count(*) AS n FROM packet",
    "SELECT count(*) AS n FROM ipv4 WHERE ttl < 5",
    "SELECT count(*) AS n FROM tcp WHERE destPort = 80",
    "SELECT tb, count(*) AS n, sum(len) AS bytes FROM ipv4 GROUP BY time/60 AS tb",
    "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY time/60 AS tb, srcIP",
    "SELECT tb, srcIP, destIP, srcPort, destPort, count(*) AS n, sum(len) AS bytes FROM tcp GROUP BY time/10 AS tb, srcIP, destIP, srcPort, destPort",
    "SELECT len FROM packet WHERE pcap_filter('tcp port 443 and host 192.0.2.1')",
];

/// A TCP segment to port 80 in 64 bytes.
fn packet() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    packet.extend([0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1]);
    packet.extend([0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.resize(64, 0);
    packet
}

fn main() -> Result<(), Box<dyn Error>> {
    let catalog = Catalog::builtin();
    let interfaces = [InterfaceInfo { name: "eth0".into(), properties: Vec::new() }];
    let _cpu = OnOneCpu::pin()?;
    let packet = packet();
    println!("instructions  verified  ns  query");
    let mut last = None;
    for text in QUERIES {
        let input = CompileInput {
            catalog: &catalog,
            text,
            file_name: "cost",
            interfaces: &interfaces,
            interface_sets: &[],
            params: &[],
            watchlists: &[],
            finite: true,
            library: &|_| None,
        };
        let plan = wt_plan::compile(&input)
            .map_err(|errors| wt_lang::render(&errors, "cost", text, false))?;
        let params: Vec<Value> = plan.physical.params.iter().map(|p| p.value.clone()).collect();
        let options = Options { clock: Clock::Given, ..Options::default() };
        let made = compile(&plan.physical.interfaces[0].program, &params, &options)?;
        let Some(spec) = made.spec else {
            println!("host only: {:?}  {text}", made.host);
            continue;
        };
        let mut loaded = Loaded::load(&spec)?;
        let verified = loaded.verified_instructions().unwrap_or(0);
        let tried = loaded.try_packet(&packet, REPEAT)?;
        let (slots, ns) = (spec.code.slots.len(), tried.duration_ns);
        println!("{slots:12}  {verified:8}  {ns:2}  {text}");
        last = Some(spec);
    }
    let mut arguments = std::env::args().skip(1);
    if let (Some("--emit"), Some(file), Some(spec)) =
        (arguments.next().as_deref(), arguments.next(), last)
    {
        std::fs::write(file, object::write(&spec)?)?;
    }
    Ok(())
}
