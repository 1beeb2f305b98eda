//! Lookup of names: exact first, then the only one that agrees ignoring case (protocols.md, Names).

/// Result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Index of the match.
    One(usize),
    /// Several agree when case is ignored.
    Several,
    /// None agrees.
    None,
}

/// The position of `name` among `names`.
pub(crate) fn find<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Found {
    let mut folded = Found::None;
    for (i, candidate) in names.into_iter().enumerate() {
        if candidate == name {
            return Found::One(i);
        }
        if candidate.eq_ignore_ascii_case(name) {
            folded = if folded == Found::None { Found::One(i) } else { Found::Several };
        }
    }
    folded
}

/// [`find`] for callers that treat ambiguous as unknown.
pub(crate) fn position<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    match find(name, names) {
        Found::One(i) => Some(i),
        Found::Several | Found::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_folded() {
        assert_eq!(find("tcp", ["TCP", "tcp"]), Found::One(1));
        assert_eq!(find("Tcp", ["TCP", "udp"]), Found::One(0));
        assert_eq!(find("Tcp", ["TCP", "tcp"]), Found::Several);
        assert_eq!(find("sctp", ["TCP", "tcp"]), Found::None);
    }
}
