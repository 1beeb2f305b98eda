//! tcpreplay, as its users run it: packets of a capture from memory, at a rate or as fast as it goes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::frames::Sent;
use super::lab::{End, FAR, Lab, LabError};
use crate::peers;
use crate::sys::wait;

/// Whether it is here.
pub fn is_available() -> bool {
    peers::find("tcpreplay").is_some()
}

/// Writes packets as a capture that tcpreplay takes. It sends at rates of its own, so times are those of a steady stream.
///
/// # Errors
/// What the operating system says.
pub fn write_trace(path: &Path, packets: &[Vec<u8>]) -> io::Result<()> {
    const MICROSECONDS: u32 = 0xa1b2_c3d4;
    const ETHERNET: u32 = 1;
    let mut file = BufWriter::new(File::create(path)?);
    for word in [MICROSECONDS, 2 | 4 << 16, 0, 0, 65_535, ETHERNET] {
        file.write_all(&word.to_le_bytes())?;
    }
    for (i, packet) in packets.iter().enumerate() {
        let (i, len) = (i as u32, packet.len() as u32);
        for word in [1_700_000_000 + i / 1_000_000, i % 1_000_000, len, len] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(packet)?;
    }
    file.flush()
}

/// Sends a trace again and again for a while, in full seconds, from a core.
///
/// # Errors
/// It cannot be run, or fails.
pub fn send(
    lab: &Lab,
    trace: &Path,
    rate: Option<f64>,
    duration: Duration,
    core: usize,
) -> Result<Sent, LabError> {
    let mut command = lab.command(End::Far, "tcpreplay", &[core]);
    let rate = match rate {
        Some(rate) => format!("--pps={rate:.0}"),
        None => "--topspeed".to_owned(),
    };
    let seconds = duration.as_secs().max(1);
    command.args(["--quiet", "--preload-pcap", "--loop=0", "--intf1", FAR, &rate]);
    command.arg(format!("--duration={seconds}")).arg(trace);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // It prints some ten lines at its end: less than a pipe holds.
    let mut pipes = (child.stdout.take(), child.stderr.take());
    let usage = wait(&mut child)?;
    let mut said = String::new();
    for pipe in [pipes.0.as_mut().map(|p| p as &mut dyn io::Read), pipes.1.as_mut().map(|p| p as _)]
        .into_iter()
        .flatten()
    {
        pipe.read_to_string(&mut said)?;
    }
    let failed = |said: &str| LabError::Step { step: "tcpreplay".into(), said: said.into() };
    if usage.status != 0 {
        return Err(failed(said.trim()));
    }
    let (frames, took) = answer(&said).ok_or_else(|| failed(&said))?;
    Ok(Sent { frames, took, cpu: usage.user + usage.system })
}

/// Packets and time of its summary.
fn answer(said: &str) -> Option<(u64, Duration)> {
    let of = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name));
    let packets = of("Successful packets:")?.trim().parse().ok()?;
    // Actual: 237 packets (40986 bytes) sent in 0.000831 seconds
    let words = of("Actual:")?.split(" sent in ").nth(1)?;
    let seconds: f64 = words.split(' ').next()?.parse().ok()?;
    Some((packets, Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_summary_is_read() {
        let said = "Actual: 237 packets (40986 bytes) sent in 0.5 seconds\nRated: 1 Bps\n\tSuccessful packets:        236\n\tFailed packets:            1\n";
        assert_eq!(answer(said), Some((236, Duration::from_millis(500))));
        assert_eq!(answer("Fatal Error"), None);
    }
}
