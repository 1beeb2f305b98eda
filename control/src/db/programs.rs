//! Finds Postgres's programs: where the user says, on the path, or where distributions put them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::DbError;

/// Oldest major version that will do: `security_invoker` views and MERGE are of 15.
pub const MAJOR_MIN: u32 = 15;

/// A folder with `initdb`, `pg_ctl` and `postgres` of one version.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    /// Major version.
    pub major: u32,
}

impl Programs {
    /// The programs for a cluster of a major version, or the newest that will do for a new one.
    ///
    /// # Errors
    /// [`DbError::NoPrograms`].
    pub fn find(wanted: Option<u32>) -> Result<Self, DbError> {
        let named = std::env::var_os("WIRETABLE_PG_BIN").filter(|v| !v.is_empty());
        let folders = match &named {
            Some(folder) => vec![PathBuf::from(folder)],
            None => candidates(),
        };
        let mut found: Vec<Self> = folders.iter().filter_map(|folder| Self::at(folder)).collect();
        found.retain(|p| p.major >= MAJOR_MIN);
        found.sort_by_key(|p| p.major);
        let exact = found.iter().find(|p| Some(p.major) == wanted).cloned();
        exact.or_else(|| found.pop()).ok_or_else(|| DbError::NoPrograms {
            minimum: MAJOR_MIN,
            looked: match &named {
                Some(folder) => format!("in {}", folder.display()),
                None => "on the path and in /usr/lib/postgresql".to_owned(),
            },
        })
    }

    fn at(folder: &Path) -> Option<Self> {
        if !["initdb", "pg_ctl", "postgres"].iter().all(|p| folder.join(p).is_file()) {
            return None;
        }
        let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder: folder.to_owned(), major })
    }

    /// The path of a program.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15; `16beta1` → 16.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split(") ").nth(1)?;
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    version[..digits].parse().ok()
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    // Debian and Ubuntu, then RHEL and SUSE.
    for (parent, inside) in [("/usr/lib/postgresql", "bin"), ("/usr", "bin")] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if parent != "/usr" || name.to_string_lossy().starts_with("pgsql-") {
                folders.push(entry.path().join(inside));
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 16beta1"), Some(16));
        assert_eq!(major_of("something else"), None);
    }

    #[test]
    fn a_folder_without_programs_is_none() {
        assert!(Programs::at(Path::new("/")).is_none());
    }
}
