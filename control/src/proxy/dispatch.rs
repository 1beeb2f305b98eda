//! Decides what is done when: claims commands, has devices called, keeps leases, answers, has devices checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::calls::{self, Outcome};
use super::driver::{DeviceError, Seen};
use super::outbox::{Claimed, Listed, Outbox};
use super::{Drivers, Settings, hints};
use crate::db::connect::{may_pass, reason};
use crate::failure::Failure;
use crate::serve::Stop;

/// First and longest wait before a database that is away is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Longest wait without a look at the flag that says stop.
const TICK: Duration = Duration::from_millis(200);
/// How often blocks whose time is over are lifted.
const SWEEP: Duration = Duration::from_millis(500);
/// How much longer than its limit a call may take before it counts as unanswered.
const GRACE: Duration = Duration::from_secs(1);

/// What happens.
pub enum Event {
    /// There may be something to do.
    Hint,
    /// Somebody wants a device to be checked now.
    Check { device: String },
    /// A device has answered.
    Applied { number: u64, outcome: Outcome },
    /// A device has said what it is.
    Checked { device: String, since: String, found: Result<Vec<Seen>, DeviceError> },
}

/// A call under way.
struct Call {
    claimed: Claimed,
    began: Instant,
    renewed: Instant,
    /// Somebody else may have the command by now.
    is_lost: bool,
    /// It was answered for, as it took too long; its thread goes on.
    is_given_up: bool,
}

struct Dispatcher<'a> {
    settings: &'a Settings,
    drivers: Drivers,
    events: Sender<Event>,
    /// Calls under way, by number.
    calls: BTreeMap<u64, Call>,
    next_number: u64,
    /// Answers that the database has not been told.
    answers: Vec<(Claimed, Outcome)>,
    /// What checks have found that the database has not been told.
    found: Vec<(String, String, Result<Vec<Seen>, DeviceError>)>,
    /// Devices that are being checked.
    checking: BTreeSet<String>,
    /// Devices that are to be checked.
    to_check: BTreeSet<String>,
    /// Every device is to be checked.
    check_all_at: Instant,
    /// When the outbox is looked at next.
    look_at: Instant,
    /// When blocks are looked at next.
    sweep_at: Instant,
}

/// Runs until it is told to stop, and what is under way has ended.
pub fn run(settings: &Settings, drivers: Drivers, stop: &Stop) -> Result<(), Failure> {
    let (events, incoming) = mpsc::channel();
    let mut dispatcher = Dispatcher {
        settings,
        drivers,
        events: events.clone(),
        calls: BTreeMap::new(),
        next_number: 0,
        answers: Vec::new(),
        found: Vec::new(),
        checking: BTreeSet::new(),
        to_check: BTreeSet::new(),
        check_all_at: Instant::now(),
        look_at: Instant::now(),
        sweep_at: Instant::now(),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| hints::listen(&settings.url, &events, stop));
        let outcome = dispatcher.run(&incoming, stop);
        // The listener ends with the dispatcher, however that ends.
        if outcome.is_err() {
            stop.set();
        }
        outcome
    })
}

impl Dispatcher<'_> {
    fn run(&mut self, incoming: &Receiver<Event>, stop: &Stop) -> Result<(), Failure> {
        let (mut wait, mut is_away) = (BACKOFF.0, false);
        loop {
            let refused = match Outbox::open(&self.settings.url) {
                Ok(mut outbox) => {
                    if std::mem::take(&mut is_away) {
                        eprintln!("wiretable: proxy: the database is back");
                    }
                    wait = BACKOFF.0;
                    match self.serve(&mut outbox, incoming, stop) {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !may_pass(&refused) {
                return Err(Failure::Environment(format!(
                    "the proxy cannot go on with {}: {}\n  help: its login needs the role wt_proxy (GRANT wt_proxy TO …), and the schema must be up to date (`wiretable db migrate`)",
                    self.settings.url.shown,
                    reason(&refused)
                )));
            }
            if !std::mem::replace(&mut is_away, true) {
                eprintln!("wiretable: proxy: the database is away: {}", reason(&refused));
            }
            if stop.is_set() {
                // Leases run out, and devices know what they have applied.
                return Ok(());
            }
            stop.wait(wait);
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// Works with a database that is there.
    fn serve(
        &mut self,
        outbox: &mut Outbox,
        incoming: &Receiver<Event>,
        stop: &Stop,
    ) -> Result<(), postgres::Error> {
        self.look_at = Instant::now();
        loop {
            self.tell(outbox)?;
            // Before anything is claimed: what is under way here is not to be claimed again because its lease has run out.
            self.keep(outbox)?;
            let is_ending = stop.is_set();
            if is_ending && self.is_idle() {
                return Ok(());
            }
            if !is_ending {
                self.sweep(outbox)?;
                self.claim(outbox)?;
                self.check(outbox)?;
            }
            self.wait(incoming);
        }
    }

    fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.calls.values().all(|call| call.is_given_up)
    }

    /// Waits for something to happen, and takes all that has.
    fn wait(&mut self, incoming: &Receiver<Event>) {
        let now = Instant::now();
        let until = self.look_at.min(self.check_all_at).min(now + TICK);
        // This end holds a sender, so the channel stays open.
        let mut event = incoming.recv_timeout(until.saturating_duration_since(now)).ok();
        while let Some(happened) = event {
            self.take(happened);
            event = incoming.try_recv().ok();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Hint => self.look_at = Instant::now(),
            Event::Check { device } => drop(self.to_check.insert(device)),
            Event::Applied { number, outcome } => {
                let Some(call) = self.calls.remove(&number) else { return };
                // There is room for another.
                self.look_at = Instant::now();
                if !call.is_given_up {
                    self.answers.push((call.claimed, outcome));
                }
            }
            Event::Checked { device, since, found } => self.found.push((device, since, found)),
        }
    }

    /// Tells the database what devices have said.
    fn tell(&mut self, outbox: &mut Outbox) -> Result<(), postgres::Error> {
        while let Some((claimed, outcome)) = self.answers.first() {
            let is_wanted = outbox.answer(claimed, outcome)?;
            let command = &claimed.command;
            if !is_wanted {
                eprintln!(
                    "wiretable: proxy: {}: the lease had run out before the device answered",
                    command.key()
                );
            } else if let Err(error) = outcome {
                eprintln!("wiretable: proxy: {}: {error}", command.key());
            }
            drop(self.answers.remove(0));
        }
        while let Some((device, since, found)) = self.found.first() {
            let mended = outbox.checked(device, &self.settings.worker, since, found)?;
            if mended > 0 {
                eprintln!("wiretable: proxy: {device}: {mended} objects were not as wanted");
                self.look_at = Instant::now();
            }
            self.checking.remove(device);
            drop(self.found.remove(0));
        }
        Ok(())
    }

    /// Lifts blocks whose time is over.
    fn sweep(&mut self, outbox: &mut Outbox) -> Result<(), postgres::Error> {
        if Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + SWEEP;
            if outbox.sweep()? > 0 {
                self.look_at = Instant::now();
            }
        }
        Ok(())
    }

    /// Claims what is due, and has devices called.
    fn claim(&mut self, outbox: &mut Outbox) -> Result<(), postgres::Error> {
        if Instant::now() < self.look_at {
            return Ok(());
        }
        let Settings { calls: (all_max, each_max), lease, worker, .. } = self.settings;
        let room = all_max.saturating_sub(self.calls.len());
        self.look_at = Instant::now() + self.settings.poll;
        if room == 0 {
            return Ok(());
        }
        let of = |device: &str| {
            self.calls.values().filter(|call| call.claimed.command.device == device).count()
        };
        let devices: BTreeSet<&str> =
            self.calls.values().map(|call| call.claimed.command.device.as_str()).collect();
        let busy: Vec<&str> = devices.into_iter().filter(|d| of(d) >= *each_max).collect();
        let claimed = outbox.claim(worker, room, *each_max, *lease, &busy)?;
        if claimed.is_empty() {
            // Retries and leases of others come due by themselves.
            if let Some(due) = outbox.next_due()? {
                self.look_at = self.look_at.min(Instant::now() + due.max(Duration::from_millis(5)));
            }
            return Ok(());
        }
        // There may be more where these come from.
        self.look_at = Instant::now();
        for claimed in claimed {
            self.call(claimed);
        }
        Ok(())
    }

    fn call(&mut self, claimed: Claimed) {
        let driver = match self.drivers.of(&claimed.driver) {
            Ok(driver) => driver,
            Err(why) => return self.answers.push((claimed, Err(DeviceError::never(why)))),
        };
        let number = self.next_number;
        self.next_number += 1;
        let command = claimed.command.clone();
        match calls::apply(number, driver, command, self.settings.timeout, &self.events) {
            Ok(()) => {
                let now = Instant::now();
                let call =
                    Call { claimed, began: now, renewed: now, is_lost: false, is_given_up: false };
                self.calls.insert(number, call);
            }
            Err(error) => {
                let why = format!("there is no thread for the call: {error}");
                self.answers.push((claimed, Err(DeviceError::later(why))));
            }
        }
    }

    /// Keeps the leases of calls under way, and gives up those that take too long.
    fn keep(&mut self, outbox: &mut Outbox) -> Result<(), postgres::Error> {
        let Settings { lease, timeout, .. } = self.settings;
        for call in self.calls.values_mut().filter(|call| !call.is_given_up) {
            if call.began.elapsed() > *timeout + GRACE {
                call.is_given_up = true;
                let why = format!("no answer within {} ms", timeout.as_millis());
                self.answers.push((call.claimed.clone(), Err(DeviceError::later(why))));
            } else if call.renewed.elapsed() > *lease / 3 && !call.is_lost {
                call.is_lost = !outbox.renew(&call.claimed, *lease)?;
                call.renewed = Instant::now();
            }
        }
        Ok(())
    }

    /// Has devices asked what they are, when it is time.
    fn check(&mut self, outbox: &mut Outbox) -> Result<(), postgres::Error> {
        let is_due = Instant::now() >= self.check_all_at;
        if !is_due && self.to_check.is_empty() {
            return Ok(());
        }
        let devices = outbox.devices()?;
        if is_due {
            self.check_all_at = Instant::now() + self.settings.check;
            self.to_check.extend(devices.iter().map(|listed| listed.device.clone()));
        }
        while let Some(device) = self.to_check.first().cloned() {
            let listed = devices.iter().find(|listed| listed.device == device);
            // A device that still thinks about the last check is asked no more.
            if let Some(listed) = listed.filter(|_| !self.checking.contains(&device)) {
                self.ask(outbox, listed.clone())?;
            }
            self.to_check.remove(&device);
        }
        Ok(())
    }

    fn ask(&mut self, outbox: &mut Outbox, listed: Listed) -> Result<(), postgres::Error> {
        let (since, names) = outbox.wanted(&listed.device)?;
        let device = listed.device.clone();
        self.checking.insert(device.clone());
        let failed = match self.drivers.of(&listed.driver) {
            Ok(driver) => {
                let timeout = self.settings.timeout;
                calls::check(listed, driver, since.clone(), names, timeout, &self.events)
                    .err()
                    .map(|error| format!("there is no thread for the call: {error}"))
            }
            Err(why) => Some(why),
        };
        if let Some(why) = failed {
            self.found.push((device, since, Err(DeviceError::later(why))));
        }
        Ok(())
    }
}
