//! Descriptions from comments: behind a field on its line, on the lines above a protocol.

/// The comment after byte `end` on the same line: `; -- text`.
pub(super) fn trailing(text: &str, end: u32) -> String {
    let line = text.get(end as usize..).and_then(|rest| rest.lines().next()).unwrap_or("");
    comment(line.trim_start_matches([' ', '\t', ';'])).unwrap_or("").to_owned()
}

/// The comment lines directly above byte `start`, joined.
pub(super) fn above(text: &str, start: u32) -> String {
    let before = text.get(..start as usize).unwrap_or("");
    // What stands before the declaration on its own line.
    let Some(lines) = before.rfind('\n').and_then(|at| before.get(..at)) else {
        return String::new();
    };
    let mut comments: Vec<&str> = lines
        .rsplit('\n')
        .map_while(|line| comment(line.trim()))
        .take_while(|line| !line.is_empty())
        .collect();
    comments.reverse();
    comments.join(" ")
}

fn comment(line: &str) -> Option<&str> {
    line.strip_prefix("--").or_else(|| line.strip_prefix("//")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_describe() {
        let text = "-- unrelated\n\n-- One line\n-- and another.\nPROTOCOL p {\n  uint a AT 0;  -- First. \n}";
        let start = text.find("PROTOCOL").unwrap() as u32;
        assert_eq!(above(text, start), "One line and another.");
        let end = text.find(" AT 0").unwrap() as u32 + 5;
        assert_eq!(trailing(text, end), "First.");
        assert_eq!(trailing(text, start), "");
        assert_eq!(above("PROTOCOL p {}", 0), "");
        assert_eq!(trailing("x", 9), "");
    }
}
