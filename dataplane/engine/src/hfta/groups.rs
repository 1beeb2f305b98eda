//! The groups of a window: over values, or over words once compiled code takes tuples in.

use std::borrow::Cow;

use wt_catalog::Value;

use super::grouping::{Body, Results};
use super::share::Share;
use crate::compiled::{Regroup, WordTable};
use crate::hash_index::HashIndex;

/// The groups of a window.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) values: ValueGroups,
    /// All groups, where they are held as words.
    pub(super) words: Option<WordTable>,
    pub(super) share: Share,
    /// What is charged for counting the share.
    pub(super) share_bytes: u64,
}

/// Groups over values.
#[derive(Default)]
pub(super) struct ValueGroups {
    index: HashIndex,
    /// In order of creation.
    groups: Vec<Group>,
}

pub(super) struct Group {
    hash: u64,
    pattern: u32,
    /// Of the first packet.
    pub(super) ordinal: u64,
    pub(super) body: Body,
}

impl Groups {
    /// Its groups as words from now on.
    pub(super) fn as_words(&mut self, regroup: &Regroup, results: &Results) -> &mut WordTable {
        let Groups { values, words, .. } = self;
        words.get_or_insert_with(|| {
            let mut table = regroup.table();
            for Group { ordinal, body, .. } in std::mem::take(values).groups {
                regroup.take_group(&mut table, ordinal, &body.keys, results.of_body(&body));
            }
            table
        })
    }
}

impl ValueGroups {
    /// The group of a key in a pattern, and whether it is new.
    pub(super) fn group(
        &mut self,
        (hash, keys): (u64, Cow<'_, [Value]>),
        pattern: usize,
        ordinal: u64,
        results: &Results,
    ) -> (&mut Group, bool) {
        let ValueGroups { index, groups } = self;
        let pattern = pattern as u32;
        let same = |number: usize| {
            let group: &Group = &groups[number];
            group.hash == hash && group.pattern == pattern && *group.body.keys == *keys
        };
        let (at, is_new) = match index.find(hash, same) {
            Ok(at) => (at, false),
            Err(place) => {
                let at = groups.len();
                groups.push(Group { hash, pattern, ordinal, body: results.body(&keys) });
                index.insert(place, hash, at, groups.len());
                (at, true)
            }
        };
        let group = &mut groups[at];
        group.ordinal = group.ordinal.min(ordinal);
        (group, is_new)
    }

    /// In the order of their first packet, then of patterns, then of creation.
    pub(super) fn in_order(mut self) -> Vec<Group> {
        // Stable: groups of one packet and pattern stay in order of creation.
        self.groups.sort_by_key(|group| (group.ordinal, group.pattern));
        self.groups
    }
}
