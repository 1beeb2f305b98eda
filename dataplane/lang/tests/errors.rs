//! What people read when a text is wrong: each file of `tests/golden` beside its rendering.
//! `UPDATE=1` rewrites the renderings.

use std::path::{Path, PathBuf};

use wt_lang::{
    Diagnostic, Severity, Span, parse_ddl, parse_expr, parse_functions, parse_gsql,
    parse_interface_sets, render,
};

fn diagnostics(path: &Path, text: &str) -> Vec<Diagnostic> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("gsql") => parse_gsql(text).diagnostics,
        Some("ddl") => parse_ddl(text).diagnostics,
        Some("expr") => parse_expr(text).diagnostics,
        Some("fun") => parse_functions(text).diagnostics,
        Some("ifset") => parse_interface_sets(text).diagnostics,
        other => panic!("no parser for .{other:?}"),
    }
}

#[test]
fn renderings() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the golden folder exists")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|e| e != "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 25, "only {} cases", paths.len());
    let mut different = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = diagnostics(&path, &text);
        assert!(found.iter().any(|d| d.severity == Severity::Error), "{name} is not wrong");
        let rendered = render(&found, &name, &text, false);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &rendered).expect("a writable golden file");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != rendered {
            different.push(rendered);
        }
    }
    assert!(
        different.is_empty(),
        "these renderings differ; UPDATE=1 accepts them:\n{}",
        different.join("\n")
    );
}

fn one(text: &str, diagnostic: Diagnostic) -> String {
    render(&[diagnostic], "q", text, false)
}

fn at(text: &str, part: &str) -> Span {
    let start = text.find(part).expect("the part occurs") as u32;
    Span::new(start, start + part.len() as u32)
}

#[test]
fn tabs_and_wide_characters_keep_the_caret_in_place() {
    let text = "SELECT\t'日本é' bad";
    let rendered = one(text, Diagnostic::error("x", at(text, "bad"), "m").label("here"));
    assert_eq!(
        rendered,
        "error[x]: m\n --> q:1:14\n  |\n\
         1 | SELECT    '日本é' bad\n  |                   ^^^ here\n"
    );
}

#[test]
fn several_lines_and_gaps() {
    let text = "a\nb (\nc\nd\ne\nf )\n";
    let diagnostic = Diagnostic::error("x", at(text, "f )"), "m")
        .related(at(text, "("), "opened here")
        .related(at(text, "d"), "on the way")
        .hint("Do this.");
    assert_eq!(
        one(text, diagnostic),
        "error[x]: m\n --> q:6:1\n  |\n\
         2 | b (\n  |   - opened here\n\
         3 | c\n\
         4 | d\n  | - on the way\n\
         5 | e\n\
         6 | f )\n  | ^^^\n  |\n  = help: Do this.\n"
    );
    let diagnostic = Diagnostic::warning("x", Span::new(2, text.len() as u32), "m").label("all");
    assert_eq!(
        one(text, diagnostic),
        "warning[x]: m\n --> q:2:1\n  |\n\
         2 | b (\n  | ^^^\n\
         ...\n\
         6 | f )\n  | ^^^ all\n"
    );
}

#[test]
fn several_remarks_on_one_line() {
    let text = "first second third";
    let diagnostic = Diagnostic::error("x", at(text, "second"), "m")
        .label("two")
        .related(at(text, "first"), "one")
        .related(at(text, "third"), "three");
    assert_eq!(
        one(text, diagnostic),
        "error[x]: m\n --> q:1:7\n  |\n\
         1 | first second third\n  | ----- ^^^^^^ ----- three\n\
         \u{20} | |     |\n  | |     two\n  | one\n"
    );
}

#[test]
fn long_lines_are_clipped_around_the_caret() {
    let text = format!("SELECT {} FROM tcp WHERE wrong {}", "a, ".repeat(200), "b ".repeat(200));
    let rendered = one(
        &text,
        Diagnostic::error("x", at(&text, "wrong"), "m")
            .label("here")
            .related(at(&text, "SELECT"), "the list begins here"),
    );
    let lines: Vec<&str> = rendered.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 110), "{rendered}");
    assert!(lines[3].contains("| …,") && lines[3].ends_with('…'), "{rendered}");
    let column = |line: &str, part: &str| line.find(part).map(|i| line[..i].chars().count());
    assert_eq!(column(lines[3], "wrong"), column(lines[4], "^^^^^ here"), "{rendered}");
    assert!(rendered.contains("= note: the list begins here (line 1, display column 1)"));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "a \u{1b}[31m \u{202e} b";
    let rendered = one(text, Diagnostic::error("x", at(text, "b"), "m\u{1b}").label("\u{7}"));
    assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
    assert!(!rendered.contains('\u{202e}'));
}

#[test]
fn places_outside_the_text_are_moved_into_it() {
    for (start, end) in [(0, 0), (1, 900), (900, 901), (u32::MAX, 0), (2, 1)] {
        for text in ["", "é", "a\r\nb\r\n", "\n\n\n"] {
            let rendered = one(text, Diagnostic::error("x", Span::new(start, end), "m"));
            assert!(rendered.contains('^'), "{rendered}");
            assert!(!rendered.contains('\r'));
        }
    }
}

#[test]
fn colour_only_adds_escapes() {
    let text = "SELECT a FORM tcp WHERE (b = 1";
    let found = parse_gsql(text).diagnostics;
    let coloured = render(&found, "q", text, true);
    assert!(coloured.contains("\x1b[1;31merror[unknown-keyword]\x1b[0m"), "{coloured:?}");
    let mut plain = String::new();
    for (i, part) in coloured.split('\x1b').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').map_or("", |p| p.1) });
    }
    assert_eq!(plain, render(&found, "q", text, false));
}

#[test]
fn what_is_said_again_and_again_is_shown_once() {
    let text = "x\n".repeat(12);
    let error =
        |line: u32| Diagnostic::error("c", Span::new(2 * line, 2 * line + 1), "m").hint("H.");
    let shown = |lines: &[u32]| {
        let errors: Vec<Diagnostic> = lines.iter().map(|line| error(*line)).collect();
        let rendered = render(&errors, "q", &text, false);
        (rendered.matches("error[c]").count(), rendered)
    };
    assert_eq!(shown(&[0, 1]).0, 2);
    let (count, three) = shown(&[0, 1, 2]);
    assert_eq!(count, 1);
    assert!(three.contains("  = note: the same at 2 other places, on lines 2 and 3\n"), "{three}");
    assert!(shown(&[0, 5, 5]).1.contains("2 other places, on line 6\n"));
    let (_, many) = shown(&(0..12).collect::<Vec<u32>>());
    assert!(many.contains("11 other places, on lines 2, 3, 4, 5, 6, 7 and 5 more\n"), "{many}");
    // Something else between them stays where it is, and what differs in a hint is something else.
    let mut errors: Vec<Diagnostic> = (0..3).map(error).collect();
    errors.insert(1, Diagnostic::error("c", Span::new(0, 1), "m"));
    assert_eq!(render(&errors, "q", &text, false).matches("error[c]").count(), 2);
}
