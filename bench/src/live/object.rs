//! XDP programs from object files: those that `wiretable explain --emit` writes, and those that clang makes of `bench/c`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use super::sys;
use crate::peers;

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no compiler.
    #[error("clang is not here: `wt-bench peers --install` installs it")]
    NoClang,
    /// It could not be compiled.
    #[error("clang does not compile {file}: {said}")]
    Compile {
        /// The source.
        file: String,
        /// What it says.
        said: String,
    },
    /// The kernel refuses it.
    #[error("cannot load {file}: {said}")]
    Load {
        /// The object.
        file: String,
        /// What the kernel says.
        said: String,
    },
    /// Something else.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A program in the kernel.
pub struct Object {
    ebpf: Ebpf,
    name: String,
    /// Instructions of 8 bytes.
    pub instructions: usize,
}

impl Object {
    /// Loads the one program of an object file.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn load(path: &Path) -> Result<Self, ObjectError> {
        let failed = |said: &dyn std::error::Error| ObjectError::Load {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            said: chain(said),
        };
        let bytes = std::fs::read(path)?;
        let mut ebpf = EbpfLoader::new().btf(None).load(&bytes).map_err(|e| failed(&e))?;
        let name = ebpf.programs().next().map(|(name, _)| name.to_owned());
        let name = name.ok_or_else(|| failed(&io::Error::other("it has no program")))?;
        let program = ebpf.program_mut(&name);
        let program = program.ok_or_else(|| failed(&io::Error::other("its program is gone")))?;
        let program: &mut Xdp =
            program.try_into().map_err(|e: aya::programs::ProgramError| failed(&e))?;
        program.load().map_err(|e| failed(&e))?;
        let info = program.info().map_err(|e| failed(&e))?;
        let instructions = info.size_translated().unwrap_or(0) as usize / 8;
        Ok(Self { ebpf, name, instructions })
    }

    fn program(&self) -> io::Result<&Xdp> {
        let program = self.ebpf.program(&self.name).ok_or(io::ErrorKind::NotFound)?;
        program.try_into().map_err(io::Error::other)
    }

    /// Its descriptor, for `take`.
    ///
    /// # Errors
    /// That of `take`, or there is none.
    pub(super) fn with_fd<T>(
        &self,
        take: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        take(self.program()?.fd().map_err(io::Error::other)?.as_fd())
    }

    /// Runs it again and again on one packet that is on no interface; what it returned.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn run(&self, packet: &[u8], repeat: u32) -> io::Result<u32> {
        let program = self.program()?;
        let fd = program.fd().map_err(io::Error::other)?;
        sys::run_on_packet(fd.as_fd(), packet, repeat)
    }
}

/// An error and its causes: the verifier's words are among them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Compiles a C program of `bench/c` for the kernel, as its users would: `clang -O2 -target bpf`.
///
/// # Errors
/// [`ObjectError`].
pub fn compile(source: &str, dir: &Path) -> Result<PathBuf, ObjectError> {
    compile_with(source, dir, &[])
}

/// The same, but packets end in the program.
///
/// # Errors
/// [`ObjectError`].
pub fn compile_to_drop(source: &str, dir: &Path) -> Result<PathBuf, ObjectError> {
    compile_with(source, dir, &["-DVERDICT=1"])
}

fn compile_with(source: &str, dir: &Path, more: &[&str]) -> Result<PathBuf, ObjectError> {
    let clang = peers::find("clang").ok_or(ObjectError::NoClang)?;
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(source);
    let output = dir.join(source).with_extension("o");
    let said = Command::new(clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-c"])
        .args(more)
        .args([&input, Path::new("-o"), &output])
        .output()?;
    if said.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(ObjectError::Compile { file: source.to_owned(), said })
}
