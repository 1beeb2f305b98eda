//! The traces of a run, kept in a directory and made again when what they are made of changes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::generate::amplify::{Amplify, AmplifyError, amplify};
use crate::generate::{self, Amount, Profile, Spec, generate, hash_text};

/// What a trace is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A seed.
    Generated(Spec),
    /// Captures.
    Amplified(Amplify),
    /// It is there already.
    File(PathBuf),
}

/// A trace, ready to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Short name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is made of, in a line.
    pub recipe: String,
}

/// Why a trace is not there.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No such name, and no such file.
    #[error("`{given}` is neither `real`, `imix`, `attack` nor a trace file")]
    Unknown {
        /// What was given.
        given: String,
    },
    /// It could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It could not be made of captures.
    #[error(transparent)]
    Amplify(#[from] AmplifyError),
}

/// Packets of the real trace when nothing else is asked for: 1.29 GB.
const REAL_PACKETS: u64 = 3_600_000;
/// Packets of generated traces when nothing else is asked for: 3.7 GB.
const GENERATED_PACKETS: u64 = 10_000_000;
/// Packets per second of the real trace: a busy link of 270 Mbit/s.
const REAL_RATE: u64 = 100_000;
/// Captures of the real trace and how often each is there. Two links of an office for three minutes, and enough small requests that the
/// mean packet has about 340 bytes.
const REAL: [(&str, usize); 6] = [
    ("eth0.pcap", 1),
    ("http.pcap", 6),
    ("dns.pcap", 6),
    ("ssh.pcap", 6),
    ("tls.pcap", 6),
    ("icmp.pcap", 5),
];

/// The source of a trace by name; `captures` is the folder of the carried captures.
///
/// # Errors
/// [`TraceError::Unknown`].
pub fn named(given: &str, packets: Option<u64>, captures: &Path) -> Result<Source, TraceError> {
    let generated = |profile| {
        let amount = Amount::Packets(packets.unwrap_or(GENERATED_PACKETS));
        Source::Generated(Spec { profile, amount, ..Spec::default() })
    };
    match given {
        "imix" => Ok(generated(Profile::Imix)),
        "attack" => Ok(generated(Profile::Attack)),
        "real" => Ok(Source::Amplified(Amplify {
            inputs: REAL
                .iter()
                .flat_map(|&(name, times)| std::iter::repeat_n(captures.join(name), times))
                .collect(),
            amount: Amount::Packets(packets.unwrap_or(REAL_PACKETS)),
            rate: Some(REAL_RATE),
            fill: true,
        })),
        path if Path::new(path).is_file() => Ok(Source::File(path.into())),
        _ => Err(TraceError::Unknown { given: given.to_owned() }),
    }
}

/// Makes a trace unless it is in the directory.
///
/// # Errors
/// [`TraceError`].
pub fn prepare(name: &str, source: &Source, dir: &Path) -> Result<Trace, TraceError> {
    let (recipe, hash) = match source {
        Source::Generated(spec) => (describe(spec), spec.hash()),
        Source::Amplified(spec) => {
            let recipe = describe_amplified(spec);
            let hash = hash_text(&recipe);
            (recipe, hash)
        }
        Source::File(path) => {
            let short = path.file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy());
            let recipe = "a file".to_owned();
            return Ok(Trace { name: short.into_owned(), path: path.clone(), recipe });
        }
    };
    let path = dir.join(format!("{name}-{hash:016x}.pcap"));
    if !path.is_file() {
        // Written under another name first: a trace that was interrupted is not taken for a whole one.
        let partial = path.with_extension("partial");
        let failed = |source| TraceError::Write { path: partial.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let file = File::create(&partial).map_err(failed)?;
        match source {
            Source::Generated(spec) => generate(spec, file).map_err(failed).map(|_| ())?,
            Source::Amplified(spec) => amplify(spec, file).map(|_| ())?,
            Source::File(_) => {}
        }
        fs::rename(&partial, &path).map_err(failed)?;
    }
    Ok(Trace { name: name.to_owned(), path, recipe })
}

fn describe(spec: &Spec) -> String {
    let amount = amount(spec.amount);
    format!(
        "generated: {:?}, {amount}, seed {}, {} flows, zipf {}, burst {}, shares vlan {} ipv6 {} tunnel {} attack {}, \
         {} packets/s of trace time, checksums {}",
        spec.profile,
        spec.seed,
        spec.flows,
        spec.zipf,
        spec.burst,
        spec.vlan,
        spec.ipv6,
        spec.tunnel,
        if spec.profile == Profile::Attack { spec.attack } else { 0.0 },
        spec.rate,
        spec.checksums,
    )
    .to_lowercase()
}

fn describe_amplified(spec: &Amplify) -> String {
    let mut inputs: Vec<(String, u64, usize)> = Vec::new();
    for path in &spec.inputs {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let len = fs::metadata(path).map_or(0, |m| m.len());
        match inputs.iter_mut().find(|(n, l, _)| (n, *l) == (&name, len)) {
            Some((_, _, times)) => *times += 1,
            None => inputs.push((name, len, 1)),
        }
    }
    let inputs: Vec<String> =
        inputs.iter().map(|(name, len, times)| format!("{times} × {name} ({len} bytes)")).collect();
    format!(
        "captures repeated: {}, {}{}{}, way {}",
        inputs.join(", "),
        amount(spec.amount),
        spec.rate.map(|rate| format!(", {rate} packets/s of trace time")).unwrap_or_default(),
        if spec.fill { ", cut packets filled" } else { "" },
        generate::VERSION,
    )
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Packets(n) => format!("{n} packets"),
        Amount::Bytes(n) => format!("{n} bytes"),
    }
}
