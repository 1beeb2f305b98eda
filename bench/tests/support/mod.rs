//! What tests of `wt-bench` share.

use std::path::PathBuf;

/// The built `wiretable`, beside the running test program.
pub fn wiretable() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // …/release/deps/a-test-0123 → …/release/wiretable
    let path = test.ancestors().nth(2).expect("a build folder").join("wiretable");
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --release -p wiretable`, as `make test` does first",
        path.display()
    );
    path
}

/// A folder that goes with the value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A new folder.
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("wt-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
