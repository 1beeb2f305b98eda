//! Installing tools that are missing.

use std::path::Path;
use std::process::Command;

use super::{ALL, LIVE, find, text};

/// Installs the packages of tools that are missing, with apt-get, and those that the release does not have from its backports; tools that
/// neither has stay missing.
///
/// # Errors
/// When apt-get cannot be started.
pub fn install() -> std::io::Result<()> {
    let peers = ALL.iter().filter(|peer| !peer.is_available()).map(|peer| peer.package);
    let live = LIVE.iter().filter(|(program, _)| find(program).is_none()).map(|(_, name)| *name);
    let mut unknown = Vec::new();
    for package in peers.chain(live) {
        // One by one: a package that is unknown keeps back none of the others.
        if !apt_get(&[], &["install", package])? {
            unknown.push(package);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let scratch = std::env::temp_dir().join(format!("wt-bench-backports-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let installed = from_backports(&scratch, &unknown);
    std::fs::remove_dir_all(&scratch)?;
    installed
}

fn from_backports(scratch: &Path, packages: &[&str]) -> std::io::Result<()> {
    let Some(Backports { suite, options }) = Backports::of_release(scratch)? else {
        return Ok(());
    };
    if apt_get(&options, &["update"])? {
        for package in packages {
            apt_get(&options, &["install", "-t", &suite, package])?;
        }
    }
    Ok(())
}

/// Whether apt-get did something.
fn apt_get(options: &[String], arguments: &[&str]) -> std::io::Result<bool> {
    let status = Command::new("apt-get")
        .args(["-q", "-y", "--no-install-recommends"])
        .args(options)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()?;
    Ok(status.success())
}

/// The release's backports, as apt-get is told of them for once: its own lists stay as they are.
struct Backports {
    suite: String,
    options: Vec<String>,
}

impl Backports {
    /// Those at the archive that the release comes from; nothing where that is not known. `dir` is for lists.
    fn of_release(dir: &Path) -> std::io::Result<Option<Self>> {
        let format = "$(ORIGIN) $(CODENAME) $(REPO_URI)";
        let known = Command::new("apt-get")
            .args(["indextargets", "--format", format, "Created-By: Packages", "Component: main"])
            .output()?;
        let known = String::from_utf8_lossy(&known.stdout).into_owned();
        // The release itself, not its updates.
        let release =
            known.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                ["Debian", codename, archive] if !codename.contains('-') => {
                    Some((codename, archive))
                }
                _ => None,
            });
        let Some((codename, archive)) = release else { return Ok(None) };
        let suite = format!("{codename}-backports");
        let keys = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
        let sources =
            [codename, &suite].map(|suite| format!("deb {keys} {archive} {suite} main\n"));
        let (list, lists) = (dir.join("sources.list"), dir.join("lists"));
        std::fs::write(&list, sources.concat())?;
        std::fs::create_dir(&lists)?;
        let set = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
        let options = [
            set("Dir::Etc::SourceList", &text(&list)),
            set("Dir::Etc::SourceParts", "/dev/null"),
            set("Dir::State::Lists", &text(&lists)),
            set("Dir::Cache::pkgcache", ""),
            set("Dir::Cache::srcpkgcache", ""),
        ];
        Ok(Some(Self { suite, options: options.concat() }))
    }
}
