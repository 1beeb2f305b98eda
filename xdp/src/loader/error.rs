//! What can go wrong with the kernel, and what to do about it.

use aya::EbpfError;
use aya::programs::ProgramError;

use crate::codegen::spec::ProgramSpec;
use crate::object::ObjectError;

/// A program that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not let this user load programs.
    #[error("no privilege to load programs into the kernel")]
    NoPrivilege,
    /// The verifier refuses the program.
    #[error("the kernel refuses the program: {reason}{}", at.as_ref().map_or(String::new(), |at| format!(" (at {at})")))]
    Refused {
        /// What the verifier says, its last line.
        reason: String,
        /// The instruction, and what it is for.
        at: Option<String>,
        /// All that the verifier says.
        log: String,
    },
    /// Something of the program is not there after it was loaded.
    #[error("`{what}` is missing in the loaded program; please report it")]
    Incomplete {
        /// A map or program.
        what: String,
    },
    /// It has no object file.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Something else.
    #[error("cannot load the program: {0}")]
    Other(#[source] std::io::Error),
}

/// Lines of the verifier that are not what it objects to.
const NOT_REASONS: [&str; 4] = ["processed ", "verification time", "stack depth", "mark_precise"];

impl LoadError {
    pub(super) fn of(error: &EbpfError, spec: &ProgramSpec) -> Self {
        let io = io_error(error);
        match io.and_then(std::io::Error::raw_os_error) {
            Some(libc::EPERM | libc::EACCES) => LoadError::NoPrivilege,
            _ => LoadError::Refused {
                reason: format!("{error}: {}", io.map_or(String::new(), ToString::to_string)),
                at: Some(spec.name.clone()),
                log: String::new(),
            },
        }
    }

    /// A map that is made beside the program could not be.
    pub(super) fn of_map(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => LoadError::NoPrivilege,
            _ => LoadError::Other(error),
        }
    }

    pub(super) fn of_program(error: ProgramError, spec: &ProgramSpec) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                let is_privilege = io_error.raw_os_error() == Some(libc::EPERM);
                if is_privilege && log.trim().is_empty() {
                    return LoadError::NoPrivilege;
                }
                let is_reason = |line: &&str| {
                    !line.trim().is_empty() && !NOT_REASONS.iter().any(|n| line.starts_with(n))
                };
                let reason = log.lines().rev().find(is_reason);
                let reason = reason.map_or_else(|| io_error.to_string(), str::to_owned);
                LoadError::refused(reason, log, spec)
            }
            ProgramError::SyscallError(error) => LoadError::Other(error.io_error),
            other => LoadError::Other(std::io::Error::other(other)),
        }
    }

    /// A program that the verifier refuses, with the instruction that its log names.
    pub(crate) fn refused(reason: String, log: String, spec: &ProgramSpec) -> Self {
        let at = last_instruction(&log).map(|slot| place(spec, slot));
        LoadError::Refused { reason, at, log }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            LoadError::NoPrivilege => {
                "Run it as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN."
            }
            LoadError::Refused { .. } => {
                "The query runs on the host without XDP; please report the verifier's log."
            }
            LoadError::Incomplete { .. } | LoadError::Object(_) => "Please report it.",
            LoadError::Other(_) => "See whether the kernel has BPF (5.17 or later).",
        }
    }
}

/// The innermost error of the operating system.
fn io_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e std::io::Error> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(error) = next {
        found = error.downcast_ref::<std::io::Error>().or(found);
        next = error.source();
    }
    found
}

/// The last instruction that the verifier's log names: lines like `12: (85) call bpf_map_lookup_elem#1`.
fn last_instruction(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|line| {
        let (slot, rest) = line.split_once(": (")?;
        rest.get(..3)?.ends_with(')').then_some(())?;
        slot.trim().parse().ok()
    })
}

/// An instruction of the listing, and the comment above it.
fn place(spec: &ProgramSpec, slot: usize) -> String {
    let mut comment = "";
    for line in spec.code.listing.lines() {
        if let Some(text) = line.strip_prefix("; ") {
            comment = text;
        } else if let Some((number, text)) = line.split_once(": ")
            && number.trim().parse() == Ok(slot)
        {
            return format!("instruction {slot}, `{text}`, for: {comment}");
        }
    }
    format!("instruction {slot}")
}

/// A program that could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No such interface.
    #[error("there is no interface `{interface}`")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// Another program has the one place there is.
    #[error("another XDP program is attached to `{interface}`")]
    Busy {
        /// Its name.
        interface: String,
    },
    /// The kernel does not let this user attach programs.
    #[error("no privilege to attach a program to `{interface}`")]
    NoPrivilege {
        /// Its name.
        interface: String,
    },
    /// The program is not attached, or not loaded.
    #[error("the program is not attached")]
    NotLoaded {
        /// Interface it was to be attached to.
        interface: String,
    },
    /// The driver refuses.
    #[error("cannot attach to `{interface}`: {source}")]
    Other {
        /// Its name.
        interface: String,
        /// What it says.
        #[source]
        source: std::io::Error,
    },
}

impl AttachError {
    pub(super) fn of(error: ProgramError, interface: &str) -> Self {
        let interface = interface.to_owned();
        if let ProgramError::UnknownInterface { .. } = error {
            return AttachError::NoInterface { interface };
        }
        let code = io_error(&error).and_then(std::io::Error::raw_os_error);
        match code {
            Some(libc::EBUSY | libc::EEXIST) => AttachError::Busy { interface },
            Some(libc::EPERM | libc::EACCES) => AttachError::NoPrivilege { interface },
            Some(libc::ENODEV) => AttachError::NoInterface { interface },
            Some(code) => {
                let source = std::io::Error::from_raw_os_error(code);
                AttachError::Other { interface, source }
            }
            None => AttachError::Other { interface, source: std::io::Error::other(error) },
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            AttachError::NoInterface { .. } => "`ip link` lists the interfaces.",
            AttachError::Busy { .. } => {
                "`ip link show` names the program; `ip link set dev IF xdp off` removes it when nobody needs it."
            }
            AttachError::NoPrivilege { .. } => {
                "Run it as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN."
            }
            AttachError::NotLoaded { .. } => "Please report it.",
            AttachError::Other { .. } => {
                "Jumbo frames, or offloads such as LRO, may be in the way: `ethtool -k IF`, `ip link show IF`."
            }
        }
    }
}

/// A map that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the map `{map}`: {source}")]
pub struct MapAccess {
    /// Its name.
    pub map: String,
    /// What was tried.
    pub what: &'static str,
    /// What the kernel says.
    #[source]
    pub source: std::io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_instruction_of_a_log_is_found() {
        let log = "10: (bf) r2 = r10      ; R2_w=fp0\n11: (07) r2 += -32\n; text\nR1 invalid mem access 'scalar'\nprocessed 12 insns\n";
        assert_eq!(last_instruction(log), Some(11));
        assert_eq!(last_instruction("no instruction: (at all)"), None);
    }
}
