//! Which headers can stand above which: the dispatch graph of the catalog, read for scope (ddl.md).

use std::collections::VecDeque;

use wt_catalog::{Catalog, ProtocolId};

/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// The dispatch graph with abstract protocols expanded into those that stand for them.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    /// Headers directly below each.
    down: Vec<Vec<ProtocolId>>,
    /// Headers directly above each.
    up: Vec<Vec<ProtocolId>>,
    /// The protocol and all that refine it.
    group: Vec<Vec<ProtocolId>>,
    /// Headers that a packet may start with.
    starts: Vec<ProtocolId>,
    /// Of these, the headers of Ethernet frames.
    frames: Vec<ProtocolId>,
}

/// A header that can be above another, with its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Above {
    /// The header.
    pub(crate) protocol: ProtocolId,
    /// Dispatch steps between.
    pub(crate) distance: u32,
}

impl Headers {
    /// The graph of a catalog.
    pub(crate) fn new(catalog: &Catalog) -> Self {
        let n = catalog.protocols.len();
        let mut this = Self {
            down: vec![Vec::new(); n],
            up: vec![Vec::new(); n],
            group: Vec::with_capacity(n),
            starts: Vec::new(),
            frames: Vec::new(),
        };
        for p in &catalog.protocols {
            let mut group = vec![p.id];
            let mut at = 0;
            while let Some(&id) = group.get(at) {
                for &r in catalog.protocols.get(id.0 as usize).map_or(&[][..], |p| &p.refinements) {
                    if !group.contains(&r) {
                        group.push(r);
                    }
                }
                at += 1;
            }
            this.group.push(group);
        }
        let first = catalog.protocols.iter().filter(|p| !p.link_types.is_empty());
        this.starts = first.flat_map(|p| this.group(p.id).to_vec()).collect();
        let ethernet = catalog.protocols.iter().filter(|p| p.link_types.contains(&ETHERNET));
        this.frames = ethernet.map(|p| p.id).collect();
        this.starts.sort();
        this.starts.dedup();
        for p in &catalog.protocols {
            for edge in &p.children {
                let outer = this.group(p.id).to_vec();
                let inner = this.group(edge.child).to_vec();
                for &above in &outer {
                    for &below in &inner {
                        let (a, b) = (above.0 as usize, below.0 as usize);
                        if !this.down[a].contains(&below) {
                            this.down[a].push(below);
                        }
                        if !this.up[b].contains(&above) {
                            this.up[b].push(above);
                        }
                    }
                }
            }
        }
        this
    }

    /// The protocol and all that refine it as the same header.
    pub(crate) fn group(&self, p: ProtocolId) -> &[ProtocolId] {
        self.group.get(p.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether a header of `p` counts as `abstract_`.
    pub(crate) fn counts_as(&self, p: ProtocolId, abstract_: ProtocolId) -> bool {
        self.group(abstract_).contains(&p)
    }

    /// Steps from `from` to each protocol along `edges`, entering none of `barrier`; `None`: not reached.
    fn steps(
        &self,
        from: &[ProtocolId],
        edges: &[Vec<ProtocolId>],
        open: impl Fn(ProtocolId) -> bool,
    ) -> Vec<Option<u32>> {
        let mut steps = vec![None; edges.len()];
        let mut queue = VecDeque::new();
        for &s in from {
            steps[s.0 as usize] = Some(0);
            queue.push_back((s, 0));
        }
        while let Some((at, d)) = queue.pop_front() {
            for &next in &edges[at.0 as usize] {
                if steps[next.0 as usize].is_none() && open(next) {
                    steps[next.0 as usize] = Some(d + 1);
                    queue.push_back((next, d + 1));
                }
            }
        }
        steps
    }

    /// Headers reachable below `p`, itself included.
    pub(crate) fn below(&self, p: ProtocolId) -> Vec<Option<u32>> {
        self.steps(self.group(p), &self.down, |_| true)
    }

    /// Whether some header of `b` can be anywhere below one of `a`.
    pub(crate) fn can_follow(&self, a: ProtocolId, b: ProtocolId) -> bool {
        let first: Vec<ProtocolId> =
            self.group(a).iter().flat_map(|p| self.down[p.0 as usize].iter().copied()).collect();
        let reached = self.steps(&first, &self.down, |_| true);
        self.group(b).iter().any(|p| reached[p.0 as usize].is_some())
    }

    /// The headers that can be on the path to the target of a FROM chain, nearest first.
    ///
    /// Each element of the chain is the outermost below the one before, so a header above it is on a path that does not pass
    /// through it before. Where dispatch also leads from the target to the header (`eth`, below a tunnel, may follow `ip`),
    /// the header counts as above only if that way is the longer one, or if Ethernet frames reach it no later.
    pub(crate) fn above(&self, chain: &[ProtocolId]) -> Vec<Above> {
        let mut found: Vec<Above> = Vec::new();
        let mut offset = 0;
        for (i, &target) in chain.iter().enumerate().rev() {
            let outer = i.checked_sub(1).and_then(|i| chain.get(i)).copied();
            let segment = self.segment(target, outer);
            let far = segment.iter().map(|a| a.distance).max().unwrap_or(0);
            for a in segment {
                if !found.iter().any(|f| f.protocol == a.protocol) {
                    found.push(Above { distance: a.distance + offset, ..a });
                }
            }
            offset += far + 1;
        }
        found
    }

    /// The headers between `outer` (or the start of the packet) and the first `target` below it.
    fn segment(&self, target: ProtocolId, outer: Option<ProtocolId>) -> Vec<Above> {
        let goal = self.group(target);
        let outside = |p: ProtocolId| !goal.contains(&p);
        let from: Vec<ProtocolId> = match outer {
            Some(o) => self.group(o).to_vec(),
            None => self.starts.iter().copied().filter(|&s| outside(s)).collect(),
        };
        let from_start = self.steps(&from, &self.down, outside);
        // Without link types (a user's own record protocol) every way counts.
        let reachable =
            |p: ProtocolId| self.starts.is_empty() || from_start[p.0 as usize].is_some();
        let up = self.steps(goal, &self.up, |p| outside(p) && reachable(p));
        let down = self.below(target);
        let depth = self.steps(&self.frames, &self.down, |_| true);
        let own_depth = goal.iter().filter_map(|g| depth[g.0 as usize]).min();
        let mut above: Vec<Above> = (0..up.len())
            .filter_map(|i| {
                let p = ProtocolId(i as u32);
                let distance = up[i].filter(|&d| d > 0)?;
                let nearer_below = down[i].is_some_and(|d| d <= distance) && depth[i] > own_depth;
                let is_outer = outer.is_some_and(|o| self.counts_as(p, o));
                (!nearer_below && !is_outer).then_some(Above { protocol: p, distance })
            })
            .collect();
        above.sort_by_key(|a| (a.distance, a.protocol));
        above
    }

    /// The headers of `group` that can be the nearest of their kind above `target`.
    pub(crate) fn nearest_of(&self, target: ProtocolId, carrier: ProtocolId) -> Vec<ProtocolId> {
        let stop = self.group(carrier);
        let mut seen = vec![false; self.up.len()];
        let mut queue: VecDeque<ProtocolId> = self.group(target).iter().copied().collect();
        let mut found = Vec::new();
        while let Some(at) = queue.pop_front() {
            for &next in &self.up[at.0 as usize] {
                if std::mem::replace(&mut seen[next.0 as usize], true) {
                    continue;
                }
                if stop.contains(&next) {
                    found.push(next);
                } else {
                    queue.push_back(next);
                }
            }
        }
        found.sort();
        found
    }
}
