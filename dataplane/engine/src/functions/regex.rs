//! The regular-expression functions (gsql.md §20.3).
//!
//! Syntax and newline rules are those of [`ere`](super::ere). A match is found in time linear in the subject, whatever
//! the pattern. `''` never matches: neither an empty subject nor an empty pattern. An extracted match is the leftmost,
//! and the longest of those that start there (POSIX).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta;
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;
use wt_catalog::Value;

use super::args::{bytes, index, integer};
use super::ere::{self, PATTERN_BYTES_MAX};
use super::{Handle, HandleError, ScalarFn};

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
}

#[derive(Debug)]
struct Longest {
    dfa: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>>,
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`HandleError::Pattern`] with the position, or [`HandleError::PatternTooLarge`].
    pub fn new(pattern: &[u8]) -> Result<Self, HandleError> {
        if pattern.is_empty() {
            return Ok(Regex { search: None, longest: None });
        }
        let hir = parse(pattern)?;
        Self::from_hir(&hir).ok_or_else(|| too_large(pattern))
    }

    /// Compiles patterns any of which may match; none: never matches.
    fn any_of<'a>(patterns: impl Iterator<Item = &'a [u8]>) -> Result<Self, HandleError> {
        let hirs = patterns.map(parse).collect::<Result<Vec<_>, _>>()?;
        if hirs.is_empty() {
            return Ok(Regex { search: None, longest: None });
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
        Some(Regex { search: Some(search), longest: Some(Longest { dfa, caches }) })
    }

    /// Whether the pattern occurs.
    pub fn is_match(&self, subject: &[u8]) -> bool {
        !subject.is_empty() && self.search.as_ref().is_some_and(|search| search.is_match(subject))
    }

    /// The leftmost-longest occurrence.
    pub fn find<'a>(&self, subject: &'a [u8]) -> Option<&'a [u8]> {
        if subject.is_empty() {
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
    let unreadable = |source| HandleError::Unreadable { path: path.to_path_buf(), source };
    let mut text = Vec::new();
    let limit_bytes = PATTERN_BYTES_MAX as u64;
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit_bytes + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > limit_bytes {
        return Err(HandleError::FileTooLarge { path: path.to_path_buf(), limit_bytes });
    }
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
