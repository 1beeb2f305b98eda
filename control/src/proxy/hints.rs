//! Listens for NOTIFY `north`: a hint that there is something to do. One that is lost costs no more than the time to the next look.

use std::sync::mpsc::Sender;
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;

use super::dispatch::Event;
use crate::db::connect::DatabaseUrl;
use crate::serve::Stop;

/// How long the listener waits before it sees whether it is to stop.
const LISTEN: Duration = Duration::from_millis(200);
/// How long it leaves alone a database that is away.
const REST: Duration = Duration::from_secs(1);

/// Listens until the end.
pub fn listen(url: &DatabaseUrl, events: &Sender<Event>, stop: &Stop) {
    while !stop.is_set() {
        // The dispatcher says that the database is away.
        if session(url, events, stop).is_err() {
            stop.wait(REST);
        }
    }
}

fn session(url: &DatabaseUrl, events: &Sender<Event>, stop: &Stop) -> Result<(), postgres::Error> {
    let mut client = url.open()?;
    client.batch_execute("LISTEN north")?;
    // What came before is not hinted at any more.
    let _ = events.send(Event::Hint);
    while !stop.is_set() {
        {
            let mut notifications = client.notifications();
            let mut some = notifications.timeout_iter(LISTEN);
            while let Some(notification) = some.next()? {
                let event = match notification.payload().strip_prefix("check ") {
                    Some(device) => Event::Check { device: device.to_owned() },
                    None => Event::Hint,
                };
                if events.send(event).is_err() {
                    return Ok(());
                }
            }
        }
        if client.is_closed() {
            client.batch_execute("")?;
        }
    }
    Ok(())
}
