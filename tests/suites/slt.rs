//! Every `.slt` file below `tests/slt` is a test, once per backend.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::run::{BACKENDS, Backend, run_suite};

fn main() {
    let arguments = Arguments::from_args();
    let mut files = Vec::new();
    find(&wt_tests::tests_dir().join("slt"), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no suite is found");
    let trials = files
        .iter()
        .flat_map(|path| BACKENDS.iter().map(move |backend| trial(path, *backend)))
        .collect();
    if let Some(refusal) = wt_tests::kernel::refusal() {
        eprintln!("the suites are not run on `xdp`: {refusal}");
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let (in_kernel, on_host) = wt_tests::kernel::counts();
    if in_kernel > 0 {
        eprintln!("on `xdp`, {in_kernel} queries ran in the kernel and {on_host} on the host");
    }
    conclusion.exit();
}

fn trial(path: &Path, backend: Backend) -> Trial {
    let name = format!(
        "{}::{}",
        path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned()),
        backend.name()
    );
    let path = path.to_owned();
    let is_left_out = backend == Backend::Xdp && wt_tests::kernel::refusal().is_some();
    Trial::test(name, move || run_suite(&path, backend).map_err(Failed::from))
        .with_ignored_flag(is_left_out)
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|e| e == "slt") {
            files.push(path);
        }
    }
}
