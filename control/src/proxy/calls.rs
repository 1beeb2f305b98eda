//! Calls of devices, each on a thread of its own: what a device does with its time is no concern of anybody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::dispatch::Event;
use super::driver::{Command, DeviceError, Done, Driver, Seen};
use super::outbox::Listed;

/// Calls a device for a command; the answer comes as an event of this number.
pub fn apply(
    number: u64,
    driver: Arc<dyn Driver>,
    command: Command,
    timeout: Duration,
    events: &Sender<Event>,
) -> std::io::Result<()> {
    let events = events.clone();
    thread(move || {
        let outcome = guarded(|| driver.apply(&command, timeout));
        // Nobody listens any more only when the proxy has ended.
        let _ = events.send(Event::Applied { number, outcome });
    })
}

/// Asks a device what it is: all that it says of itself, and each of `names` by itself where it says nothing.
pub fn check(
    listed: Listed,
    driver: Arc<dyn Driver>,
    since: String,
    names: Vec<(String, String)>,
    timeout: Duration,
    events: &Sender<Event>,
) -> std::io::Result<()> {
    let events = events.clone();
    thread(move || {
        let found = guarded(|| look(&*driver, &listed.target, &names, timeout));
        let _ = events.send(Event::Checked { device: listed.device, since, found });
    })
}

fn look(
    driver: &dyn Driver,
    target: &str,
    names: &[(String, String)],
    timeout: Duration,
) -> Result<Vec<Seen>, DeviceError> {
    let Some(mut all) = driver.list(target, timeout)? else {
        return names
            .iter()
            .map(|(kind, name)| driver.observe(target, kind, name, timeout))
            .collect();
    };
    // What it does not list is not there; what is gone and was asked for by nobody is no news.
    for (kind, name) in names {
        if !all.iter().any(|seen| seen.kind == *kind && seen.name == *name) {
            let (kind, name) = (kind.clone(), name.clone());
            all.push(Seen { kind, name, generation: 0, observed: None });
        }
    }
    let is_asked = |seen: &Seen| names.iter().any(|(k, n)| *k == seen.kind && *n == seen.name);
    all.retain(|seen| seen.observed.is_some() || is_asked(seen));
    Ok(all)
}

fn thread(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("device".to_owned()).spawn(work).map(drop)
}

/// A driver that breaks is a device that fails.
fn guarded<T>(call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(DeviceError::later("the driver broke off; please report it")))
}

/// What a device has said of a command, or that it has said nothing.
pub type Outcome = Result<Done, DeviceError>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Lists what it is given.
    struct Lister(Option<Vec<Seen>>);

    impl Driver for Lister {
        fn apply(&self, _: &Command, _: Duration) -> Result<Done, DeviceError> {
            panic!("a fault of the driver")
        }

        fn observe(
            &self,
            _: &str,
            kind: &str,
            name: &str,
            _: Duration,
        ) -> Result<Seen, DeviceError> {
            let (kind, name) = (kind.to_owned(), name.to_owned());
            Ok(Seen { kind, name, generation: 1, observed: Some(json!({})) })
        }

        fn list(&self, _: &str, _: Duration) -> Result<Option<Vec<Seen>>, DeviceError> {
            Ok(self.0.clone())
        }
    }

    fn seen(name: &str, is_there: bool) -> Seen {
        let observed = is_there.then(|| json!({}));
        Seen { kind: "block".into(), name: name.into(), generation: 3, observed }
    }

    #[test]
    fn what_a_device_does_not_list_is_not_there() {
        let lister = Lister(Some(vec![seen("a", true), seen("b", false), seen("c", false)]));
        let names = ["a", "b", "d"].map(|name| ("block".to_owned(), name.to_owned()));
        let all = look(&lister, "", &names, Duration::from_secs(1)).unwrap();
        let of = |name: &str| all.iter().find(|s| s.name == name).map(|s| s.observed.is_some());
        assert_eq!(
            [of("a"), of("b"), of("c"), of("d")],
            [Some(true), Some(false), None, Some(false)]
        );
        let all = look(&Lister(None), "", &names, Duration::from_secs(1)).unwrap();
        assert_eq!(all.len(), 3, "asked for one by one");
    }

    #[test]
    fn a_driver_that_panics_is_a_device_that_fails() {
        let command = Command {
            device: "d".into(),
            target: String::new(),
            kind: "k".into(),
            name: "n".into(),
            generation: 1,
            body: None,
        };
        let outcome = guarded(|| Lister(None).apply(&command, Duration::from_secs(1)));
        assert!(matches!(outcome, Err(DeviceError::Later { .. })), "{outcome:?}");
    }
}
