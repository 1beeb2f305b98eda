//! A story as a tree: causes above, effects below, the event asked for marked.

use super::{Step, describe, values};

/// The tree, with a line of values below each event that has some.
pub fn tree(steps: &[Step], asked: i64) -> String {
    let mut out = String::new();
    for (index, step) in steps.iter().enumerate() {
        let mut rail = String::new();
        for depth in 1..step.depth {
            rail.push_str(if has_sibling(steps, index, depth) { "│  " } else { "   " });
        }
        let (branch, below) = match step.depth {
            0 => ("", ""),
            depth if has_sibling(steps, index, depth) => ("├─ ", "│  "),
            _ => ("└─ ", "   "),
        };
        let mark = if step.id() == asked { "  ◀" } else { "" };
        out.push_str(&format!(
            "{rail}{branch}{}  ({}){mark}\n",
            describe(step),
            who_and_when(step)
        ));
        if let Some(values) = values(step) {
            let child = steps.get(index + 1).is_some_and(|next| next.depth > step.depth);
            let stem = if child { "│ " } else { "  " };
            out.push_str(&format!("{rail}{below}{stem}{values}\n"));
        }
    }
    out
}

fn who_and_when(step: &Step) -> String {
    let (actor, login) = (step.text("actor"), step.text("login"));
    let who = if login.is_empty() || login == actor {
        actor.to_owned()
    } else {
        format!("{actor} as {login}")
    };
    let at = step.text("at");
    let time = at.split(['+', 'Z']).next().unwrap_or(at).replace('T', " ");
    format!("{who}, {time}")
}

/// Whether the ancestor at a depth of a step, or the step itself, has a later sibling.
fn has_sibling(steps: &[Step], index: usize, depth: usize) -> bool {
    let ancestor = &steps[index].path[..=depth];
    steps[index + 1..].iter().any(|s| {
        s.depth == depth && s.path[..depth] == ancestor[..depth] && s.path[depth] != ancestor[depth]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_drawn() {
        let text = tree(&super::super::tests::story(), 3);
        assert_eq!(
            text,
            "batch result.flood [edge,1,2] 3 rows  (edge, 2026-11-26 12:00:00.5)\n\
             ├─ trigger hot on result.flood → lab.block version 2  (edge, 2026-11-26 12:00:00.5)\n\
             │  │ [{\"rate\":9}]\n\
             │  └─ update net.pods [a]  (ada as web, x)  ◀\n\
             │       b 2 → 3\n\
             └─ delete net.pods [1; 2; 3; … 1 more] 4 rows (its cause was forged and has been dropped)  (ada, x)\n"
        );
    }
}
