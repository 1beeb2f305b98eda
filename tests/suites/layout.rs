//! The layout tells the story: dependencies point one way, files stay small, unsafe code has its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Edges that may stand between crates of the workspace (dev-dependencies included).
const ALLOWED: &[(&str, &[&str])] = &[
    ("wt-lang", &[]),
    ("wt-catalog", &["wt-lang"]),
    ("wt-wire", &[]),
    ("wt-trace", &["wt-wire"]),
    ("wt-ring", &[]),
    ("wt-plan", &["wt-catalog", "wt-lang"]),
    ("wt-engine", &["wt-catalog", "wt-lang", "wt-plan", "wt-ring", "wt-trace", "wt-wire"]),
    ("wt-xdp", &["wt-catalog", "wt-engine", "wt-lang", "wt-plan", "wt-wire"]),
    (
        "wiretable",
        &["wt-catalog", "wt-engine", "wt-lang", "wt-plan", "wt-trace", "wt-wire", "wt-xdp"],
    ),
    ("wt-client", &[]),
    ("wt-bench", &["wt-wire"]),
    (
        "wt-tests",
        &[
            "wt-catalog",
            "wt-client",
            "wt-engine",
            "wt-lang",
            "wt-plan",
            "wt-trace",
            "wt-wire",
            "wt-xdp",
        ],
    ),
];

fn root() -> PathBuf {
    wt_tests::tests_dir().join("..")
}

#[test]
fn dependencies_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for package in packages {
        let name = package["name"].as_str().expect("name");
        let may =
            allowed.get(name).unwrap_or_else(|| panic!("crate {name} has no place in the layout"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("name");
            if names.contains(&to) {
                assert!(may.contains(&to), "{name} must not depend on {to}");
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_sys_modules() {
    for (path, text) in rust_files() {
        let is_sys = path.file_name().is_some_and(|n| n == "sys.rs")
            || path.components().any(|c| c.as_os_str() == "sys");
        // The word is put together so that this file does not find itself.
        let word = concat!("uns", "afe {");
        assert!(is_sys || !text.contains(word), "{} has an unsafe block", path.display());
        if is_sys {
            let blocks = text.matches(word).count();
            let reasons = text.matches("// SAFETY:").count();
            assert!(reasons >= blocks, "{}: an unsafe block without SAFETY", path.display());
        }
    }
}

#[test]
fn files_hold_one_idea_each() {
    const LINES_MAX: usize = 900;
    for (path, text) in rust_files() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_machine_path_is_committed() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let Ok(output) = output else { return };
    let root = root().canonicalize().expect("root");
    let Some(parent) = root.parent().filter(|p| p.components().count() > 1) else { return };
    let needle = format!("{}/", parent.display());
    for file in String::from_utf8_lossy(&output.stdout).lines() {
        if let Ok(text) = std::fs::read_to_string(root.join(file)) {
            assert!(!text.contains(&needle), "{file} names a path of this machine");
        }
    }
}

fn rust_files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for top in ["dataplane", "xdp", "control", "bench", "tests"] {
        walk(&root().join(top), &mut files);
    }
    assert!(files.len() > 20, "the source tree is found");
    files
}

fn walk(dir: &Path, files: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            files.push((path, text));
        }
    }
}
