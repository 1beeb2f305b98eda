//! Which cores serve an interface: its interrupts, or the queues of one that has none. What is set here stays when the process ends, as what `ip link` sets does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Interrupt, kernel};

/// What was given to another core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// `interrupt 38` or `queue rx-0`.
    pub what: String,
    /// The cores that served it, as the kernel lists them; empty: whichever had received the packet.
    pub from: String,
    /// The one that serves it now.
    pub to: u32,
}

/// Why it was not.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// Neither interrupts nor queues.
    #[error("`{interface}` has neither interrupts nor receive queues that could be placed")]
    Nothing {
        /// The interface.
        interface: String,
    },
    /// There is no such core.
    #[error("`{interface}`: this host has no core {core}; there are 0 to {last}")]
    NoCore {
        /// The interface.
        interface: String,
        /// The one that was given.
        core: u32,
        /// The last one that there is.
        last: u32,
    },
    /// The kernel refuses.
    #[error("{what} of `{interface}` cannot be given to core {core}: {source}")]
    Refused {
        /// The interface.
        interface: String,
        /// `interrupt 38` or `queue rx-0`.
        what: String,
        /// The core.
        core: u32,
        /// What it says.
        source: io::Error,
    },
}

impl ServingError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root, or place them before the run and leave `interrupts` out")
            }
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("containers have these files read-only: place them on the host")
            }
            Self::Refused { .. } => {
                Some("some drivers place their interrupts themselves: leave `interrupts` out")
            }
            Self::Nothing { .. } | Self::NoCore { .. } => None,
        }
    }
}

/// Gives the interrupts of an interface's queues to these cores in turn: those of queue 0 to the first, and so on. Where there are none, as of a pair of
/// virtual interfaces, what the kernel does with packets of a queue behind the driver is given to them (RPS). What is where it should be is left alone.
///
/// # Errors
/// [`ServingError`]; what was moved before stays moved.
///
/// # Panics
/// When no cores are given.
pub fn serve_on(interface: &str, cores: &[u32]) -> Result<Vec<Moved>, ServingError> {
    let last = kernel::last_core().unwrap_or(0);
    if let Some(core) = cores.iter().copied().find(|core| *core > last) {
        return Err(ServingError::NoCore { interface: interface.to_owned(), core, last });
    }
    let interrupts = kernel::interrupts_of(interface);
    serve_below(Path::new("/"), interface, &interrupts, cores)
}

fn serve_below(
    root: &Path,
    interface: &str,
    interrupts: &[Interrupt],
    cores: &[u32],
) -> Result<Vec<Moved>, ServingError> {
    let of_queue = |queue: u32| cores[queue as usize % cores.len()];
    let mut moved = Vec::new();
    let mut has_any = false;
    for Interrupt { number, queue, .. } in interrupts {
        let Some(core) = queue.map(of_queue) else { continue };
        has_any = true;
        let path = root.join(format!("proc/irq/{number}/smp_affinity_list"));
        let place = Place { interface, what: format!("interrupt {number}"), path, core };
        moved.extend(place.take(str::to_owned, core.to_string())?);
    }
    if has_any {
        return Ok(moved);
    }
    let folder = root.join("sys/class/net").join(interface).join("queues");
    let names = fs::read_dir(&folder).into_iter().flatten().flatten();
    let number = |name: String| name.strip_prefix("rx-")?.parse::<u32>().ok();
    let mut queues: Vec<u32> =
        names.filter_map(|entry| number(entry.file_name().into_string().ok()?)).collect();
    queues.sort_unstable();
    if queues.is_empty() {
        return Err(ServingError::Nothing { interface: interface.to_owned() });
    }
    for queue in queues {
        let path = folder.join(format!("rx-{queue}/rps_cpus"));
        let core = of_queue(queue);
        let place = Place { interface, what: format!("queue rx-{queue}"), path, core };
        moved.extend(place.take(listed, mask(core))?);
    }
    Ok(moved)
}

/// A file of the kernel that says which cores serve something.
struct Place<'a> {
    interface: &'a str,
    what: String,
    path: PathBuf,
    core: u32,
}

impl Place<'_> {
    /// Writes `value` into it, unless it says so already; `list` reads what it says.
    fn take(self, list: fn(&str) -> String, value: String) -> Result<Option<Moved>, ServingError> {
        let Self { interface, what, path, core } = self;
        let done = fs::read_to_string(&path).and_then(|old| {
            let from = list(old.trim());
            let is_there = from == core.to_string();
            if !is_there {
                fs::write(&path, value)?;
            }
            Ok((!is_there).then(|| Moved { what: what.clone(), from, to: core }))
        });
        let interface = interface.to_owned();
        done.map_err(|source| ServingError::Refused { interface, what, core, source })
    }
}

/// A mask of one core: words of 32 bits in hexadecimal, the last ones first.
fn mask(core: u32) -> String {
    let rest = ",00000000".repeat(core as usize / 32);
    format!("{:x}{rest}", 1_u32 << (core % 32))
}

/// The cores of a mask, with commas between them.
fn listed(mask: &str) -> String {
    let words = mask.split(',').rev().map(|word| u32::from_str_radix(word, 16).unwrap_or(0));
    let cores = words.zip(0_u32..).flat_map(|(word, at)| {
        (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 32 * at + bit)
    });
    cores.map(|core| core.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a kernel, in a folder that goes with the value.
    struct Files(std::path::PathBuf);

    impl Files {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root =
                std::env::temp_dir().join(format!("wt-serving-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).unwrap()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn interrupt(number: u32, queue: Option<u32>) -> Interrupt {
        Interrupt { number, cores: "0-3".to_owned(), queue }
    }

    #[test]
    fn interrupts_of_queues_get_cores_in_turn() {
        let file = |number: u32| format!("proc/irq/{number}/smp_affinity_list");
        let files = [(37, "0-3\n"), (38, "0-3\n"), (39, "0-3\n"), (40, "1\n"), (41, "0-3\n")];
        let files: Vec<_> = files.map(|(n, text)| (file(n), text)).into();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let files = Files::new("interrupts", &files);
        // One of none of the queues, two of the first, one that is in its place.
        let all = [(37, None), (38, Some(0)), (39, Some(0)), (40, Some(1)), (41, Some(2))];
        let all = all.map(|(number, queue)| interrupt(number, queue));
        let moved = serve_below(&files.0, "eth0", &all, &[2, 1]).unwrap();
        let of = |n: u32, to| Moved { what: format!("interrupt {n}"), from: "0-3".into(), to };
        assert_eq!(moved, [of(38, 2), of(39, 2), of(41, 2)]);
        let now = [37, 38, 39, 40, 41].map(|number| files.read(&file(number)));
        assert_eq!(now, ["0-3\n", "2", "2", "1\n", "2"]);
        assert_eq!(serve_below(&files.0, "eth0", &all, &[2, 1]).unwrap(), []);
        let refused = serve_below(&files.0, "eth0", &[interrupt(99, Some(0))], &[1]).unwrap_err();
        assert!(refused.to_string().contains("interrupt 99 of `eth0`"), "{refused}");
        assert!(refused.hint().is_some());
    }

    #[test]
    fn queues_without_interrupts_are_steered() {
        let file = |queue: u32| format!("sys/class/net/near/queues/rx-{queue}/rps_cpus");
        let (first, second) = (file(0), file(1));
        let files = Files::new("queues", &[(&first, "00,00000000\n"), (&second, "03\n")]);
        let moved = serve_below(&files.0, "near", &[], &[33, 0]).unwrap();
        let of =
            |n: u32, from: &str, to| Moved { what: format!("queue rx-{n}"), from: from.into(), to };
        assert_eq!(moved, [of(0, "", 33), of(1, "0,1", 0)]);
        assert_eq!([files.read(&first), files.read(&second)], ["2,00000000", "1"]);
        assert_eq!(serve_below(&files.0, "near", &[], &[33, 0]).unwrap(), []);
        let nothing = serve_below(&files.0, "far", &[], &[0]).unwrap_err();
        assert!(nothing.to_string().contains("neither interrupts nor"), "{nothing}");
    }

    #[test]
    fn masks_have_words() {
        assert_eq!([0, 5, 32, 65].map(mask), ["1", "20", "1,00000000", "2,00000000,00000000"]);
        assert_eq!([listed("0"), listed("3"), listed("1,00000002")], ["", "0,1", "1,32"]);
    }
}
