//! `wiretable ctl`: speaks with a live run.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::{Ask, BlockAsk, CtlArgs, NewQueryArgs, WatchArgs};
use crate::failure::Failure;
use crate::live::control::{self, Query, Request};
use crate::live::watchlists::WatchlistChange;
use crate::moment;
use crate::session;

/// Asks a run, and prints what it says.
pub fn ctl(args: &CtlArgs) -> Result<(), Failure> {
    let request = match &args.ask {
        Ask::List => Request::List,
        Ask::Ledger { json: false } => Request::Ledger,
        Ask::Ledger { json: true } => Request::Status,
        Ask::Metrics => Request::Metrics,
        Ask::Flush => Request::Flush,
        Ask::Add(query) => Request::Add(read(query)?),
        Ask::Replace(query) => Request::Replace(read(query)?),
        Ask::Remove { name } => Request::Remove { name: name.clone() },
        Ask::Save { name, from, to } => save(name, from, to)?,
        Ask::Block { ask: BlockAsk::Add { prefix, lasts } } => Request::Block {
            prefix: prefix.clone(),
            lasts_ms: lasts.map(|lasts| lasts.as_millis().max(1) as u64),
        },
        Ask::Block { ask: BlockAsk::Remove { prefix } } => {
            Request::Unblock { prefix: prefix.clone() }
        }
        Ask::Block { ask: BlockAsk::List { json } } => Request::Blocks { json: *json },
        Ask::Watch(args) => Request::Watch { name: args.name.clone(), change: watch(args)? },
        Ask::Set { params } => Request::Set { params: params.clone() },
    };
    let said = control::ask(&socket(args.socket.as_deref())?, &request)?;
    // A reader that has gone needs no more.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}

fn watch(args: &WatchArgs) -> Result<Option<WatchlistChange>, Failure> {
    if let Some(file) = &args.file {
        let text = session::read_text(file)?;
        // As the run would read it: blank lines and those that begin with `#` are none.
        let is_record = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        return Ok(Some(WatchlistChange::Set(
            text.lines().filter(is_record).map(str::to_owned).collect(),
        )));
    }
    let (remove, add) = (args.remove.clone(), args.add.clone());
    Ok(match (args.reread, remove.is_empty() && add.is_empty()) {
        (true, _) => Some(WatchlistChange::Reread),
        (false, true) => None,
        (false, false) => Some(WatchlistChange::Edit { remove, add }),
    })
}

fn save(name: &str, from: &str, to: &str) -> Result<Request, Failure> {
    let now_ns = moment::now_ns();
    let time = |text: &str| moment::parse(text, now_ns).map_err(Failure::Input);
    let (from_ns, to_ns) = (time(from)?, time(to)?);
    if from_ns > to_ns {
        return Err(Failure::Input(format!("--from {from} is later than --to {to}")));
    }
    Ok(Request::Save { name: name.to_owned(), from_ns, to_ns })
}

fn read(args: &NewQueryArgs) -> Result<Query, Failure> {
    let text = match (&args.text, &args.file) {
        (_, Some(file)) => session::read_text(file)?,
        (text, None) => text.clone().unwrap_or_default(),
    };
    let absolute = |path: &PathBuf| std::path::absolute(path);
    let output = args.output.as_ref().map(absolute).transpose();
    Ok(Query {
        text,
        name: args.name.clone(),
        output: output.map_err(|e| Failure::Environment(e.to_string()))?,
        format: args.format.map(|format| format.name().to_owned()),
    })
}

/// The socket of a run.
pub fn socket(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let folder = control::folder();
    if let Some(asked) = asked {
        // A recorder's is named after its store, wherever that lies.
        let name = match asked.is_dir() {
            true => std::path::absolute(asked).ok().and_then(|dir| dir.file_name().map(Into::into)),
            false => None,
        };
        if let Some(name) = name {
            return Ok(folder.join::<PathBuf>(name).with_extension("sock"));
        }
        let named = folder.join(asked).with_extension("sock");
        let is_name = asked.components().count() == 1 && !asked.exists();
        return Ok(if is_name { named } else { asked.to_owned() });
    }
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path());
    let mut sockets: Vec<PathBuf> =
        sockets.filter(|path| path.extension().is_some_and(|e| e == "sock")).collect();
    sockets.sort();
    match &sockets[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::Environment(format!(
            "no run listens in {}\n  help: start one with --control PATH and give that path: wiretable ctl -s PATH …",
            folder.display()
        ))),
        several => {
            let names: Vec<_> = several
                .iter()
                .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
                .collect();
            Err(Failure::Input(format!(
                "there are several runs; name one with -s: {}",
                names.join(", ")
            )))
        }
    }
}
