//! What a driver is: it brings an object of a device to a state, and says what an object is.

use std::time::Duration;

use serde_json::Value;

/// A state that an object of a device is to be brought to.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The device.
    pub device: String,
    /// What the driver connects to, from the allow-list.
    pub target: String,
    /// What the object is.
    pub kind: String,
    /// Which.
    pub name: String,
    /// Its generation: greater ones are newer.
    pub generation: u64,
    /// The state; nothing: it should not be there.
    pub body: Option<Value>,
}

impl Command {
    /// What tells this command from all others, also when it is sent again.
    pub fn key(&self) -> String {
        format!("{}/{}/{}/{}", self.device, self.kind, self.name, self.generation)
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Whether the device did something now, or knew of a generation as new as this.
    pub is_new: bool,
    /// What the object is; nothing: it is not there.
    pub observed: Option<Value>,
}

/// What an object of a device is.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What it is.
    pub kind: String,
    /// Which.
    pub name: String,
    /// The last generation that the device has applied; 0: none that it knows of.
    pub generation: u64,
    /// What it is; nothing: it is not there.
    pub observed: Option<Value>,
}

/// Why a device has not done what it was told, or has not said what it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// It may do so later: it is away, busy, or did not answer in time.
    #[error("{why}")]
    Later {
        /// Why.
        why: String,
        /// How long it asked to be left alone.
        after: Option<Duration>,
    },
    /// It never will.
    #[error("{why}")]
    Never {
        /// Why.
        why: String,
    },
}

impl DeviceError {
    /// It may do so later.
    pub fn later(why: impl Into<String>) -> Self {
        DeviceError::Later { why: why.into(), after: None }
    }

    /// It never will.
    pub fn never(why: impl Into<String>) -> Self {
        DeviceError::Never { why: why.into() }
    }
}

/// Speaks with devices of one kind. Calls for different objects may come at the same time; each returns within `timeout`.
pub trait Driver: Send + Sync {
    /// Brings an object to a state. Doing so again is harmless, and doing so with an older generation does nothing, as far as the device can tell.
    ///
    /// # Errors
    /// The device refuses, or does not answer.
    fn apply(&self, command: &Command, timeout: Duration) -> Result<Done, DeviceError>;

    /// Says what an object is.
    ///
    /// # Errors
    /// As [`Self::apply`].
    fn observe(
        &self,
        target: &str,
        kind: &str,
        name: &str,
        timeout: Duration,
    ) -> Result<Seen, DeviceError>;

    /// All objects that the device was brought to a state of, if it can tell; else they are asked for one by one.
    ///
    /// # Errors
    /// As [`Self::apply`].
    fn list(&self, _target: &str, _timeout: Duration) -> Result<Option<Vec<Seen>>, DeviceError> {
        Ok(None)
    }
}
