//! The process that keeps the privileges of a live run (`wt_xdp::broker`): started before anything else, confined, and gone when the run is.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use signal_hook::flag;
use wt_xdp::broker::{Broker, serve};

use crate::cli::BrokerArgs;
use crate::confine;
use crate::execute::END_SIGNALS;
use crate::failure::Failure;
use crate::live::privileges;

/// Starts a broker for these interfaces of the host.
pub fn start(interfaces: impl IntoIterator<Item = String>) -> Result<Broker, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Environment(format!(
            "cannot start the process that keeps the privileges of this run: {error}"
        ))
    };
    let (here, there) = UnixStream::pair().map_err(failed)?;
    let there = std::os::fd::OwnedFd::from(there);
    let mut command = Command::new("/proc/self/exe");
    command.arg("broker").args(interfaces).stdin(there).stdout(Stdio::null());
    // Ctrl-C is for the run, which lets go of its programs in order.
    command.process_group(0).current_dir("/").env_clear();
    // It ends when its stream does, and is waited for by nobody: this process lives a moment longer at most.
    command.spawn().map_err(failed)?;
    Ok(Broker::over(here))
}

/// The broker's own work: serves the stream on its standard input until that ends.
pub fn broker(args: &BrokerArgs) -> Result<(), Failure> {
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        Failure::Environment(format!("the keeper of privileges cannot {what}: {error}"))
    };
    let stream = std::io::stdin().as_fd().try_clone_to_owned();
    let stream = UnixStream::from(stream.map_err(|e| refused("read its input", &e))?);
    stream.peer_addr().map_err(|_| {
        Failure::Input("`broker` is started by live runs; it is of no use by itself".to_owned())
    })?;
    // Its file is called `exe`, which would tell nobody what it is.
    rustix::thread::set_name(c"wiretable-keep").map_err(|e| refused("take its name", &e))?;
    privileges::keep_brokers()?;
    confine::to_files_of_the_kernel().map_err(|e| refused("let go of files", &e))?;
    // A service manager ends all processes of a run at once, and this one is needed until the run has ended.
    for signal in END_SIGNALS {
        flag::register(signal, Arc::default()).map_err(|e| refused("ignore signals", &e))?;
    }
    confine::to_calls(&CALLS).map_err(|e| refused("let go of system calls", &e))?;
    serve(&stream, &args.interfaces).map_err(|e| refused("go on", &e))
}

/// System calls that a broker makes; others fail with EPERM.
const CALLS: [libc::c_long; 47] = [
    // Programs, maps, links and sockets.
    libc::SYS_bpf,
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_ioctl,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Files of the kernel.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_getdents64,
    libc::SYS_ppoll,
    libc::SYS_uname,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    // Threads, of which one that waits for signals may be about to begin; signals, time, the end.
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_prctl,
    libc::SYS_futex,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
