//! The paths that code of their own is made for.

use wt_catalog::ProtocolId;
use wt_catalog::protocol::PATH_HEADERS_MAX;
use wt_plan::paths::Paths;

/// Most steps of likely paths: each is code of its own.
const LIKELY_MAX: usize = 20;

/// A header on a likely path.
pub(super) struct Step {
    pub(super) id: ProtocolId,
    parent: Option<usize>,
    /// Children that are likely too, with the index of their step.
    pub(super) next: Vec<(ProtocolId, usize)>,
}

/// Whether some path may have more headers than are followed.
pub(super) fn may_be_too_long(paths: &Paths<'_>) -> bool {
    paths.reached.iter().any(|id| paths.repeats(*id)) || paths.reached.len() > PATH_HEADERS_MAX
}

/// Likely paths from the first header on, as a tree. They go the nearest way to a header that is looked for; and beside that header they
/// take in what else follows its parent (UDP where TCP is looked for), with which most other packets end. None has a protocol twice.
pub(super) fn likely(paths: &Paths<'_>, start: ProtocolId) -> Vec<Step> {
    let mut steps = vec![Step { id: start, parent: None, next: Vec::new() }];
    let mut index = 0;
    while index < steps.len() {
        let Step { id, parent, .. } = steps[index];
        let is_aside =
            parent.is_some_and(|p: usize| paths.distance(steps[p].id) <= paths.distance(id));
        let children = if is_aside { Vec::new() } else { paths.children(id) };
        for child in children {
            let is_nearer = paths.distance(child) < paths.distance(id);
            let is_beside = paths.distance(id) == 1 && !on_path(&steps, index, child);
            if (is_nearer || is_beside) && steps.len() < LIKELY_MAX {
                let next = steps.len();
                steps[index].next.push((child, next));
                steps.push(Step { id: child, parent: Some(index), next: Vec::new() });
            }
        }
        index += 1;
    }
    steps
}

/// Whether a protocol is on the path to a step, or is its own.
fn on_path(steps: &[Step], step: usize, protocol: ProtocolId) -> bool {
    let mut at = Some(step);
    while let Some(index) = at {
        if steps[index].id == protocol {
            return true;
        }
        at = steps[index].parent;
    }
    false
}
