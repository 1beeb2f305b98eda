//! The captures that suites run over: those the project carries, and the reference ones beside it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use wt_wire::{CaptureError, CaptureReader};

/// Endings of the names of capture files, before any compression.
const CAPTURE_ENDINGS: [&str; 2] = ["pcap", "pcapng"];

/// Endings of compressed files, each with the program that writes the plain bytes to its output.
const COMPRESSIONS: [(&str, &str); 3] = [("gz", "gzip"), ("zst", "zstd"), ("xz", "xz")];

/// Every capture the project carries, sorted by path: recorded ones, `generated/` ones, and `damaged/` ones.
///
/// # Panics
/// When there are fewer than a suite may rely on: an empty folder would make every comparison true.
pub fn carried() -> Vec<PathBuf> {
    let files = captures_below(&crate::tests_dir().join("captures"));
    assert!(files.len() >= 20, "tests/captures holds {} captures", files.len());
    files
}

/// Captures below a folder, sorted.
pub fn captures_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(folder, &mut files);
    files.retain(|path| is_capture(path));
    files.sort();
    files
}

/// Every file of the reference captures below `part` (`tcpdump`, `hostile`), when they are there.
pub fn shared(part: &str) -> Option<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(&crate::shared_captures()?.join(part), &mut files);
    files.sort();
    (!files.is_empty()).then_some(files)
}

/// How many of the reference captures are sampled, and by which seed.
const SAMPLE: (usize, u64) = (100, 2003);

/// The reference captures of tcpdump, or a seeded sample of them.
///
/// # Panics
/// When they are not there: whoever asks for them wants them read.
pub fn sample(all: bool) -> Vec<PathBuf> {
    let mut files = shared("tcpdump").expect("the reference captures beside the repository");
    let mut rng = crate::rng::Rng::new(SAMPLE.1);
    while !all && files.len() > SAMPLE.0 {
        files.swap_remove(rng.below(files.len()));
    }
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

fn is_capture(path: &Path) -> bool {
    let plain = match decompressor(path) {
        Some(_) => path.with_extension(""),
        None => path.to_owned(),
    };
    let ending = plain.extension().and_then(OsStr::to_str);
    ending.is_some_and(|e| CAPTURE_ENDINGS.contains(&e))
}

fn decompressor(path: &Path) -> Option<&'static str> {
    let ending = path.extension().and_then(OsStr::to_str)?;
    COMPRESSIONS.iter().find(|(e, _)| *e == ending).map(|(_, program)| *program)
}

/// The file's name, for messages and trial names.
pub fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// The path below the folder that holds the captures, for trial names.
pub fn short_name(path: &Path) -> String {
    let folder = crate::tests_dir().join("captures");
    let below = crate::shared_captures().unwrap_or_else(|| folder.clone());
    let short = path.strip_prefix(&folder).or_else(|_| path.strip_prefix(&below));
    short.unwrap_or(path).display().to_string()
}

/// The capture as programs read it that know no compression: itself, or an unpacked copy in `scratch`.
///
/// # Errors
/// The decompressor is missing or refuses the file, or the copy cannot be written.
pub fn plain(path: &Path, scratch: &Scratch) -> io::Result<PathBuf> {
    let Some(program) = decompressor(path) else { return Ok(path.to_owned()) };
    let target = scratch.path(&name_of(&path.with_extension("")));
    let status = Command::new(program)
        .args(["-d", "-c"])
        .arg(path)
        .stdout(fs::File::create(&target)?)
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(target)
    } else {
        Err(io::Error::other(format!("{program} cannot unpack {}", path.display())))
    }
}

/// A folder that vanishes with its owner.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder of its own below the system's temporary one.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("wiretable-tests-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder left behind in the temporary one harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a carried capture is one of those that break somewhere.
pub fn is_damaged(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("damaged"))
}

/// Whether a capture has more bytes of a packet than it says it may. libpcap cuts what lies beyond the snap length that the file states; here every captured byte counts. Only made-up
/// captures have such.
///
/// # Errors
/// It is no capture.
pub fn beyond_snap_len(path: &Path) -> Result<bool, CaptureError> {
    let mut reader = CaptureReader::open(path)?;
    loop {
        let (captured, interface) = match reader.next() {
            Ok(Some(record)) => (record.data.len(), record.interface),
            _ => return Ok(false),
        };
        let snap_len = reader.interfaces()[interface as usize].snap_len as usize;
        if snap_len > 0 && captured > snap_len {
            return Ok(true);
        }
    }
}
