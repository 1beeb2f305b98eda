//! Likely paths: those that have code of their own.

use wt_catalog::ProtocolId;

use super::emit::ABSENT;
use super::header::constant_length;
use super::paths::Paths;

/// Most steps of likely paths: each is code of its own. Some of them have a copy.
const LIKELY_MAX: usize = 24;

/// Most bytes that likely paths ask for beforehand: every Ethernet frame on a wire has them (IEEE 802.3, 3.2.8, less the check sequence).
const REACH_MAX: i32 = 60;

/// A header on a likely path.
pub(super) struct Step {
    pub(super) id: ProtocolId,
    /// The headers above it, outermost first, then its own.
    pub(super) path: Vec<ProtocolId>,
    /// Children that are likely too, with the index of their step.
    pub(super) next: Vec<(ProtocolId, usize)>,
    /// Where those are only behind a header of the least length: the same children, behind one of another length.
    pub(super) behind_longer: Option<Vec<(ProtocolId, usize)>>,
    /// The index of the step above.
    pub(super) above: Option<usize>,
    /// Bytes from the packet's first to the header, where that is known beforehand.
    pub(super) offset: Option<i32>,
    /// A header on it was not on the nearest way.
    pub(super) is_detour: bool,
}

impl Step {
    fn new(path: Vec<ProtocolId>, id: ProtocolId, above: Option<usize>, is_detour: bool) -> Self {
        let offset = above.is_none().then_some(0);
        Self { id, path, next: Vec::new(), behind_longer: None, above, offset, is_detour }
    }
}

/// Which likely paths are added, in this order.
#[derive(Clone, Copy)]
enum Pass {
    Nearest,
    Beside,
    Detours,
}

/// Likely paths as a tree: the nearest ways to headers that are looked for; then, with what room is left, what else follows the parent of such
/// a one, and ways with one header more (a VLAN tag). None has a protocol twice.
pub(super) fn likely(paths: &Paths<'_>, start: ProtocolId) -> Vec<Step> {
    let distance = |id: ProtocolId| paths.distance(id);
    let mut steps = vec![Step::new(vec![start], start, None, false)];
    for pass in [Pass::Nearest, Pass::Beside, Pass::Detours] {
        let mut index = 0;
        while index < steps.len() {
            let Step { id, is_detour, ref path, .. } = steps[index];
            let path = path.clone();
            let above = path.len().checked_sub(2).map(|i| path[i]);
            let is_aside = above.is_some_and(|p| distance(p) < distance(id));
            let children = if is_aside { Vec::new() } else { paths.children(id) };
            // One that is looked for may have others below it: TCP below IPv4, when queries name both.
            let has_wanted = children.iter().any(|c| distance(*c) == 0 && !path.contains(c));
            let way = match distance(id) {
                0 if has_wanted => 1,
                way => way,
            };
            for child in children {
                let known = steps[index].next.iter().any(|(known, _)| *known == child);
                if known || path.contains(&child) || distance(child) == u32::MAX {
                    continue;
                }
                let is_nearer = distance(child) < way;
                let is_beside = way == 1;
                let is_level = distance(child) == way && way > 0;
                let wanted = match pass {
                    Pass::Nearest => is_nearer,
                    Pass::Beside => is_beside,
                    Pass::Detours if is_detour => is_nearer || is_beside,
                    Pass::Detours => is_level,
                };
                if wanted && steps.len() < LIKELY_MAX {
                    let next = steps.len();
                    steps[index].next.push((child, next));
                    let mut path = path.clone();
                    path.push(child);
                    let is_detour = is_detour || !is_nearer && !is_beside;
                    steps.push(Step::new(path, child, Some(index), is_detour));
                }
            }
            index += 1;
        }
    }
    split_by_length(paths, &mut steps);
    steps
}

/// Of the first header of each path whose length is in the packet, most have the least length. What follows those is at a place known
/// beforehand; what follows others has steps of its own.
fn split_by_length(paths: &Paths<'_>, steps: &mut Vec<Step>) {
    let constant = |step: &Step| match paths.header(step.id) {
        Some(header) => constant_length(header).and_then(|len| i32::try_from(len).ok()),
        None => Some(0),
    };
    let mut is_first = vec![true; steps.len()];
    for index in 0..is_first.len() {
        let has_one_length = constant(&steps[index]).is_some();
        let is_below = |above: usize| is_first[above] && constant(&steps[above]).is_some();
        is_first[index] = steps[index].above.is_none_or(is_below);
        let has_likely = steps[index].next.iter().any(|(_, child)| !steps[*child].is_detour);
        // One that may not be as short as it has to be is malformed, whatever its length.
        let may_be_least = paths.header(steps[index].id).is_some_and(|h| h.min <= h.max);
        let is_split = is_first[index] && !has_one_length && may_be_least;
        if is_split && !steps[index].is_detour && has_likely {
            steps[index].behind_longer = Some(copy_below(paths, steps, index));
        }
    }
    for index in 1..steps.len() {
        let Some(above) = steps[index].above.map(|above| &steps[above]) else { continue };
        let is_behind_least =
            above.behind_longer.is_some() && above.next.iter().any(|(_, child)| *child == index);
        let least = paths.header(above.id).filter(|_| is_behind_least);
        let len = constant(above).or(least.map(|header| header.min as i32));
        let offset = above.offset.zip(len).and_then(|(offset, len)| offset.checked_add(len));
        steps[index].offset = offset;
    }
}

/// Steps once more for the nearest ways to headers that are looked for, below a step.
fn copy_below(paths: &Paths<'_>, steps: &mut Vec<Step>, from: usize) -> Vec<(ProtocolId, usize)> {
    let mut copies = vec![(from, from)];
    let mut first = Vec::new();
    let mut done = 0;
    while let Some((original, above)) = copies.get(done).copied() {
        let mut next: Vec<_> = nearer(paths, steps, original).collect();
        for (id, step) in &mut next {
            let copy = steps.len();
            copies.push((*step, copy));
            steps.push(Step::new(steps[*step].path.clone(), *id, Some(above), true));
            *step = copy;
        }
        match done {
            0 => first = next,
            _ => steps[above].next = next,
        }
        done += 1;
    }
    first
}

/// The children of a step on the nearest ways to headers that are looked for.
pub(super) fn nearer(
    paths: &Paths<'_>,
    steps: &[Step],
    index: usize,
) -> impl Iterator<Item = (ProtocolId, usize)> {
    let way = paths.distance(steps[index].id).max(1);
    let is_nearer = move |(id, step): &(ProtocolId, usize)| {
        !steps[*step].is_detour && paths.distance(*id) < way
    };
    steps[index].next.iter().copied().filter(is_nearer)
}

/// Where the headers on the path of a step begin, outermost first, up to the first whose place depends on the packet.
pub(super) fn known_offsets(index: usize, steps: &[Step]) -> Vec<i32> {
    let above = |step: &&Step| step.above.map(|above| &steps[above]);
    let mut path: Vec<&Step> = std::iter::successors(Some(&steps[index]), above).collect();
    path.reverse();
    path.into_iter().map_while(|step| step.offset).collect()
}

/// Bytes in which as many headers lie as can that are looked for, of those whose place is known beforehand; 0 where none is behind the first.
pub(super) fn reach(paths: &Paths<'_>, steps: &[Step]) -> i32 {
    let end = |step: &Step| {
        let min = paths.header(step.id)?.min.min(ABSENT as u32) as i32;
        step.offset?.checked_add(min).filter(|end| *end <= REACH_MAX)
    };
    let wanted =
        steps.iter().skip(1).filter(|step| !step.is_detour && paths.distance(step.id) == 0);
    wanted.filter_map(end).max().unwrap_or(0)
}
