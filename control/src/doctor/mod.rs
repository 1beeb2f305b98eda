//! `wiretable doctor`: what this host and its interfaces can do, what is in the way, and how to mend it.
//!
//! Facts are read by `wt_xdp::host`; what they mean is decided by [`host`] and [`interface`], which look at nothing else.

mod host;
mod interface;
mod show;

use serde::Serialize;

use crate::cli::{DoctorArgs, DoctorFormat};
use crate::commands::shell::print;
use crate::failure::Failure;

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, and would work better otherwise.
    Advice,
    /// It does not work.
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// `host`, `database`, or an interface's name.
    subject: String,
    /// What was looked at.
    check: &'static str,
    state: State,
    /// What was found, and what follows.
    found: String,
    /// What to do; empty when nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// Findings about one subject, growing.
struct Findings {
    subject: String,
    all: Vec<Finding>,
}

impl Findings {
    fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), all: Vec::new() }
    }

    fn add(&mut self, check: &'static str, state: State, found: String, remedy: String) {
        self.all.push(Finding { subject: self.subject.clone(), check, state, found, remedy });
    }

    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, State::Ok, found.into(), String::new());
    }

    fn note(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, State::Note, found.into(), String::new());
    }

    fn advise(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, State::Advice, found.into(), remedy.into());
    }

    fn problem(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, State::Problem, found.into(), remedy.into());
    }
}

/// Looks at the host and its interfaces.
pub fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let facts = wt_xdp::host::host();
    let mut all = host::judge(&facts, host::dpdk_version().as_deref());
    all.extend(host::judge_database());
    for name in interfaces(args) {
        all.extend(match wt_xdp::host::interface(&name) {
            Ok(read) => interface::judge(&read, &facts),
            Err(error) => interface::unreadable(&name, &error),
        });
    }
    match args.format {
        DoctorFormat::Text => print(show::text(&all).as_bytes())?,
        DoctorFormat::Json => {
            let json = serde_json::to_string_pretty(&all);
            let json = json.map_err(|error| Failure::Environment(error.to_string()))?;
            print(format!("{json}\n").as_bytes())?;
        }
    }
    let problems = all.iter().filter(|f| f.state == State::Problem).count();
    match problems {
        0 => Ok(()),
        1 => Err(Failure::Environment("one thing is in the way; see above".to_owned())),
        n => Err(Failure::Environment(format!("{n} things are in the way; see above"))),
    }
}

/// Interfaces to look at: those asked for, or all that carry Ethernet and are up.
fn interfaces(args: &DoctorArgs) -> Vec<String> {
    if !args.interface.is_empty() {
        return args.interface.clone();
    }
    let is_candidate =
        |name: &String| wt_xdp::host::interface(name).is_ok_and(|i| i.is_ethernet && i.is_up);
    wt_xdp::packet_socket::interface_names().into_iter().filter(is_candidate).collect()
}
