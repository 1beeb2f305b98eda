//! The regular-expression functions (gsql.md §20.3).
//!
//! Syntax and newline rules are those of [`ere`](super::ere). A match is found in time linear in the subject, whatever
//! the pattern. `''` never matches: neither an empty subject nor an empty pattern. An extracted match is the leftmost,
//! and the longest of those that start there (POSIX).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta;
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use wt_catalog::Value;

use super::args::{bytes, index, integer};
use super::ere::{self, PATTERN_BYTES_MAX};
use super::{Handle, HandleError, ScalarFn, table_file};

/// Largest compiled automaton, bytes; a pattern that needs more is refused.
pub const AUTOMATON_BYTES_MAX: usize = 8 << 20;
/// Memory of each lazily built transition table, bytes.
const CACHE_BYTES_MAX: usize = 1 << 20;

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "str_regex_match" => |args, handle| Some(Value::Bool(matches(args, handle)?)),
        "str_regex_match_uint" => |args, handle| Some(Value::Uint(matches(args, handle)?.into())),
        "str_partial_regex_match" => |args, handle| Some(Value::Bool(partial(args, handle)?)),
        "str_partial_regex_match_uint" => {
            |args, handle| Some(Value::Uint(partial(args, handle)?.into()))
        }
        "str_file_regex_match" => |args, handle| Some(Value::Bool(from_file(args, handle)?)),
        "str_file_regex_match_uint" => {
            |args, handle| Some(Value::Uint(from_file(args, handle)?.into()))
        }
        "str_extract_regex" => extract,
        "str_extract_regex_null" => {
            |args, handle| Some(extract(args, handle).unwrap_or_else(|| Value::bytes(b"")))
        }
        _ => return None,
    })
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Regex {
    /// Whether and where; `None` for the empty pattern, which never matches.
    search: Option<meta::Regex>,
    /// How far: all matches from a known start.
    longest: Option<Longest>,
    /// Bytes that every match contains. Most subjects lack them, and a search for them is many times faster.
    required: Option<memmem::Finder<'static>>,
    /// Whether every subject that contains those bytes matches.
    required_suffices: bool,
    /// Bytes of the shortest subject that may match.
    subject_len_min: usize,
}

#[derive(Debug)]
struct Longest {
    dfa: DFA,
    caches: Pool<
        Cache,
        Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>,
    >,
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`HandleError::Pattern`] with the position, or [`HandleError::PatternTooLarge`].
    pub fn new(pattern: &[u8]) -> Result<Self, HandleError> {
        if pattern.is_empty() {
            return Ok(Self::never());
        }
        let hir = parse(pattern)?;
        Self::from_hir(&hir).ok_or_else(|| too_large(pattern))
    }

    /// Compiles patterns any of which may match; none: never matches.
    fn any_of<'a>(patterns: impl Iterator<Item = &'a [u8]>) -> Result<Self, HandleError> {
        let hirs = patterns.map(parse).collect::<Result<Vec<_>, _>>()?;
        if hirs.is_empty() {
            return Ok(Self::never());
        }
        Self::from_hir(&Hir::alternation(hirs)).ok_or_else(|| too_large(b"the patterns together"))
    }

    fn from_hir(hir: &Hir) -> Option<Self> {
        let search = meta::Builder::new()
            .configure(
                meta::Config::new()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                    .hybrid_cache_capacity(CACHE_BYTES_MAX),
            )
            .build_from_hir(hir)
            .ok()?;
        let nfa = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .which_captures(thompson::WhichCaptures::None)
                    .nfa_size_limit(Some(AUTOMATON_BYTES_MAX)),
            )
            .build_from_hir(hir)
            .ok()?;
        // The cache grows past its limit only by the few states that the search needs at all.
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES_MAX)
            .skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let for_cache = dfa.clone();
        let caches = Pool::new(Box::new(move || for_cache.create_cache()) as Box<_>);
        let required = required(hir).map(|bytes| memmem::Finder::new(&bytes).into_owned());
        let longest = Some(Longest { dfa, caches });
        let required_suffices = required_suffices(hir);
        let subject_len_min = hir.properties().minimum_len().unwrap_or(usize::MAX).max(1);
        Some(Regex { search: Some(search), longest, required, required_suffices, subject_len_min })
    }

    fn never() -> Self {
        Regex {
            search: None,
            longest: None,
            required: None,
            required_suffices: false,
            subject_len_min: usize::MAX,
        }
    }

    /// Bytes of the shortest subject that may match: shorter ones need not be looked at. At least one.
    pub fn subject_len_min(&self) -> usize {
        self.subject_len_min
    }

    /// Whether the pattern occurs.
    pub fn is_match(&self, subject: &[u8]) -> bool {
        subject.len() >= self.subject_len_min
            && self.has_required(subject)
            && (self.required_suffices
                || self.search.as_ref().is_some_and(|search| search.is_match(subject)))
    }

    fn has_required(&self, subject: &[u8]) -> bool {
        self.required.as_ref().is_none_or(|required| required.find(subject).is_some())
    }

    /// The leftmost-longest occurrence.
    pub fn find<'a>(&self, subject: &'a [u8]) -> Option<&'a [u8]> {
        if subject.len() < self.subject_len_min || !self.has_required(subject) {
            return None;
        }
        // The leftmost start is the same under any rule of preference; only the end differs.
        let found = self.search.as_ref()?.find(subject)?;
        let longest = self.longest.as_ref()?;
        let input = Input::new(subject).range(found.start()..).anchored(Anchored::Yes);
        let mut cache = longest.caches.get();
        let end = match longest.dfa.try_search_fwd(&mut cache, &input) {
            Ok(Some(half)) => half.offset().max(found.end()),
            // The automaton gives up only when configured to; the preferred match then stands.
            Ok(None) | Err(_) => found.end(),
        };
        subject.get(found.start()..end)
    }
}

/// A pattern kept in a file and read again when it has become old.
///
/// Each line is a pattern and any of them may match; empty lines are ignored. The first read must succeed. A later one
/// that fails leaves the patterns as they were.
#[derive(Debug)]
pub struct FileRegex {
    path: PathBuf,
    state: Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    regex: Arc<Regex>,
    read_at: Instant,
}

impl FileRegex {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Those of reading the file and of its patterns.
    pub fn open(path: PathBuf) -> Result<Self, HandleError> {
        let regex = read_patterns(&path)?;
        let state = Mutex::new(FileState { regex, read_at: Instant::now() });
        Ok(FileRegex { path, state })
    }

    /// Whether a pattern occurs. The file is read again when `timeout` has passed since it was; never when it is zero.
    pub fn is_match(&self, subject: &[u8], timeout: Duration) -> bool {
        self.current(timeout).is_match(subject)
    }

    fn current(&self, timeout: Duration) -> Arc<Regex> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !timeout.is_zero() && state.read_at.elapsed() >= timeout {
            if let Ok(regex) = read_patterns(&self.path) {
                state.regex = regex;
            }
            state.read_at = Instant::now();
        }
        Arc::clone(&state.regex)
    }
}

fn read_patterns(path: &Path) -> Result<Arc<Regex>, HandleError> {
    let text = table_file::read(path, PATTERN_BYTES_MAX as u64)?;
    let lines = text
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty());
    Regex::any_of(lines).map(Arc::new)
}

fn parse(pattern: &[u8]) -> Result<Hir, HandleError> {
    ere::parse(pattern).map_err(|error| HandleError::Pattern {
        pattern: String::from_utf8_lossy(pattern).into_owned(),
        error,
    })
}

fn too_large(pattern: &[u8]) -> HandleError {
    HandleError::PatternTooLarge {
        pattern: String::from_utf8_lossy(pattern).into_owned(),
        limit_bytes: AUTOMATON_BYTES_MAX,
    }
}

/// Whether a pattern is a literal without a newline, with nothing around it but runs that may be empty and, before them, `^`, which the
/// runs reach from wherever the literal is.
fn required_suffices(hir: &Hir) -> bool {
    let is_line = |hir: &Hir| match hir.kind() {
        HirKind::Repetition(run) if run.min == 0 && run.max.is_none() => match run.sub.kind() {
            HirKind::Class(Class::Bytes(class)) => {
                let mut missing = ere::not_newline();
                missing.difference(class);
                missing.ranges().is_empty()
            }
            _ => false,
        },
        _ => false,
    };
    let may_be_empty = |hir: &Hir| matches!(hir.kind(), HirKind::Repetition(run) if run.min == 0);
    let is_literal =
        |hir: &Hir| matches!(hir.kind(), HirKind::Literal(text) if !text.0.contains(&b'\n'));
    let HirKind::Concat(parts) = hir.kind() else { return is_literal(hir) };
    let parts = match &parts[..] {
        [start, line, rest @ ..]
            if matches!(start.kind(), HirKind::Look(Look::StartLF)) && is_line(line) =>
        {
            rest
        }
        [line, rest @ ..] if may_be_empty(line) => rest,
        all => all,
    };
    parts
        .split_first()
        .is_some_and(|(first, rest)| is_literal(first) && rest.iter().all(may_be_empty))
}

/// The longest run of bytes that every match of a pattern contains, where the pattern shows one.
fn required(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_vec()),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(required).max_by_key(Vec::len),
        _ => None,
    }
}

fn matches(args: &[Value], handle: Option<&Handle>) -> Option<bool> {
    let Handle::Regex(regex) = handle? else { return None };
    Some(regex.is_match(bytes(args, 0)?))
}

fn partial(args: &[Value], handle: Option<&Handle>) -> Option<bool> {
    let Handle::Regex(regex) = handle? else { return None };
    let subject = bytes(args, 0)?;
    let first = index(args, 1)?.min(subject.len());
    Some(regex.is_match(&subject[..first]))
}

fn from_file(args: &[Value], handle: Option<&Handle>) -> Option<bool> {
    let Handle::FileRegex(regex) = handle? else { return None };
    let seconds = u64::try_from(integer(args, 1)?).unwrap_or(0);
    Some(regex.is_match(bytes(args, 0)?, Duration::from_secs(seconds)))
}

fn extract(args: &[Value], handle: Option<&Handle>) -> Option<Value> {
    let Handle::Regex(regex) = handle? else { return None };
    regex.find(bytes(args, 0)?).map(Value::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_match(pattern: &str, subject: &[u8]) -> bool {
        Regex::new(pattern.as_bytes()).expect(pattern).is_match(subject)
    }

    fn find<'a>(pattern: &str, subject: &'a [u8]) -> Option<&'a [u8]> {
        Regex::new(pattern.as_bytes()).expect(pattern).find(subject)
    }

    #[test]
    fn the_papers_pattern_reads_one_line() {
        let pattern = r"^[^\n]*HTTP/1.*";
        assert!(is_match(pattern, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(is_match(pattern, b"\xff\x00\x80 HTTP/1.0"));
        assert!(is_match(pattern, b"preface\nPOST /x HTTP/1.1"), "^ stands after each newline");
        assert!(!is_match(pattern, b"GET / HTTP/2"));
        assert!(!is_match(pattern, b"HTTP/\n1.1"));
        assert_eq!(find(pattern, b"GET / HTTP/1.1\r\nHost: a"), Some(&b"GET / HTTP/1.1\r"[..]));
    }

    #[test]
    fn a_literal_decides_alone_where_all_else_may_be_empty() {
        let decides =
            |pattern: &str| Regex::new(pattern.as_bytes()).expect(pattern).required_suffices;
        for pattern in
            [r"^[^\n]*HTTP/1.*", "^.*HTTP/1", "HTTP", "x*HTTP", "HTTP(a|b)*", r".*HTTP\d*"]
        {
            assert!(decides(pattern), "{pattern}");
        }
        for pattern in [
            "^HTTP",
            "^[a-z]*HTTP",
            "HTTP$",
            "HTTP.",
            "a+HTTP",
            r"^.*HTTP\n",
            "HTTP/[12]",
            "^.?HTTP",
        ] {
            assert!(!decides(pattern), "{pattern}");
        }
    }

    #[test]
    fn newlines_end_lines() {
        for (pattern, subject, expected) in [
            ("a.b", "a\nb", false),
            ("a[^x]b", "a\nb", false),
            (r"a\Db", "a\nb", false),
            (r"a[\n]b", "a\nb", true),
            (r"a\sb", "a\nb", true),
            ("a[[:space:]]b", "a\nb", true),
            ("^b", "a\nb", true),
            ("a$", "a\nb", true),
            ("^$", "a\n\nb", true),
            ("a$b", "ab", false),
            ("x*$", "abc", true),
        ] {
            assert_eq!(is_match(pattern, subject.as_bytes()), expected, "{pattern} on {subject:?}");
        }
    }

    #[test]
    fn syntax() {
        for (pattern, subject, expected) in [
            ("abc", "xabcx", true),
            ("a|b|", "zzz", true),
            ("(ab)+c", "ababc", true),
            ("(ab){2}c", "abc", false),
            ("a{2,}", "aaa", true),
            ("^a{,2}$", "aaa", false),
            ("a{x}", "a{x}", true),
            ("a{1", "a{1", true),
            ("{}", "a{}", true),
            ("[]x]", "]", true),
            ("[^]x]", "]", false),
            ("[a-c]+-[-x]", "abc--", true),
            ("[a-]", "-", true),
            (r"[\]]", "]", true),
            (r"[\\]", "\\", true),
            (r"[\.]", "\\", false),
            (r"[\d]", "7", true),
            ("[[:upper:][:digit:]]", "a", false),
            ("[[:xdigit:]]{4}", "c0fE", true),
            ("[[=a=]]", "a", true),
            ("[[.-.]]", "-", true),
            ("[[]", "[", true),
            (r"\x41\x42", "AB", true),
            (r"\.", "a", false),
            (r"\$\^\*", "$^*", true),
            (r"\bfoo\b", "a foo b", true),
            (r"\bfoo\b", "afoob", false),
            (r"\<foo\>", "foo", true),
            ("(?i)host: [a-z.]+", "HOST: EXAMPLE.ORG", true),
            ("(?i)[^x]", "X", false),
            ("()", "a", true),
            ("(a*)*b", "aaab", true),
            ("é", "café", true),
        ] {
            assert_eq!(is_match(pattern, subject.as_bytes()), expected, "{pattern} on {subject:?}");
        }
    }

    #[test]
    fn bytes_are_not_characters() {
        assert!(is_match(r"\xff.\x00", b"\xff\xfe\x00"));
        assert!(is_match("^.$", b"\x80"));
        assert!(!is_match("^.$", "é".as_bytes()), "two bytes");
        assert!(is_match("[^a]", b"\xc3"));
    }

    #[test]
    fn empty_never_matches() {
        assert!(!is_match("", b"abc"));
        assert!(!is_match("a*", b""));
        assert!(!is_match("^$", b""));
        assert_eq!(find("a*", b""), None);
        assert_eq!(find("", b"abc"), None);
    }

    #[test]
    fn extraction_is_leftmost_longest() {
        for (pattern, subject, expected) in [
            ("Host: [a-z.]*", "GET /\r\nHost: a.example\r\n", Some("Host: a.example")),
            ("a|ab|abc", "xabcd", Some("abc")),
            ("(a|ab)(c|bcd)", "abcd", Some("abcd")),
            ("b*", "abb", Some("")),
            ("x", "abc", None),
            ("(^|,)[^,]*c", "ab,cc,c", Some(",cc")),
            ("cat|category$", "category\nx", Some("category")),
            ("[0-9]+", "a12b345", Some("12")),
        ] {
            let expected = expected.map(str::as_bytes);
            assert_eq!(find(pattern, subject.as_bytes()), expected, "{pattern} on {subject:?}");
        }
    }

    #[test]
    fn what_every_match_contains_is_looked_for_first() {
        for (pattern, expected) in [
            ("^[^\n]*HTTP/1.*", Some("HTTP/1")),
            ("(GET|POST) /x+yz", Some("yz")),
            ("a(bc)+d", Some("bc")),
            ("(abc)*|d", None),
            ("[ab]c?", None),
        ] {
            let required = required(&parse(pattern.as_bytes()).unwrap());
            assert_eq!(required.as_deref(), expected.map(str::as_bytes), "{pattern}");
        }
    }

    #[test]
    fn the_shortest_subject_is_known() {
        for (pattern, expected) in [
            ("^[^\n]*HTTP/1.*", 6),
            ("(GET|POST) /x+", 6),
            ("a{3,5}$", 3),
            ("a*", 1),
            ("^$", 1),
            ("", usize::MAX),
        ] {
            let regex = Regex::new(pattern.as_bytes()).expect(pattern);
            assert_eq!(regex.subject_len_min(), expected, "{pattern}");
        }
        let any = Regex::any_of([&b"abcd"[..], b"xy"].into_iter()).expect("small");
        assert_eq!(any.subject_len_min(), 2);
        assert!(any.is_match(b"xy"));
    }

    #[test]
    fn hostile_patterns_are_refused() {
        for pattern in
            ["(.{1000}){1000}", "((((a{100}){100}){100}){100}){100}", "(((.{1000})*){1000})+"]
        {
            let error = Regex::new(pattern.as_bytes()).expect_err(pattern);
            assert!(
                matches!(
                    error,
                    HandleError::PatternTooLarge { limit_bytes: AUTOMATON_BYTES_MAX, .. }
                ),
                "{pattern}: {error}"
            );
        }
        assert!(
            Regex::new(b"((((){1000}){1000}){1000}){1000}").is_ok(),
            "repeating nothing is nothing"
        );
        let error = Regex::new(b"Host: [a-z").expect_err("unclosed");
        assert_eq!(
            error.to_string(),
            "bad regular expression `Host: [a-z`: `[` has no `]`; write `\\[` for the character (byte 6 of the pattern)"
        );
    }

    #[test]
    fn quadratic_subjects_end() {
        let regex = Regex::new(b"(a*)*(a*)*(a|aa)+$").expect("small");
        let mut subject = vec![b'a'; 60_000];
        subject.push(b'!');
        assert!(!regex.is_match(&subject));
        assert_eq!(regex.find(&subject), None);
    }

    #[test]
    fn the_wrong_handle_fails() {
        let handle = Handle::Constant(Value::Uint(1));
        let args = [Value::bytes("abc")];
        assert_eq!(extract(&args, Some(&handle)), None);
        assert_eq!(matches(&args, None), None);
    }

    #[test]
    fn partial_match_sees_the_first_bytes() {
        let handle = Handle::Regex(Box::new(Regex::new(b"b$").expect("small")));
        let run = |n| partial(&[Value::bytes("abcb"), Value::Uint(n)], Some(&handle));
        assert_eq!(run(0), Some(false));
        assert_eq!(run(2), Some(true));
        assert_eq!(run(3), Some(false));
        assert_eq!(run(u64::MAX), Some(true));
    }

    #[test]
    fn patterns_from_a_file() {
        let directory = std::env::temp_dir().join(format!("wt-file-regex-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("temporary directory");
        let path = directory.join("patterns");
        std::fs::write(&path, "foo\r\n\n(?i)bar$\n").expect("written");
        let regex = FileRegex::open(path.clone()).expect("good patterns");
        for (subject, expected) in [("a foo", true), ("BAR", true), ("bars", false), ("", false)] {
            assert_eq!(regex.is_match(subject.as_bytes(), Duration::ZERO), expected, "{subject}");
        }

        std::fs::write(&path, "new\n").expect("written");
        assert!(!regex.is_match(b"new", Duration::ZERO), "no timeout: never read again");
        assert!(!regex.is_match(b"new", Duration::from_secs(3600)), "not old yet");
        assert!(regex.is_match(b"new", Duration::from_nanos(1)));
        std::fs::write(&path, "(bad\n").expect("written");
        assert!(regex.is_match(b"new", Duration::from_nanos(1)), "a bad file changes nothing");
        std::fs::remove_file(&path).expect("removed");
        assert!(regex.is_match(b"new", Duration::from_nanos(1)), "nor does an absent one");

        let error = FileRegex::open(path.clone()).expect_err("absent");
        assert!(error.to_string().starts_with(&format!("cannot read `{}`: ", path.display())));
        std::fs::write(&path, vec![b'a'; PATTERN_BYTES_MAX + 1]).expect("written");
        assert!(matches!(FileRegex::open(path), Err(HandleError::FileTooLarge { .. })));
        std::fs::remove_dir_all(directory).expect("removed");
    }

    /// A pattern to compare with a matcher that only follows the definition.
    #[derive(Clone, Debug)]
    enum Tree {
        Byte(u8),
        Any,
        NotA,
        Start,
        End,
        Concat(Vec<Tree>),
        Either(Box<Tree>, Box<Tree>),
        Repeat(Box<Tree>, usize, Option<usize>),
    }

    impl Tree {
        fn text(&self, out: &mut String) {
            match self {
                Tree::Byte(b'\n') => out.push_str("\\n"),
                Tree::Byte(b) => out.push(char::from(*b)),
                Tree::Any => out.push('.'),
                Tree::NotA => out.push_str("[^a]"),
                Tree::Start => out.push('^'),
                Tree::End => out.push('$'),
                Tree::Concat(parts) => parts.iter().for_each(|part| part.group(out)),
                Tree::Either(a, b) => {
                    a.group(out);
                    out.push('|');
                    b.group(out);
                }
                Tree::Repeat(sub, min, max) => {
                    sub.group(out);
                    match max {
                        Some(max) => out.push_str(&format!("{{{min},{max}}}")),
                        None => out.push_str(&format!("{{{min},}}")),
                    }
                }
            }
        }

        fn group(&self, out: &mut String) {
            out.push('(');
            self.text(out);
            out.push(')');
        }

        /// All ends of matches that start at `at`.
        fn ends(&self, subject: &[u8], at: usize) -> Vec<usize> {
            let one = |accepts: fn(u8) -> bool| match subject.get(at) {
                Some(&b) if accepts(b) => vec![at + 1],
                _ => vec![],
            };
            let here = |holds: bool| if holds { vec![at] } else { vec![] };
            match self {
                Tree::Byte(wanted) => match subject.get(at) {
                    Some(b) if b == wanted => vec![at + 1],
                    _ => vec![],
                },
                Tree::Any => one(|b| b != b'\n'),
                Tree::NotA => one(|b| b != b'\n' && b != b'a'),
                Tree::Start => here(at == 0 || subject[at - 1] == b'\n'),
                Tree::End => here(at == subject.len() || subject[at] == b'\n'),
                Tree::Concat(parts) => parts.iter().fold(vec![at], |starts, part| {
                    union(starts.iter().flat_map(|&start| part.ends(subject, start)))
                }),
                Tree::Either(a, b) => {
                    union(a.ends(subject, at).into_iter().chain(b.ends(subject, at)))
                }
                Tree::Repeat(sub, min, max) => {
                    let mut reached = if *min == 0 { vec![at] } else { vec![] };
                    let mut front = vec![at];
                    // Beyond this many rounds only empty matches could add an end, and they add none.
                    let rounds = max.unwrap_or(min + subject.len() + 1);
                    for round in 1..=rounds {
                        front = union(front.iter().flat_map(|&start| sub.ends(subject, start)));
                        if round >= *min {
                            reached = union(reached.into_iter().chain(front.iter().copied()));
                        }
                    }
                    reached
                }
            }
        }
    }

    fn union(ends: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            4 => prop::sample::select(b"ab\n".as_slice()).prop_map(Tree::Byte),
            1 => Just(Tree::Any),
            1 => Just(Tree::NotA),
            1 => Just(Tree::Start),
            1 => Just(Tree::End),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::Concat),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| Tree::Either(Box::new(a), Box::new(b))),
                (inner, 0usize..3, prop::option::of(0usize..3)).prop_map(|(sub, min, more)| {
                    Tree::Repeat(Box::new(sub), min, more.map(|more| min + more))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            tree in tree(),
            subject in prop::collection::vec(prop::sample::select(b"ab\nc".as_slice()), 1..10),
        ) {
            let mut pattern = String::new();
            tree.text(&mut pattern);
            let expected = (0..=subject.len()).find_map(|start| {
                tree.ends(&subject, start).last().map(|&end| &subject[start..end])
            });
            let regex = Regex::new(pattern.as_bytes()).unwrap();
            prop_assert_eq!(regex.find(&subject), expected, "{}", pattern);
            prop_assert_eq!(regex.is_match(&subject), expected.is_some());
        }

        #[test]
        fn any_bytes_as_a_pattern_are_an_answer(
            pattern in prop::collection::vec(any::<u8>(), 0..40),
            specials in "[a(){}*+?|^$.,0-9:=\\[\\]\\\\-]{0,30}",
            subject in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            for pattern in [&pattern[..], specials.as_bytes()] {
                if let Ok(regex) = Regex::new(pattern) {
                    prop_assert_eq!(regex.find(&subject).is_some(), regex.is_match(&subject));
                }
            }
        }
    }
}
