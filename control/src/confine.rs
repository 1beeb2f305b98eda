//! What processes of live runs let go of besides capabilities, for good: files (Landlock) and system calls (seccomp). Both are the kernel's to
//! enforce, whatever a packet makes of the process.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What is known of the kernel; older ones do what they can.
const KNOWN: ABI = ABI::V6;

/// Why a filter is not in force.
type Refused = Box<dyn std::error::Error>;

/// Leaves the files of the kernel to be read, and nothing else.
///
/// # Errors
/// The kernel refuses the rules; one that knows no Landlock does not.
pub fn to_files_of_the_kernel() -> Result<(), RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let folders = [Path::new("/proc"), Path::new("/sys")];
    beneath(rules, folders.into_iter(), AccessFs::from_read(KNOWN))
}

/// Leaves all files to be read, none to be run, no signals to be sent outside, and with `folders` only what is beneath these to be written. Files that
/// are open stay so.
///
/// # Errors
/// As [`to_files_of_the_kernel`].
pub fn to_reading(folders: Option<&[&Path]>) -> Result<(), RulesetError> {
    let written = folders.map_or(BitFlags::empty(), |_| AccessFs::from_write(KNOWN));
    let rules = Ruleset::default()
        .handle_access(written | AccessFs::Execute)?
        .scope(Scope::Signal)?
        .create()?;
    beneath(rules, folders.unwrap_or_default().iter().copied(), AccessFs::from_write(KNOWN))
}

fn beneath<'f>(
    mut rules: landlock::RulesetCreated,
    folders: impl Iterator<Item = &'f Path>,
    access: BitFlags<AccessFs>,
) -> Result<(), RulesetError> {
    for folder in folders {
        if let Ok(folder) = PathFd::new(folder) {
            rules = rules.add_rule(PathBeneath::new(folder, access))?;
        }
    }
    rules.restrict_self().map(drop)
}

/// Leaves these system calls; others fail with EPERM, in all threads.
///
/// # Errors
/// The kernel refuses the filter.
pub fn to_calls(calls: &[libc::c_long]) -> Result<(), Refused> {
    let program = filter(calls, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

/// Takes away [`NEVER_MADE`]: they fail with EPERM, in all threads.
///
/// # Errors
/// The kernel refuses the filter.
pub fn from_calls_never_made() -> Result<(), Refused> {
    Ok(seccompiler::apply_filter_all_threads(&without_calls_never_made()?)?)
}

fn without_calls_never_made() -> Result<BpfProgram, Refused> {
    filter(&NEVER_MADE, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

fn filter(
    calls: &[libc::c_long],
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, Refused> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, these, arch)?.try_into()?)
}

/// System calls that a run has no use for, and whoever takes it over has.
const NEVER_MADE: [libc::c_long; 49] = [
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_personality,
    // Other roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    // The kernel itself, and what its faults are found with.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    /// Confines a thread of its own, and looks what it may do then.
    fn confined<T: Send>(look: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                look()
            });
            confined.join().unwrap()
        })
    }

    #[test]
    fn files_are_written_in_the_folders_given_and_read_everywhere() {
        let folder = std::env::temp_dir().join(format!("wt-confine-{}", std::process::id()));
        let (inside, outside) = (folder.join("inside"), folder.join("outside"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        let (written, refused, read, run) = confined(|| {
            to_reading(Some(&[&inside])).unwrap();
            let written = File::create(inside.join("a")).map(drop);
            let refused = File::create(outside.join("a")).map(drop);
            (written, refused, std::fs::read("/proc/self/status"), Command::new("true").status())
        });
        let anywhere = confined(|| {
            to_reading(None).unwrap();
            File::create(outside.join("b")).map(drop)
        });
        std::fs::remove_dir_all(&folder).unwrap();
        written.unwrap();
        read.unwrap();
        anywhere.unwrap();
        // A kernel without Landlock confines nothing.
        if std::fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|l| l.contains("landlock"))
        {
            assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            assert_eq!(run.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn no_program_is_started_by_calls_that_are_left() {
        let (run, read) = confined(|| {
            seccompiler::apply_filter(&without_calls_never_made().unwrap()).unwrap();
            (Command::new("true").status(), std::fs::read("/proc/self/status"))
        });
        assert_eq!(run.unwrap_err().raw_os_error(), Some(libc::EPERM));
        read.unwrap();
    }
}
