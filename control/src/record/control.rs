//! What a recorder can be asked through its control socket.

use std::sync::Arc;
use std::time::Duration;

use wt_trace::record::memory::Saved;
use wt_trace::record::{Ended, Watch};
use wt_trace::store::{OwnStore, Pin, Store};

use super::device::{Device, plain};
use super::live::Keeper;
use super::{failure, show};
use crate::cli::record::RecordArgs;
use crate::failure::Failure;
use crate::live::control::{Answer, Answers, Request, Socket, answer_of, folder};
use crate::moment;

/// How long a save of what is there already may take before the answer says that it goes on.
const SAVE_PATIENCE: Duration = Duration::from_secs(20);

/// Listens, if there is anything to be asked for.
pub(super) fn listen(
    args: &RecordArgs,
    store: &Arc<OwnStore>,
    keepers: &[(String, Keeper)],
) -> Result<Option<Socket>, Failure> {
    let path = match &args.control {
        Some(path) if path.as_os_str() == "none" => return Ok(None),
        Some(path) => path.clone(),
        None if !keepers.iter().any(|(_, keeper)| matches!(keeper, Keeper::Memory(_))) => {
            return Ok(None);
        }
        None => {
            let dir = std::path::absolute(store.dir());
            let dir = dir.unwrap_or_else(|_| store.dir().to_owned());
            folder().join(dir.file_name().unwrap_or("store".as_ref())).with_extension("sock")
        }
    };
    let socket = Socket::bind(&path)?;
    let books = keepers.iter().map(|(name, keeper)| {
        let watch = match keeper {
            Keeper::Disk(writer) => writer.watch(),
            Keeper::Memory(memory) => memory.watch(),
        };
        (name.clone(), watch)
    });
    let memories = keepers.iter().filter_map(|(_, keeper)| match keeper {
        Keeper::Memory(memory) => Some(memory.handle()),
        Keeper::Disk(_) => None,
    });
    let control = Control {
        books: books.collect(),
        device: Device::new(Store::clone(store), memories.collect()),
    };
    socket.serve(Arc::new(control))?;
    Ok(Some(socket))
}

struct Control {
    /// By writer.
    books: Vec<(String, Watch)>,
    device: Device,
}

impl Answers for Control {
    fn answer(&self, request: &Request) -> Answer {
        answer_of(match request {
            Request::Ledger => {
                let of = |(name, watch): &(String, Watch)| {
                    (name.clone(), Ended { books: watch.books(), failure: None })
                };
                Ok(show::ledger(&self.books.iter().map(of).collect::<Vec<_>>()))
            }
            Request::Save { name, from_ns, to_ns } => self.save(name, *from_ns, *to_ns),
            Request::Apply(wanted) => self.device.apply(wanted),
            Request::Observe(object) => self.device.observe(object),
            Request::Objects => self.device.objects(),
            _ => Err(Failure::Input(
                "this is a recorder, which runs no queries; it can be asked to save, and for its ledger"
                    .to_owned(),
            )),
        })
    }
}

impl Control {
    fn save(&self, name: &str, from_ns: u64, to_ns: u64) -> Result<String, Failure> {
        let (device, name) = (&self.device, plain(name)?);
        if device.memories.is_empty() {
            let pin = Pin { name: name.to_owned(), from_ns, to_ns };
            device.store.pin(pin).map_err(failure)?;
            return Ok(format!("pinned {name}\n"));
        }
        let files = device.files(name);
        if let Some(file) = files.iter().find(|file| file.exists()) {
            return Err(Failure::Input(format!(
                "{} is there already\n  help: give these packets another name",
                file.display()
            )));
        }
        let saves = device.save(&files, from_ns, to_ns);
        if to_ns > moment::now_ns() {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            return Ok(format!(
                "saving until {}; then there is {}\n",
                moment::show(to_ns),
                files.join(", ")
            ));
        }
        let mut text = String::new();
        for (saved, file) in saves.iter().zip(&files) {
            text += &match saved.recv_timeout(SAVE_PATIENCE) {
                Ok(saved) => shown(&saved.map_err(failure)?),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    format!("still saving {}\n", file.display())
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Environment("the recording has ended".to_owned()));
                }
            };
        }
        Ok(text)
    }
}

fn shown(saved: &Saved) -> String {
    let Saved { path, packets, from_ns } = saved;
    let from = from_ns.map_or_else(String::new, |ns| format!(" from {} on", moment::show(ns)));
    format!("saved {packets} packets{from} to {}\n", path.display())
}
