//! What is not deleted, however old it is: ranges of time with names.

use std::fs;
use std::io;

use super::{PINS, Store, StoreError, Summary, replace};

/// A range of time that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What it is called.
    pub name: String,
    /// From this time on, ns since the epoch.
    pub from_ns: u64,
    /// Up to this time, included.
    pub to_ns: u64,
}

impl Pin {
    /// Whether a segment has packets of this range.
    pub fn holds(&self, summary: &Summary) -> bool {
        summary.range_ns.is_some_and(|(min, max)| min <= self.to_ns && self.from_ns <= max)
    }
}

impl Store {
    /// The ranges that are kept, by name.
    ///
    /// # Errors
    /// The file of pins cannot be read, or was changed by hand to what it may not say.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let path = self.dir.join(PINS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let wrong = |what: String| StoreError::Manifest { path: path.clone(), what };
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let mut pins = Vec::new();
        for (name, value) in &table {
            let time = |key: &str| {
                let text = value.get(key).and_then(toml::Value::as_str);
                let time = text.and_then(|text| text.parse::<u64>().ok());
                time.ok_or_else(|| wrong(format!("pin `{name}`: `{key}` is no time in ns")))
            };
            let (from_ns, to_ns) = (time("from_ns")?, time("to_ns")?);
            pins.push(Pin { name: name.clone(), from_ns, to_ns });
        }
        pins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pins)
    }

    /// Keeps a range of time, under a name that no other has.
    ///
    /// # Errors
    /// As [`Self::pins`]; the file cannot be written.
    pub fn pin(&self, pin: Pin) -> Result<(), StoreError> {
        let mut pins = self.pins()?;
        pins.retain(|other| other.name != pin.name);
        pins.push(pin);
        self.set_pins(&pins)
    }

    /// Keeps it no longer; whether there was such a pin.
    ///
    /// # Errors
    /// As [`Self::pin`].
    pub fn unpin(&self, name: &str) -> Result<bool, StoreError> {
        let mut pins = self.pins()?;
        let before = pins.len();
        pins.retain(|pin| pin.name != name);
        let was = pins.len() < before;
        if was {
            self.set_pins(&pins)?;
        }
        Ok(was)
    }

    fn set_pins(&self, pins: &[Pin]) -> Result<(), StoreError> {
        // As text: the numbers of TOML end in 2262.
        let of = |pin: &Pin| {
            let bounds = [("from_ns", pin.from_ns), ("to_ns", pin.to_ns)];
            let bounds = bounds.map(|(key, ns)| (key.to_owned(), ns.to_string().into()));
            (pin.name.clone(), toml::Value::Table(bounds.into_iter().collect()))
        };
        let table: toml::Table = pins.iter().map(of).collect();
        replace(&self.dir.join(PINS), table.to_string().as_bytes())
    }
}
