//! The northbound proxy: brings devices to the state that the database wants, and says what they are (DBNet §3.2).
//!
//! ```text
//! net.object ─▶ north.command ─ claim ─▶ dispatch ─ a thread per call ─▶ driver ─▶ device
//!      ▲                                    │  ▲ renew                               │
//!      └─────────── ack, nack ◀─────────────┘  └──────── done, refused ◀─────────────┘
//! ```
//!
//! | file | is |
//! |---|---|
//! | `config` | the configuration file |
//! | `outbox` | what is said to the database: claims, leases, answers, the full check |
//! | `hints` | listens for NOTIFY, which says that there is something to do and no more |
//! | `dispatch` | decides what is done when; the only one that changes the outbox |
//! | `calls` | calls of devices, each on a thread of its own |
//! | `driver` | what a driver is; `drivers/` has one file for each |
//!
//! **At least once, and once in effect.** A command is leased, and answered with the token of its lease; when the proxy dies, the lease runs out and
//! somebody else takes the command. So a device may be told twice, and late. It keeps the last generation that it applied of each object, and ignores what is
//! not newer. What a device says it is goes back into the mirror; what it *is* shows in the full check, which asks all of it and has drift mended.
//!
//! **Nothing waits for a device.** Each call has a time limit and a thread, each device a number of calls at a time; one that hangs is in nobody's way. The
//! database is never locked while a device is called.

mod calls;
mod config;
mod dispatch;
mod driver;
mod drivers;
mod hints;
mod outbox;

use std::time::Duration;

pub use self::config::Config;
pub use self::drivers::Drivers;
use self::drivers::{DriverConfig, HttpConfig, KubernetesConfig};
use crate::db::connect::DatabaseUrl;
use crate::failure::Failure;
use crate::serve::{Stop, Task};

/// How the proxy works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database.
    pub url: DatabaseUrl,
    /// What leases are in the name of.
    pub worker: String,
    /// How long a command is this proxy's, unless it says again that it is.
    pub lease: Duration,
    /// How often the outbox is looked at when nothing hints at it.
    pub poll: Duration,
    /// How often every device is asked what it is.
    pub check: Duration,
    /// Longest call of a device.
    pub timeout: Duration,
    /// Calls at a time, of all devices and of one.
    pub calls: (usize, usize),
}

/// The proxy as a task of the server.
pub struct Proxy {
    settings: Settings,
    drivers: Drivers,
}

impl Proxy {
    /// A proxy that has not begun.
    pub fn new(settings: Settings, drivers: Drivers) -> Self {
        Self { settings, drivers }
    }
}

impl Task for Proxy {
    fn name(&self) -> &'static str {
        "proxy"
    }

    fn run(self: Box<Self>, stop: &Stop) -> Result<(), Failure> {
        dispatch::run(&self.settings, self.drivers, stop)
    }
}
