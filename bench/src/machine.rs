//! What a result was measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Lines of a report's head: name and value.
pub fn describe(dir: &Path, wiretable: &Path) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    vec![
        ("processor", format!("{}, {cores} cores", processor())),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("memory", memory()),
        ("filesystem of the traces", filesystem(dir).unwrap_or_else(|| "unknown".into())),
        ("commit", commit()),
        ("wiretable", said(Command::new(wiretable).arg("--version"))),
        ("date", said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%MZ"]))),
        ("command", command_line()),
    ]
}

/// As it was typed, without the folders of this machine.
fn command_line() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let short = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let rest = arguments.map(|a| {
        let a = match Path::new(&a) {
            path if path.is_absolute() => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            _ => a,
        };
        if a.contains([' ', '\'', '"']) { format!("{a:?}") } else { a }
    });
    std::iter::once(short).chain(rest).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = field(&text, "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    match field(&text, "cache size") {
        Some(cache) => format!("{model} ({cache} cache)"),
        None => model,
    }
}

fn memory() -> String {
    let kib = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    kib.map_or_else(|| "unknown".into(), |kib| format!("{} GiB", kib.div_ceil(1 << 20)))
}

/// The type of the mount with the longest prefix of the path.
fn filesystem(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = read("/proc/self/mounts");
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            dir.starts_with(place).then_some((place.len(), kind))
        })
        .max()
        .map(|(_, kind)| kind.to_owned())
}

fn commit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let hash = said(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root));
    let changed = said(
        Command::new("git")
            .args(["status", "--porcelain", "--", "..", ":!../bench"])
            .current_dir(root),
    );
    if changed.is_empty() { hash } else { format!("{hash}, with changes") }
}

fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".into(),
    }
}
