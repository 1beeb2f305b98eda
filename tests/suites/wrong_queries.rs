//! The messages for wrong queries, side by side: do they teach the way out? `UPDATE=1` rewrites the golden file; read it
//! before you commit it.

use std::fmt::Write as _;

use wt_catalog::Catalog;
use wt_tests::run::Setup;

/// What people get wrong, and whether the sources end.
const WRONG: &[(&str, bool, &str)] = &[
    ("A typo in a field", true, "SELECT time, srcIP, destPrt\nFROM tcp\nWHERE destPort = 80"),
    (
        "No ordered group on a stream without end",
        false,
        "SELECT srcIP, sum(len) AS bytes\nFROM ip\nGROUP BY srcIP",
    ),
    (
        "An aggregate in WHERE",
        true,
        "SELECT tb, srcIP, count(*) AS n\nFROM ip\nWHERE count(*) > 10\nGROUP BY time/60 AS tb, srcIP",
    ),
    ("Types that do not compare", true, "SELECT time\nFROM tcp\nWHERE srcIP = 80"),
    (
        "A bad literal",
        true,
        "SELECT time\nFROM ip\nWHERE srcIP = '10.0.0.256' OR ttl = 99999999999",
    ),
];

#[test]
fn the_messages_teach_the_way_out() {
    let catalog = Catalog::builtin();
    let mut actual = String::new();
    for (title, finite, text) in WRONG {
        let rendered = match Setup::default().compile(&catalog, text, *finite) {
            Ok(_) => panic!("{title}: accepted\n{text}"),
            Err(rendered) => rendered,
        };
        assert!(rendered.contains('^'), "{title}: no place is shown\n{rendered}");
        assert!(rendered.contains("help:"), "{title}: no way out is shown\n{rendered}");
        let _ = writeln!(actual, "# {title}\n\n{text}\n\n{}\n", rendered.trim_end());
    }
    let path = wt_tests::tests_dir().join("golden/wrong-queries.txt");
    if wt_tests::update_mode() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &actual).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "UPDATE=1 rewrites {}", path.display());
}

/// What is right in one setting may be wrong in another: the same text on a file is an answer.
#[test]
fn a_finite_source_needs_no_ordered_group() {
    let (_, _, text) = WRONG[1];
    assert!(Setup::default().compile(&Catalog::builtin(), text, true).is_ok());
}
