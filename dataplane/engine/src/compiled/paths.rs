//! The paths that code of their own is made for.

use wt_catalog::ProtocolId;
use wt_catalog::protocol::PATH_HEADERS_MAX;
use wt_plan::paths::Paths;

/// Most steps of likely paths: each is code of its own.
const LIKELY_MAX: usize = 20;

/// A header on a likely path.
pub(super) struct Step {
    pub(super) id: ProtocolId,
    pub(super) parent: Option<usize>,
    /// Headers before it.
    depth: u32,
    /// Children that are likely too, the most frequent first as far as that is known, with the index of their step.
    pub(super) next: Vec<(ProtocolId, usize)>,
}

/// Whether some path may have more headers than are followed.
pub(super) fn may_be_too_long(paths: &Paths<'_>) -> bool {
    paths.reached.iter().any(|id| paths.repeats(*id)) || paths.reached.len() > PATH_HEADERS_MAX
}

/// Likely paths from the first header on, as a tree. They go the nearest ways to headers that are looked for. Then come the paths that have
/// been `seen`; while none is known, what else follows the parent of each such header (UDP where TCP is looked for), with which most other
/// packets end. None has a protocol twice.
pub(super) fn likely(
    paths: &Paths<'_>,
    start: ProtocolId,
    seen: Option<&[Vec<ProtocolId>]>,
) -> Vec<Step> {
    let mut steps = vec![Step { id: start, parent: None, depth: 0, next: Vec::new() }];
    let mut index = 0;
    while index < steps.len() {
        for child in paths.children(steps[index].id) {
            if paths.is_on_the_way(child, steps[index].depth + 1) {
                add(&mut steps, index, child);
            }
        }
        index += 1;
    }
    for path in seen.unwrap_or_default().iter().filter(|path| path.first() == Some(&start)) {
        let mut step = Some(0);
        for id in &path[1..] {
            step = step.and_then(|parent| add(&mut steps, parent, *id));
        }
    }
    if seen.is_none() {
        for index in 0..steps.len() {
            if paths.is_next_to_last(steps[index].id, steps[index].depth) {
                for child in paths.children(steps[index].id) {
                    add(&mut steps, index, child);
                }
            }
        }
    }
    sort_children(&mut steps, seen.unwrap_or_default());
    steps
}

/// Puts the children of every step in the order of the most frequent paths that go by them.
fn sort_children(steps: &mut [Step], seen: &[Vec<ProtocolId>]) {
    for index in 0..steps.len() {
        let before = path_to(steps, index);
        let rank = |child: ProtocolId| {
            let goes_by = |path: &Vec<ProtocolId>| {
                path.strip_prefix(&before[..]).is_some_and(|rest| rest.first() == Some(&child))
            };
            seen.iter().position(goes_by).unwrap_or(seen.len())
        };
        steps[index].next.sort_by_key(|(child, _)| rank(*child));
    }
}

/// The protocols from the first header to a step.
fn path_to(steps: &[Step], step: usize) -> Vec<ProtocolId> {
    let mut path = vec![steps[step].id];
    let mut at = step;
    while let Some(parent) = steps[at].parent {
        path.push(steps[parent].id);
        at = parent;
    }
    path.reverse();
    path
}

/// The steps at which the paths end that have been `seen`, the most frequent first, or else those that lead no further: there it is known
/// which headers there are.
pub(super) fn ends(steps: &[Step], seen: Option<&[Vec<ProtocolId>]>) -> Vec<usize> {
    let Some(seen) = seen.filter(|seen| !seen.is_empty()) else {
        return (0..steps.len()).filter(|step| steps[*step].next.is_empty()).collect();
    };
    let end = |path: &Vec<ProtocolId>| {
        let (start, below) = path.split_first()?;
        let follow = |step: usize, id: &ProtocolId| {
            steps[step].next.iter().find(|(known, _)| known == id).map(|(_, step)| *step)
        };
        let first = Some(0).filter(|_| steps[0].id == *start);
        below.iter().fold(first, |step, id| step.and_then(|step| follow(step, id)))
    };
    let mut ends: Vec<usize> = Vec::new();
    for step in seen.iter().filter_map(end) {
        if !ends.contains(&step) {
            ends.push(step);
        }
    }
    ends
}

/// The step of a child, which is added unless it is there already; nothing when it is on the path before, or one too many.
fn add(steps: &mut Vec<Step>, parent: usize, id: ProtocolId) -> Option<usize> {
    if let Some((_, step)) = steps[parent].next.iter().find(|(known, _)| *known == id) {
        return Some(*step);
    }
    if path_to(steps, parent).contains(&id) || steps.len() == LIKELY_MAX {
        return None;
    }
    let step = steps.len();
    steps[parent].next.push((id, step));
    let depth = steps[parent].depth + 1;
    steps.push(Step { id, parent: Some(parent), depth, next: Vec::new() });
    Some(step)
}

#[cfg(test)]
mod tests {
    use wt_plan::ir::LayerSel;

    use super::*;
    use crate::testing::{ETH, EXT, IP4, IP6, UDP, VLAN, toy_parse};

    /// The likely paths of packets that begin with `eth`, each as the protocols from there on.
    fn ways(wanted: &[ProtocolId], seen: Option<&[Vec<ProtocolId>]>) -> Vec<Vec<ProtocolId>> {
        let parse = toy_parse();
        let layers: Vec<LayerSel> = wanted.iter().map(|kind| LayerSel::First(*kind)).collect();
        let paths = Paths::new(&parse, 1, &layers);
        let steps = likely(&paths, ETH, seen);
        (0..steps.len()).map(|step| path_to(&steps, step)).collect()
    }

    #[test]
    fn a_header_looked_for_on_the_way_to_another_does_not_end_the_way() {
        let seen = Some(&[][..]);
        assert_eq!(ways(&[IP4], seen), [vec![ETH], vec![ETH, IP4]]);
        let both = ways(&[IP4, UDP], seen);
        assert!(both.contains(&vec![ETH, IP4, UDP]), "{both:?}");
        assert!(both.contains(&vec![ETH, IP6, UDP]), "{both:?}");
    }

    #[test]
    fn paths_that_were_seen_have_code_of_their_own_and_others_beside_the_way_do_not() {
        let beside = ways(&[UDP], None);
        assert!(beside.contains(&vec![ETH, IP6, EXT]), "{beside:?}");
        let seen = [vec![ETH, VLAN, IP4, UDP], vec![ETH, VLAN, VLAN], vec![IP4, UDP]];
        let seen = ways(&[UDP], Some(&seen));
        assert!(seen.contains(&vec![ETH, VLAN, IP4, UDP]), "{seen:?}");
        assert!(!seen.contains(&vec![ETH, VLAN, VLAN]), "a protocol twice: {seen:?}");
        assert!(!seen.contains(&vec![ETH, IP6, EXT]), "{seen:?}");
    }

    #[test]
    fn the_children_of_the_most_frequent_paths_are_asked_for_first() {
        let parse = toy_parse();
        let paths = Paths::new(&parse, 1, &[LayerSel::First(UDP)]);
        let children = |seen: &[Vec<ProtocolId>]| -> Vec<ProtocolId> {
            likely(&paths, ETH, Some(seen))[0].next.iter().map(|(child, _)| *child).collect()
        };
        let (v4, v6) = (vec![ETH, IP4, UDP], vec![ETH, IP6, UDP]);
        assert_eq!(children(&[v4.clone(), v6.clone()])[..2], [IP4, IP6]);
        assert_eq!(children(&[v6, v4])[..2], [IP6, IP4]);
        // Those on the way without packets come behind.
        assert_eq!(children(&[vec![ETH, VLAN, IP4]])[0], VLAN);
    }
}
