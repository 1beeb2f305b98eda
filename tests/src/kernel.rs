//! Programs in the kernel, as a backend of the suites: whether this machine lets us, and which captures can be given to them.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use wt_engine::{EngineError, LftaBackend, LftaSetup, Memory};
use wt_plan::ir::LftaProgram;
use wt_wire::CaptureReader;
use wt_xdp::codegen::{Options, compile};
use wt_xdp::loader::{LoadError, Loaded, TRIED_BYTES};
use wt_xdp::{TriedError, TriedLfta};

/// Queries that ran in the kernel, and those of the same batches that did not, over the whole test program.
static IN_KERNEL: AtomicU64 = AtomicU64::new(0);
static ON_HOST: AtomicU64 = AtomicU64::new(0);

/// Why programs cannot be loaded here, if they cannot.
pub fn refusal() -> Option<&'static str> {
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    REFUSAL.get_or_init(try_load).as_deref()
}

fn try_load() -> Option<String> {
    let query = wt_plan::ir::LftaQuery {
        name: "nothing".to_owned(),
        requires: Vec::new(),
        quals: Vec::new(),
        action: wt_plan::ir::LftaAction::Select { outputs: Vec::new(), ordered: Vec::new() },
        snap_len_bytes: None,
    };
    let program = LftaProgram { queries: vec![query], ..LftaProgram::default() };
    let spec = compile(&program, &[], &Options::default()).ok()?.spec?;
    match Loaded::load(&spec) {
        Ok(_) => None,
        Err(error @ (LoadError::NoPrivilege | LoadError::Other(_))) => {
            Some(format!("{error}. {}", error.hint()))
        }
        // A fault of the program is for the tests to tell.
        Err(_) => None,
    }
}

/// Whether every packet of captures can be given to a program in the kernel.
pub fn takes(files: &[PathBuf]) -> bool {
    files.iter().all(|file| {
        let Ok(mut reader) = CaptureReader::open(file) else { return false };
        loop {
            match reader.next() {
                Ok(Some(record)) => {
                    if record.link_type.0 != 1 || !TRIED_BYTES.contains(&record.data.len()) {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    })
}

/// The backend of an interface, if any of its queries has code for the kernel.
///
/// # Errors
/// The kernel refuses the program.
pub fn make(setup: &LftaSetup<'_>) -> Result<Option<Box<dyn LftaBackend>>, EngineError> {
    match TriedLfta::new(setup, &mut Memory::new(None)) {
        Ok(None) => {
            ON_HOST.fetch_add(setup.program.queries.len() as u64, Ordering::Relaxed);
            Ok(None)
        }
        Ok(Some(tried)) => {
            let in_kernel = tried.in_kernel() as u64;
            IN_KERNEL.fetch_add(in_kernel, Ordering::Relaxed);
            let all = setup.program.queries.len() as u64;
            ON_HOST.fetch_add(all - in_kernel, Ordering::Relaxed);
            Ok(Some(Box::new(tried)))
        }
        Err(TriedError::Setup(error)) => Err(error.into()),
        Err(error) => {
            let source = Box::new(error);
            Err(EngineError::Backend { interface: setup.interface.to_owned(), source })
        }
    }
}

/// Queries that ran in the kernel so far, and those that did not.
pub fn counts() -> (u64, u64) {
    (IN_KERNEL.load(Ordering::Relaxed), ON_HOST.load(Ordering::Relaxed))
}
