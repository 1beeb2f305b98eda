//! The built command, run as a user runs it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What the command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit status; 128 + the signal when one ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The built `wiretable`, beside the running test program.
///
/// # Panics
/// When it is not built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // …/release/deps/command-0123 → …/release/wiretable
    let folder = test.ancestors().nth(2).expect("a build folder");
    let path = folder.join("wiretable");
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --release -p wiretable`, as `make test` does first",
        path.display()
    );
    path
}

/// The repository root.
pub fn root() -> PathBuf {
    let root = crate::tests_dir().join("..");
    root.canonicalize().unwrap_or(root)
}

/// A command that runs the binary from the repository root, its surroundings cleaned of what changes output.
pub fn wiretable<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command.env_remove("NO_COLOR").env("TERM", "xterm").env("COLUMNS", "120");
    command
}

/// Runs the binary.
///
/// # Panics
/// When it cannot be started.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    outcome(wiretable(arguments).output().expect("wiretable starts"))
}

/// Runs the binary with bytes on its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run_with_input<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Outcome {
    let mut command = wiretable(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("wiretable starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // The command may end before it has read everything; that is for its exit status to tell.
    let feeder = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output().expect("wiretable ends");
    let _ = feeder.join();
    outcome(output)
}

/// A process's output as text.
pub fn outcome(output: Output) -> Outcome {
    use std::os::unix::process::ExitStatusExt;
    let status = output.status;
    Outcome {
        status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A carried capture as an argument of a command that runs at the repository root.
pub fn capture_argument(name: &str) -> String {
    Path::new("tests/captures").join(name).display().to_string()
}

impl Outcome {
    /// Checks the exit status; the message shows everything.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "exit status\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Checks that standard output is empty.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect_no_output(self) -> Self {
        assert_eq!(self.stdout, "", "standard output\n--- stderr\n{}", self.stderr);
        self
    }

    /// Checks that standard error has a text.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn expect_said(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "standard error lacks `{text}`\n{}", self.stderr);
        self
    }

    /// Checks that standard error is empty.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect_quiet(self) -> Self {
        assert_eq!(self.stderr, "", "standard error");
        self
    }
}
