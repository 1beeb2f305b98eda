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
        watchlists: &[],
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

/// Words that put mutated texts where the planner has to decide something.
const WORDS: [&str; 24] = [
    "time",
    "srcIP",
    "data",
    "len",
    "0",
    "60",
    "'x'",
    "tcp",
    "ip",
    "packet",
    "vlan",
    "(",
    ")",
    ",",
    "AND",
    "OR",
    "NOT",
    "=",
    "count(*)",
    "DISTINCT",
    "@Name",
    "CUBE(srcIP)",
    "str_length(data)",
    "getlpmid(srcIP, 'p.tbl')",
];

#[test]
fn mutated_texts_end_in_a_plan_or_a_message() {
    let catalog = Catalog::builtin();
    let interface = |n: &str| InterfaceInfo {
        name: n.to_owned(),
        properties: vec![("Name".to_owned(), n.to_owned())],
    };
    let interfaces = [interface("eth0"), interface("eth1")];
    let sets = [("both".to_owned(), vec![0, 1])];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut planned = 0;
    for path in goldens() {
        let recorded = fs::read_to_string(&path).unwrap();
        let text = recorded.split(RULE).next().unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        for _ in 0..150 {
            let mut mutated = words.clone();
            for _ in 0..=random(2) {
                let at = random(mutated.len());
                match random(3) {
                    0 => drop(mutated.remove(at)),
                    1 => mutated[at] = WORDS[random(WORDS.len())],
                    _ => mutated.insert(at, WORDS[random(WORDS.len())]),
                }
            }
            let mutated = mutated.join(" ");
            for finite in [true, false] {
                let compiled = compile(&CompileInput {
                    catalog: &catalog,
                    text: &mutated,
                    file_name: "query",
                    interfaces: &interfaces,
                    interface_sets: &sets,
                    params: &[],
                    watchlists: &[],
                    finite,
                    library: &|_| None,
                });
                match compiled {
                    Ok(c) => {
                        planned += 1;
                        let options = ExplainOptions { verbose: true, code: true };
                        assert!(!explain(&c, &catalog, options).is_empty(), "`{mutated}`");
                    }
                    Err(errors) => assert!(!errors.is_empty(), "`{mutated}`"),
                }
            }
        }
    }
    assert!(planned > 100, "{planned} of the texts still mean something");
}
