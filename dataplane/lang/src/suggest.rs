//! Near names for "did you mean" (protocols.md: an unknown name lists the nearest ones).

/// Names longer than this are compared by their beginning only.
const NAME_CHARS_MAX: usize = 64;

/// The candidates nearest to `given`, best first, at most `max` of them.
///
/// A candidate qualifies when its restricted Damerau-Levenshtein distance, ignoring case, is at most
/// a third of the longer name (at least 1), or when one name begins with or contains the other
/// (from three characters on). Equal candidates are listed once.
pub fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    max: usize,
) -> Vec<&'a str> {
    let wanted = fold(given);
    let mut ranked: Vec<(u32, &'a str)> = candidates
        .into_iter()
        .filter_map(|name| rank(&wanted, &fold(name)).map(|score| (score, name)))
        .collect();
    ranked.sort();
    ranked.dedup();
    ranked.into_iter().take(max).map(|(_, name)| name).collect()
}

fn fold(name: &str) -> Vec<char> {
    name.chars().take(NAME_CHARS_MAX).map(|c| c.to_ascii_lowercase()).collect()
}

/// Lower is nearer. Distance counts double, so that a prefix ranks between edits.
fn rank(given: &[char], name: &[char]) -> Option<u32> {
    if given.is_empty() || name.is_empty() {
        return None;
    }
    let distance = distance(given, name);
    let longer = given.len().max(name.len());
    if distance <= (longer / 3).max(1) && distance < longer {
        return Some(2 * distance as u32);
    }
    // `port` for `srcPort`, `dst` for `dst_ip`: an abbreviation, not a slip of the finger.
    let (short, long) = if given.len() < name.len() { (given, name) } else { (name, given) };
    if short.len() < 3 {
        return None;
    }
    let extra = (long.len() - short.len()).min(40) as u32;
    if long.starts_with(short) {
        Some(5 + extra)
    } else if long.windows(short.len()).any(|w| w == short) {
        Some(7 + extra)
    } else {
        None
    }
}

/// Restricted Damerau-Levenshtein distance (optimal string alignment): insertions, deletions,
/// substitutions, and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best;
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 10] =
        ["srcIP", "destIP", "src_ip", "dst_ip", "srcPort", "destPort", "time", "len", "ttl", "syn"];

    #[test]
    fn slips_of_the_finger() {
        assert_eq!(nearest("scrIP", FIELDS, 1), ["srcIP"]);
        assert_eq!(nearest("SRCIP", FIELDS, 2), ["srcIP", "src_ip"]);
        assert_eq!(nearest("tiem", FIELDS, 3), ["time"]);
        assert_eq!(nearest("destPrt", FIELDS, 1), ["destPort"]);
    }

    #[test]
    fn abbreviations() {
        assert_eq!(nearest("port", FIELDS, 3), ["srcPort", "destPort"]);
        assert_eq!(nearest("dest", FIELDS, 3), ["destIP", "destPort"]);
    }

    #[test]
    fn strangers_are_not_offered() {
        assert!(nearest("checksum", FIELDS, 3).is_empty());
        assert!(nearest("", FIELDS, 3).is_empty());
        assert!(nearest("x", FIELDS, 3).is_empty());
        assert!(nearest("time", [], 3).is_empty());
    }

    #[test]
    fn distance_counts_swaps_once() {
        let d = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(d("SELCT", "SELECT"), 1);
        assert_eq!(d("FORM", "FROM"), 1);
        assert_eq!(d("GROPU", "GROUP"), 1);
        assert_eq!(d("kitten", "sitting"), 3);
        assert_eq!(d("", "abc"), 3);
    }
}
