//! Who runs Postgres. It refuses root, so root runs it as another user; everybody else runs it as themselves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{DbError, path_error};

/// The user that Debian's package makes.
const DEFAULT_USER: &str = "postgres";

/// Whose processes and files the cluster's are.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name, for messages.
    pub name: String,
    /// Set when it is another than the caller.
    other: Option<(u32, u32)>,
    home: String,
}

impl Account {
    /// The account to use: `asked`, or for root the user `postgres`, or the caller.
    ///
    /// # Errors
    /// When the user does not exist, is root, or the caller may not act as it.
    pub fn choose(asked: Option<&str>) -> Result<Self, DbError> {
        let uid = rustix::process::geteuid().as_raw();
        let me = lookup(&uid.to_string());
        let my_name = me.as_ref().map_or_else(|| uid.to_string(), |e| e.name.clone());
        if uid != 0 {
            return match asked {
                Some(user) if user != my_name => {
                    Err(DbError::NotRoot { user: user.to_owned(), me: my_name })
                }
                _ => {
                    let home = me.map_or_else(|| "/".to_owned(), |e| e.home);
                    Ok(Self { name: my_name, other: None, home })
                }
            };
        }
        let user = asked.unwrap_or(DEFAULT_USER);
        let refuse = |why: &str| DbError::Account { user: user.to_owned(), why: why.to_owned() };
        let entry = lookup(user).ok_or_else(|| refuse("there is no such user"))?;
        if entry.uid == 0 {
            return Err(refuse("it refuses to run as root"));
        }
        Ok(Self { name: entry.name, other: Some((entry.uid, entry.gid)), home: entry.home })
    }

    /// A command that runs as this account, with the few variables that Postgres's programs need.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &self.home);
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").current_dir("/");
        if let Some((uid, gid)) = self.other {
            // The standard library drops root's supplementary groups with the user.
            command.gid(gid).uid(uid);
        }
        command
    }

    /// Gives a folder to this account; its caller, where that is another, may go through it. Root comes to the socket that way also when it has let go
    /// of its privileges, as live runs do.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own_folder(&self, path: &Path) -> Result<(), DbError> {
        let failed = path_error("close", path);
        let mode = match self.other {
            Some((uid, _)) => {
                let gid = rustix::process::getegid().as_raw();
                chown(path, Some(uid), Some(gid)).map_err(path_error("give away", path))?;
                0o710
            }
            None => 0o700,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
    }

    /// Gives a file to this account.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own(&self, path: &Path) -> Result<(), DbError> {
        match self.other {
            Some((uid, gid)) => {
                chown(path, Some(uid), Some(gid)).map_err(path_error("give away", path))
            }
            None => Ok(()),
        }
    }

    /// Checks that this account can write to a folder; those above it may be closed to it.
    ///
    /// # Errors
    /// [`DbError::OutOfReach`].
    pub fn check_reach(&self, folder: &Path) -> Result<(), DbError> {
        let status = self.command("/usr/bin/test").arg("-w").arg(folder).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(DbError::OutOfReach { user: self.name.clone(), path: folder.to_owned() }),
        }
    }
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// A user by name or number. `getent` knows those of directory services as well.
fn lookup(user: &str) -> Option<Entry> {
    let output = Command::new("getent").arg("passwd").arg("--").arg(user).output();
    let text = match output {
        Ok(output) if output.status.success() => output.stdout,
        _ => std::fs::read("/etc/passwd").ok()?,
    };
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(entry)
        .find(|e| e.name == user || user.parse() == Ok(e.uid))
}

fn entry(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
    Some(Entry {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(lookup("root").map(|e| (e.uid, e.gid)), Some((0, 0)));
        assert_eq!(lookup("0").map(|e| e.name), Some("root".to_owned()));
        assert!(lookup("no such user").is_none());
    }

    #[test]
    fn root_is_refused() {
        let error = Account::choose(Some("root"));
        if rustix::process::geteuid().is_root() {
            assert!(error.unwrap_err().to_string().contains("refuses to run as root"));
        }
    }
}
