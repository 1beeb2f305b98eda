//! `wiretable device`: the devices of the control plane, as the database knows them.

use crate::cli::device::{DeviceArgs, DeviceCommand, Shown};
use crate::commands::sql::{connect, literal, print, refused};
use crate::failure::Failure;

const LIST: &str = "SELECT device, driver, target, enabled, objects, drift, pending, failed, \
    to_char(seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS seen_utc, error FROM north.device_status ORDER BY device";

/// Shows or checks devices.
pub fn device(args: &DeviceArgs) -> Result<(), Failure> {
    match &args.command {
        DeviceCommand::List { shown } => rows(shown, LIST),
        DeviceCommand::Show { device, drift, shown } => show(device, *drift, shown),
        DeviceCommand::Reconcile { device, place } => {
            let mut client = connect(place)?;
            let row = client
                .query_one("SELECT north.ask_check($1)", &[device])
                .map_err(|e| refused("the check", &e))?;
            match row.get::<_, i32>(0) {
                0 => eprintln!("wiretable: {device}: a full check is asked for"),
                n => eprintln!(
                    "wiretable: {device}: {n} failed commands are tried again, and a full check is asked for"
                ),
            }
            Ok(())
        }
    }
}

fn show(device: &str, drift: bool, shown: &Shown) -> Result<(), Failure> {
    let mut client = connect(&shown.place)?;
    let known = client
        .query_opt("SELECT FROM net.device WHERE device = $1", &[&device])
        .map_err(|e| refused("the device", &e))?;
    if known.is_none() {
        return Err(Failure::Input(format!(
            "there is no device `{device}`\n  help: `wiretable device list` shows those there are"
        )));
    }
    drop(client);
    let literal = literal(device);
    let only = if drift { "AND (d.device IS NOT NULL OR k.state IS NOT NULL)" } else { "" };
    let statement = format!(
        "SELECT o.kind, o.name, o.desired, o.desired_gen AS gen, o.observed, o.observed_gen, \
           coalesce(d.reason, 'as wanted') AS drift, k.state AS command, k.attempts, coalesce(k.error, o.error) AS error \
         FROM net.object o LEFT JOIN net.drift d USING (device, kind, name) \
         LEFT JOIN LATERAL (SELECT c.state, c.attempts, c.error FROM north.command c WHERE c.device = o.device AND c.kind = o.kind AND c.name = o.name \
           AND c.state IN ('pending', 'leased', 'failed') ORDER BY c.gen DESC LIMIT 1) k ON true \
         WHERE o.device = {literal} AND (o.desired IS NOT NULL OR o.observed IS NOT NULL OR d.device IS NOT NULL OR k.state IS NOT NULL) {only} \
         ORDER BY o.kind, o.name"
    );
    rows(shown, &statement)
}

fn rows(shown: &Shown, statement: &str) -> Result<(), Failure> {
    let mut client = connect(&shown.place)?;
    print(&mut client, statement, shown.format)
}
