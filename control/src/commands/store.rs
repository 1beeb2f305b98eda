//! `wiretable store`: what a store holds, and what of it is kept.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::Path;

use wt_catalog::{Ordering, Type, Value};
use wt_plan::physical::{ColumnInfo, Schema};
use wt_trace::store::{Pin, Segment, Store, Summary};

use crate::cli::Format;
use crate::cli::record::{StoreArgs, StoreAsk};
use crate::commands::shell::print;
use crate::failure::Failure;
use crate::moment;
use crate::output::text_writer;
use crate::record::failure;

/// Does what is asked of a store.
pub fn store(args: &StoreArgs) -> Result<(), Failure> {
    match &args.ask {
        StoreAsk::Info { dir } => info(&open(dir)?),
        StoreAsk::List { dir, format } => list(&open(dir)?, *format),
        StoreAsk::Pin { dir, name, from, to } => {
            let now_ns = moment::now_ns();
            let time = |text: &str| moment::parse(text, now_ns).map_err(Failure::Input);
            let (from_ns, to_ns) = (time(from)?, time(to)?);
            if from_ns > to_ns {
                return Err(Failure::Input(format!("--from {from} is later than --to {to}")));
            }
            let pin = Pin { name: name.clone(), from_ns, to_ns };
            open(dir)?.pin(pin).map_err(failure)
        }
        StoreAsk::Unpin { dir, name } => {
            let store = open(dir)?;
            if store.unpin(name).map_err(failure)? {
                return Ok(());
            }
            let pins = store.pins().map_err(failure)?;
            let known: Vec<_> = pins.iter().map(|pin| pin.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(Failure::Input(format!("there is no pin `{name}`; there are: {known}")))
        }
    }
}

fn open(dir: &Path) -> Result<Store, Failure> {
    Store::open(dir).map_err(failure)
}

/// The segments with what each holds. Of one that is being written, what is known so far.
fn segments(store: &Store) -> Result<Vec<(Segment, Option<Summary>)>, Failure> {
    let segments = store.segments().map_err(failure)?.into_iter();
    Ok(segments.map(|segment| (store.summary(&segment), segment)).map(|(s, g)| (g, s)).collect())
}

fn info(store: &Store) -> Result<(), Failure> {
    let segments = segments(store)?;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("store", store.dir().display().to_string());
    line("id", format!("{:016x}", store.id()));
    line("created", moment::show(store.created_s() * 1_000_000_000));
    line("index", format!("an entry per {} bytes", store.index_ratio()));
    let closed = || segments.iter().filter_map(|(_, summary)| *summary);
    let open = segments.iter().filter(|(_, summary)| summary.is_none());
    let mut packets: u64 = closed().map(|summary| summary.packets).sum();
    for (segment, _) in open.clone() {
        let mark =
            store.mark(segment.name.writer).filter(|mark| mark.segment == segment.name.first);
        packets += mark.map_or(0, |mark| mark.next - mark.segment);
    }
    let not_closed = open.count();
    line("segments", format!("{}, {not_closed} of them not closed", segments.len()));
    line("packets", packets.to_string());
    let disk: u64 = segments.iter().map(|(segment, _)| segment.disk_bytes).sum();
    line("disk", format!("{disk} bytes"));
    let ranges = || closed().filter_map(|summary| summary.range_ns);
    if let (Some(min), Some(max)) =
        (ranges().map(|range| range.0).min(), ranges().map(|range| range.1).max())
    {
        line("from", moment::show(min));
        line("to", moment::show(max));
    }
    let recorder = store.recorder();
    let recording = recorder.map_or_else(
        || "nobody".to_owned(),
        |recorder| {
            let pid = recorder.get("pid").map(ToString::to_string).unwrap_or_default();
            let devices = recorder.get("devices").and_then(toml::Value::as_array);
            let devices = devices.into_iter().flatten().filter_map(toml::Value::as_str);
            let mut devices: Vec<_> = devices.collect();
            devices.dedup();
            format!("process {pid} {}", devices.join(", ")).trim_end().to_owned()
        },
    );
    line("recording", recording);
    for pin in store.pins().map_err(failure)? {
        let range = format!("{} to {}", moment::show(pin.from_ns), moment::show(pin.to_ns));
        line("pin", format!("{}: {range}", pin.name));
    }
    print(text.as_bytes())
}

fn list(store: &Store, format: Option<Format>) -> Result<(), Failure> {
    let default = if io::stdout().is_terminal() { Format::Table } else { Format::Csv };
    let column = |(name, ty): (&str, Type)| ColumnInfo {
        name: name.to_owned(),
        ty,
        ordering: Ordering::Varying,
        window: false,
        subtype: None,
    };
    let columns = [
        ("segment", Type::String),
        ("writer", Type::Uint),
        ("first", Type::Ullong),
        ("packets", Type::Ullong),
        ("bytes", Type::Ullong),
        ("from", Type::String),
        ("to", Type::String),
        ("state", Type::String),
    ];
    let schema = Schema { columns: columns.into_iter().map(column).collect() };
    let pins = store.pins().map_err(failure)?;
    let mut writer = text_writer(Box::new(io::stdout()), &schema, format.unwrap_or(default));
    let mut write = || -> io::Result<()> {
        for (segment, summary) in segments(store).map_err(|e| io::Error::other(e.to_string()))? {
            let mark = store.mark(segment.name.writer);
            let mark = mark.filter(|mark| mark.segment == segment.name.first);
            let packets = summary.map(|summary| summary.packets);
            let packets = packets.or(mark.map(|mark| mark.next - mark.segment)).unwrap_or(0);
            let range = summary.and_then(|summary| summary.range_ns);
            let state = match summary {
                Some(summary) if pins.iter().any(|pin| pin.holds(&summary)) => "pinned",
                Some(_) => "closed",
                None if store.is_recorded() => "recording",
                None => "not closed",
            };
            writer.row(&[
                Value::bytes(segment.name.to_string()),
                Value::Uint(u64::from(segment.name.writer)),
                Value::Uint(segment.name.first),
                Value::Uint(packets),
                Value::Uint(segment.bytes),
                Value::bytes(range.map_or_else(String::new, |(min, _)| moment::show(min))),
                Value::bytes(range.map_or_else(String::new, |(_, max)| moment::show(max))),
                Value::bytes(state),
            ])?;
        }
        writer.finish()
    };
    match write() {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        done => done.map_err(|e| Failure::Environment(format!("cannot list the store: {e}"))),
    }
}
