//! Receive queues and interrupts of interfaces, as a batch states them.

use std::io;

use wt_xdp::host::{Moved, serve_on, set_queues};

use super::LiveInterface;
use crate::failure::Failure;

/// Gives interfaces the queues, and queues the cores, that are asked for. What is changed is said: it stays so after the run.
pub(super) fn place(interfaces: &[LiveInterface]) -> Result<(), Failure> {
    for LiveInterface { device, queues, served_by, .. } in interfaces {
        if let Some(queues) = *queues {
            let had =
                set_queues(device, queues).map_err(|error| refused(device, queues, &error))?;
            if let Some(had) = had {
                eprintln!("wiretable: {device} has {queues} receive queues now; it had {had}");
            }
        }
        if served_by.is_empty() {
            continue;
        }
        let moved = serve_on(device, served_by).map_err(|error| {
            let help = error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
            Failure::Environment(format!("{error}{help}"))
        })?;
        for Moved { what, from, to } in moved {
            let from = match from.is_empty() {
                true => String::new(),
                false => format!("; it was {from}"),
            };
            eprintln!("wiretable: {what} of {device} is served by core {to} now{from}");
        }
    }
    Ok(())
}

fn refused(device: &str, queues: u32, error: &io::Error) -> Failure {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as root, or with CAP_NET_ADMIN",
        io::ErrorKind::InvalidInput => "`wiretable doctor` says how many there can be",
        _ => "leave `queues` out where the driver has a number of its own",
    };
    Failure::Environment(format!(
        "`{device}` cannot have {queues} receive queues: {error}\n  help: {help}"
    ))
}

/// Reads cores as the kernel lists them: `0`, `1,3`, `2-5`. At least one, and each once.
pub fn parse_cores(text: &str) -> Result<Vec<u32>, String> {
    let wrong = || format!("`{text}` is no list of cores; write for example 1, 0-3 or 0,2");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let range = number(first)?..=number(last)?;
        if range.is_empty() {
            return Err(wrong());
        }
        cores.extend(range.map(u32::from));
    }
    let mut once = cores.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() == cores.len() { Ok(cores) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed() {
        assert_eq!(parse_cores("3"), Ok(vec![3]));
        assert_eq!(parse_cores("4-6, 1"), Ok(vec![4, 5, 6, 1]));
        for text in ["", "x", "3-1", "1,", "-1", "1,0-2", "70000"] {
            assert!(parse_cores(text).is_err(), "{text}");
        }
    }
}
