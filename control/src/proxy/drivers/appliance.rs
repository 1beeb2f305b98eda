//! Drives this appliance: a live run or a recorder, over its control socket. Objects are parameters (`param`), queries (`query`), watchlists (`watchlist`) and blocked prefixes (`block`)
//! of a run, and packets of a time that a recorder is to keep (`save`). It keeps the generation of each (`crate::live::device`).
//!
//! A target is the path of a socket, or a name: that of the socket in the folder of the runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::live::control::{self, Request};
use crate::live::device::{Kind, ObjectName, Wanted};
use crate::proxy::driver::{Command, DeviceError, Done, Driver, Seen};

/// Speaks with live runs.
pub struct Appliance {
    folder: PathBuf,
}

/// What a run says of an object.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    effect: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
    r#gen: u64,
    observed: Option<Value>,
}

impl Appliance {
    /// Runs whose sockets lie in this folder, or in that of this user.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: folder.unwrap_or_else(control::folder) }
    }

    fn socket(&self, target: &str) -> Result<PathBuf, DeviceError> {
        let path = Path::new(target);
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        // A name leads nowhere else than into the folder.
        if target.is_empty() || target.contains('/') || target.starts_with('.') {
            return Err(DeviceError::never(format!(
                "target `{target}` is neither the path of a control socket nor the name of one in {}",
                self.folder.display()
            )));
        }
        Ok(self.folder.join(format!("{target}.sock")))
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        target: &str,
        request: &Request,
        timeout: Duration,
    ) -> Result<T, DeviceError> {
        let socket = self.socket(target)?;
        let said = control::ask_within(&socket, request, timeout).map_err(|error| match error {
            Failure::Input(why) | Failure::Query(why) => DeviceError::never(why),
            other => {
                let text = other.to_string();
                DeviceError::later(text.strip_prefix("wiretable: ").unwrap_or(&text))
            }
        })?;
        serde_json::from_str(&said)
            .map_err(|error| DeviceError::later(format!("the run answers something else: {error}")))
    }
}

fn kind(text: &str) -> Result<Kind, DeviceError> {
    serde_json::from_value(Value::from(text)).map_err(|_| {
        DeviceError::never(format!(
            "an appliance has no `{text}`; it has block, param, query, watchlist, and save if it is a recorder"
        ))
    })
}

impl Driver for Appliance {
    fn apply(&self, command: &Command, timeout: Duration) -> Result<Done, DeviceError> {
        let request = Request::Apply(Wanted {
            kind: kind(&command.kind)?,
            name: command.name.clone(),
            generation: command.generation,
            body: command.body.clone(),
        });
        let said: Said = self.ask(&command.target, &request, timeout)?;
        let is_new = said.effect.as_deref() == Some("applied");
        Ok(Done { is_new, observed: said.observed })
    }

    fn observe(
        &self,
        target: &str,
        kind_name: &str,
        name: &str,
        timeout: Duration,
    ) -> Result<Seen, DeviceError> {
        let request =
            Request::Observe(ObjectName { kind: kind(kind_name)?, name: name.to_owned() });
        let said: Said = self.ask(target, &request, timeout)?;
        let (kind, name) = (kind_name.to_owned(), name.to_owned());
        Ok(Seen { kind, name, generation: said.r#gen, observed: said.observed })
    }

    fn list(&self, target: &str, timeout: Duration) -> Result<Option<Vec<Seen>>, DeviceError> {
        let all: Vec<Said> = self.ask(target, &Request::Objects, timeout)?;
        let seen = |said: Said| {
            let (kind, name) = (said.kind?, said.name?);
            Some(Seen { kind, name, generation: said.r#gen, observed: said.observed })
        };
        Ok(Some(all.into_iter().filter_map(seen).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_or_names() {
        let appliance = Appliance::new(Some(PathBuf::from("/run/wiretable")));
        let socket = |target: &str| appliance.socket(target).ok().map(|p| p.display().to_string());
        assert_eq!(socket("edge-1").as_deref(), Some("/run/wiretable/edge-1.sock"));
        assert_eq!(socket("/run/x.sock").as_deref(), Some("/run/x.sock"));
        for target in ["", "../x", "a/b", ".hidden"] {
            assert_eq!(socket(target), None, "{target}");
        }
    }
}
