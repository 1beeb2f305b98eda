//! Test support: the `.slt` query suites and the captures they run over.

pub mod answers;
pub mod cluster;
pub mod control_plane;
pub mod corpus;
pub mod database;
pub mod fuzz;
pub mod http;
pub mod kernel;
pub mod live;
pub mod netns;
pub mod peers;
pub mod program;
pub mod rng;
pub mod run;
pub mod server;
pub mod service;
pub mod slt;
pub mod standby;
pub mod synthetic;
pub mod tls;

use std::path::PathBuf;

/// The folder of this crate; captures and suites lie below it.
pub fn tests_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A carried capture by file name.
pub fn capture(name: &str) -> PathBuf {
    tests_dir().join("captures").join(name)
}

/// The reference captures beside the repository, when they are there; tests may use them but never need them.
pub fn shared_captures() -> Option<PathBuf> {
    let dir = tests_dir().join("../../shared/captures");
    dir.is_dir().then_some(dir)
}

/// Whether golden files are to be rewritten (`UPDATE=1`).
pub fn update_mode() -> bool {
    std::env::var_os("UPDATE").is_some_and(|v| v == "1")
}
