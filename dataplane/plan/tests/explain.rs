//! Golden plans: each file under `tests/explain` has a query text, a rule of dashes, and the EXPLAIN of it. `UPDATE=1`
//! rewrites the answers. The name's second part says what is shown: `.plan`, `.verbose`, `.code`.

use std::fs;
use std::path::{Path, PathBuf};

use wt_catalog::Catalog;
use wt_plan::{CompileInput, ExplainOptions, InterfaceInfo, compile, explain};

const RULE: &str = "----";
const WIDTH: usize = 120;

fn explained(text: &str, options: ExplainOptions) -> String {
    let catalog = Catalog::builtin();
    let interface = |n: &str| InterfaceInfo {
        name: n.to_owned(),
        properties: vec![("Name".to_owned(), n.to_owned())],
    };
    let interfaces = [interface("eth0"), interface("eth1")];
    let sets = [("both".to_owned(), vec![0, 1]), ("default".to_owned(), vec![0])];
    let params = match text.contains("$floor") {
        true => vec![("floor".to_owned(), "1000".to_owned())],
        false => Vec::new(),
    };
    let compiled = compile(&CompileInput {
        catalog: &catalog,
        text,
        file_name: "query",
        interfaces: &interfaces,
        interface_sets: &sets,
        params: &params,
        finite: true,
        library: &|_| None,
    });
    match compiled {
        Ok(compiled) => explain(&compiled, &catalog, options),
        Err(errors) => panic!("`{text}`: {errors:#?}"),
    }
}

fn goldens() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn plans_read_as_recorded() {
    let files = goldens();
    assert!(files.len() >= 12, "{} plans", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let options =
            ExplainOptions { verbose: name.contains(".verbose"), code: name.contains(".code") };
        let recorded = fs::read_to_string(&path).unwrap();
        let rule = format!("{RULE}\n");
        let (text, answer) = recorded.split_once(&rule).unwrap_or((&recorded, ""));
        let now = explained(text, options);
        let widest = now.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        assert!(widest <= WIDTH, "{name}: {widest} columns");
        assert!(now.lines().all(|l| !l.ends_with(' ')), "{name}: trailing spaces");
        assert_eq!(now, explained(text, options), "{name}: the same text every time");
        if now == answer {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, format!("{text}{rule}{now}")).unwrap();
        } else {
            wrong.push(format!("{name}: recorded\n{answer}\nnow\n{now}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
