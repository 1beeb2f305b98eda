//! `wiretable top`: rates, groups, rings and books of a live run, as it goes.

mod figures;
mod screen;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use self::figures::{Figures, Reading};
use crate::cli::TopArgs;
use crate::commands::ctl::socket;
use crate::failure::Failure;
use crate::live::control::{self, Request};

/// Shows a run until `q`, or prints some readings.
pub fn top(args: &TopArgs) -> Result<(), Failure> {
    let path = socket(args.socket.as_deref())?;
    let mut last = read(&path)?;
    if args.readings.is_none() && std::io::stdout().is_terminal() {
        return screen::show(&path, last, args.delay);
    }
    for reading in 0..args.readings.unwrap_or(1) {
        std::thread::sleep(args.delay);
        let next = read(&path)?;
        let text = Figures::new(&last, &next).text();
        let gap = if reading > 0 { "\n" } else { "" };
        if write!(std::io::stdout(), "{gap}{text}").is_err() {
            return Err(Failure::OutputClosed);
        }
        last = next;
    }
    Ok(())
}

/// Asks the run for its books.
fn read(path: &Path) -> Result<Reading, Failure> {
    let text = control::ask(path, &Request::Status)?;
    let wrong = |e: serde_json::Error| {
        Failure::Environment(format!("the run at {} says what is no status: {e}", path.display()))
    };
    Ok(Reading { at: Instant::now(), status: serde_json::from_str(&text).map_err(wrong)? })
}
