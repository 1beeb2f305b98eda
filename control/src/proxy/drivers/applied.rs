//! Generations of devices that keep none themselves, in a file beside them: the last that was applied of each object, and the state it was of.
//!
//! The file is locked while an object is changed, by whichever proxy of this host: what is older cannot overtake. A proxy that dies between a change and its note
//! leaves the change without one; whoever comes next finds the object as wanted, and notes that.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::proxy::driver::{Command, DeviceError};

/// How often a file that somebody has locked is tried.
const TRY: Duration = Duration::from_millis(5);

/// The generations of one device, locked.
pub struct Applied {
    file: File,
    path: PathBuf,
    objects: BTreeMap<String, (u64, Option<Value>)>,
}

impl Applied {
    /// Waits for the file of a device.
    ///
    /// # Errors
    /// Somebody holds it for longer than `timeout`, or it cannot be read.
    pub fn lock(folder: &Path, device: &str, timeout: Duration) -> Result<Self, DeviceError> {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = device.chars().map(safe).collect();
        let path = folder.join(format!("{name}.json"));
        let failed = |e: &dyn std::fmt::Display| {
            DeviceError::later(format!("cannot keep generations in {}: {e}", path.display()))
        };
        fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(|e| failed(&e))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begin.elapsed() < timeout => {
                    std::thread::sleep(TRY);
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|e| failed(&e))?;
        // A file that was cut short by a power cut tells nothing; states are set once more then.
        let objects = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { file, path, objects })
    }

    /// The last generation of an object; 0 when none is known.
    pub fn of(&self, kind: &str, name: &str) -> u64 {
        self.objects.get(&key(kind, name)).map_or(0, |(generation, _)| *generation)
    }

    /// The state that was applied last of an object.
    pub fn body(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.get(&key(kind, name)).and_then(|(_, body)| body.as_ref())
    }

    /// Notes what was applied of an object.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&mut self, command: &Command) -> Result<(), DeviceError> {
        let Command { kind, name, generation, body, .. } = command;
        self.objects.insert(key(kind, name), (*generation, body.clone()));
        let text = serde_json::to_string(&self.objects).unwrap_or_default();
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text.as_bytes())?;
            self.file.set_len(text.len() as u64)
        };
        write().map_err(|e| {
            DeviceError::later(format!("cannot keep generations in {}: {e}", self.path.display()))
        })
    }
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_kept_and_the_file_is_one_proxys_at_a_time() {
        let folder = std::env::temp_dir().join(format!("wt-applied-{}", std::process::id()));
        let wait = Duration::from_millis(20);
        let mut first = Applied::lock(&folder, "lab/1", wait).unwrap();
        assert_eq!(first.of("route", "10.0.0.0/8"), 0);
        let mut command = Command {
            device: "d".into(),
            target: "lab/1".into(),
            kind: "route".into(),
            name: "10.0.0.0/8".into(),
            generation: 12,
            body: Some(serde_json::json!({"dev": "eth0"})),
        };
        first.note(&command).unwrap();
        (command.generation, command.body) = (13, None);
        first.note(&command).unwrap();
        assert!(Applied::lock(&folder, "lab/1", wait).is_err(), "it is locked");
        drop(first);
        let again = Applied::lock(&folder, "lab/1", wait).unwrap();
        assert_eq!(
            (again.of("route", "10.0.0.0/8"), again.body("route", "10.0.0.0/8")),
            (13, None)
        );
        drop(again);
        fs::write(folder.join("lab_1.json"), "{\"route").unwrap();
        assert_eq!(Applied::lock(&folder, "lab/1", wait).unwrap().of("route", "10.0.0.0/8"), 0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
