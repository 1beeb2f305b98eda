//! The header paths that packets at the start of a capture take: most of the others take the same ones.

use std::collections::HashMap;

use wt_catalog::{ProtocolId, Value};
use wt_plan::ir::LftaProgram;

use super::walk::PathsWanted;
use crate::interp::walk::HeaderWalk;
use crate::packet::PacketBatch;

/// Packets looked at: walking them takes less time than compiling for one more protocol.
const PACKETS_MAX: usize = 512;
/// A path that one packet in so many takes is worth code of its own.
const SHARE: usize = 100;

impl PathsWanted {
    /// Code for the nearest ways, and for the paths that packets of a batch take.
    pub fn seen_in(program: &LftaProgram, params: &[Value], batch: &PacketBatch<'_>) -> Self {
        let Ok(mut walk) = HeaderWalk::new(&program.parse, params) else { return Self::Likely };
        let mut counts: HashMap<Vec<ProtocolId>, usize> = HashMap::new();
        let mut path = Vec::new();
        let records = &batch.records[..batch.records.len().min(PACKETS_MAX)];
        for record in records {
            walk.walk(&batch.packet(record), &mut path);
            *counts.entry(path.iter().map(|header| header.protocol).collect()).or_default() += 1;
        }
        let mut paths: Vec<_> =
            counts.into_iter().filter(|(_, count)| count * SHARE >= records.len()).collect();
        paths.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        Self::Seen(paths.into_iter().map(|(path, _)| path).collect())
    }

    /// Code for what was seen elsewhere, too.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Seen(mut paths), Self::Seen(others)) => {
                for path in others {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
                Self::Seen(paths)
            }
            (paths, _) => paths,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_captures_begin_with_is_wanted_once() {
        let seen = |paths: &[&[u32]]| {
            let path = |path: &&[u32]| path.iter().map(|number| ProtocolId(*number)).collect();
            PathsWanted::Seen(paths.iter().map(path).collect())
        };
        let both = seen(&[&[1, 2], &[1, 3]]).and(seen(&[&[1, 3], &[1]]));
        assert_eq!(both, seen(&[&[1, 2], &[1, 3], &[1]]));
        assert_eq!(PathsWanted::Likely.and(both.clone()), PathsWanted::Likely);
        assert_eq!(both.clone().and(PathsWanted::Likely), both);
    }
}
