//! Programs that drivers run: with a time limit, and without a shell.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::proxy::driver::DeviceError;

/// Most bytes of what a program says that are kept.
const SAID_BYTES_MAX: u64 = 64 << 20;
/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(2);

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// It ended well.
    pub is_ok: bool,
    /// On standard output.
    pub stdout: String,
    /// On standard error, in one line.
    pub stderr: String,
}

/// Runs a program on some input; it is killed when it takes longer than `timeout`.
///
/// # Errors
/// It cannot be run, or takes too long.
pub fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    timeout: Duration,
) -> Result<Said, DeviceError> {
    let failed = |what: &str, error: std::io::Error| {
        DeviceError::later(format!("cannot {what} `{program}`: {error}"))
    };
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed("run", e))?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        // A program that reads and writes at the same time must not wait for us.
        scope.spawn(move || {
            // One that does not read says why on its own.
            stdin.map(|mut pipe| pipe.write_all(input.as_bytes()))
        });
        let stdout = scope.spawn(move || text(stdout));
        let stderr = scope.spawn(move || text(stderr));
        let status = loop {
            match child.try_wait().map_err(|e| failed("wait for", e)) {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if begin.elapsed() < timeout => std::thread::sleep(LOOK),
                other => {
                    // It may have ended by now, which is as good.
                    let _ = child.kill().and_then(|()| child.wait());
                    break Err(other.err().unwrap_or_else(|| {
                        DeviceError::later(format!(
                            "`{program}` took longer than {} ms",
                            timeout.as_millis()
                        ))
                    }));
                }
            }
        };
        let (stdout, stderr) =
            (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Said { is_ok: status?.success(), stdout, stderr })
    })
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before a fault counts.
        let _ = pipe.take(SAID_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_input_output_and_a_limit() {
        let second = Duration::from_secs(5);
        let said = run("cat", &[], "through", second).unwrap();
        assert!(said.is_ok && said.stdout == "through");
        let said = run("sh", &["-c", "echo so >&2; echo not >&2; exit 3"], "", second).unwrap();
        assert!(!said.is_ok && said.stderr == "so not");
        let slow = run("sleep", &["60"], "", Duration::from_millis(20)).unwrap_err();
        assert!(slow.to_string().contains("longer than 20 ms"), "{slow}");
        let missing = run("no-such-program", &[], "", second).unwrap_err();
        assert!(matches!(missing, DeviceError::Later { .. }), "{missing}");
    }
}
