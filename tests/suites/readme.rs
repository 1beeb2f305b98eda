//! Every example of the documents is run: the commands of a fenced `console` block, its lines that begin with `$ `, print
//! what stands below them.
//!
//! Commands run in `sh` at the repository root, both output streams together. A line that ends in a backslash goes on in the next.
//! A line `…` stands for any lines. `UPDATE=1` writes what is printed into the document, except where it says `…`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wt_tests::program::{binary, outcome, root};

/// What a block holds: a command, its lines as they stand, and what it prints.
struct Example {
    command: String,
    lines: Vec<String>,
    output: Vec<String>,
}

/// A part of a document.
enum Part {
    Text(String),
    Console(Vec<Example>),
}

const ELISION: &str = "…";

fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && name != "target" {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

fn parse(document: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        parts.push(Part::Text(line.to_owned()));
        if line != "```console" {
            continue;
        }
        let mut examples: Vec<Example> = Vec::new();
        let mut open = false;
        for line in lines.by_ref() {
            if line == "```" {
                break;
            }
            match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => {
                    open = command.ends_with('\\');
                    examples.push(Example {
                        command: command.to_owned(),
                        lines: vec![line.to_owned()],
                        output: Vec::new(),
                    });
                }
                (None, Some(example)) if open => {
                    open = line.ends_with('\\');
                    let _ = write!(example.command, "\n{line}");
                    example.lines.push(line.to_owned());
                }
                (None, Some(example)) => example.output.push(line.to_owned()),
                (None, None) => panic!("a console block begins with `{line}`, not with a command"),
            }
        }
        parts.push(Part::Console(examples));
        parts.push(Part::Text("```".to_owned()));
    }
    parts
}

fn print(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(line) => writeln!(text, "{line}").expect("text"),
            Part::Console(examples) => {
                for line in examples.iter().flat_map(|e| e.lines.iter().chain(&e.output)) {
                    writeln!(text, "{line}").expect("text");
                }
            }
        }
    }
    text
}

fn run(command: &str) -> Vec<String> {
    let build = binary();
    let folder = build.parent().expect("a build folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(root())
        .stdin(Stdio::null())
        .env("PATH", format!("{folder}:{path}"))
        .env("NO_COLOR", "1")
        .env("COLUMNS", "120")
        .output()
        .expect("sh runs");
    let printed = outcome(output).stdout;
    printed.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Whether lines are as written, where `…` stands for any.
fn fits(written: &[String], printed: &[String]) -> bool {
    match written.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim() == ELISION => {
            (0..=printed.len()).any(|skip| fits(rest, &printed[skip..]))
        }
        Some((line, rest)) => {
            printed.first().is_some_and(|p| p == line.trim_end()) && fits(rest, &printed[1..])
        }
    }
}

#[test]
fn the_examples_of_the_documents_are_true() {
    let mut wrong = String::new();
    let mut run_in_readme = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("text");
        let mut parts = parse(&text);
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        for part in &mut parts {
            let Part::Console(examples) = part else { continue };
            for example in examples {
                let printed = run(&example.command);
                run_in_readme += usize::from(name == "README.md");
                if fits(&example.output, &printed) {
                    continue;
                }
                let elided = example.output.iter().any(|line| line.trim() == ELISION);
                if wt_tests::update_mode() && !elided {
                    example.output = printed;
                } else {
                    let _ = writeln!(
                        wrong,
                        "{name}: $ {}\n---- written\n{}\n---- printed\n{}\n",
                        example.command,
                        example.output.join("\n"),
                        printed.join("\n")
                    );
                }
            }
        }
        let written = print(&parts);
        if wt_tests::update_mode() && written != text {
            std::fs::write(&path, written).expect("the document is written");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(run_in_readme >= 3, "README.md shows {run_in_readme} commands");
}

#[test]
fn elisions_stand_for_any_lines() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n…\nd"), &lines("a\nb\nc\nd")));
    assert!(fits(&lines("…"), &[]));
    assert!(!fits(&lines("a\n…\nd"), &lines("a\nb")));
    assert!(!fits(&lines("a"), &lines("a\nb")));
    assert!(fits(&lines("…\nb\n…"), &lines("a\nb\nb\nc")));
}

#[test]
fn documents_print_as_they_were() {
    let text = "# x\n\n```console\n$ a \\\n  b\nout\n$ c\n```\nrest\n```sh\n$ no\n```\n";
    let parts = parse(text);
    assert_eq!(print(&parts), text);
    let Some(Part::Console(examples)) = parts.iter().find(|p| matches!(p, Part::Console(_))) else {
        panic!("no console block");
    };
    assert_eq!(examples.len(), 2);
    assert_eq!(examples[0].command, "a \\\n  b");
    assert_eq!(examples[0].output, ["out"]);
}
