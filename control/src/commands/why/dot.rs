//! A story as a graph for Graphviz.

use super::{Step, describe, values};

/// One node per event, an edge from each cause to its effect.
pub fn dot(steps: &[Step], asked: i64) -> String {
    let mut out =
        String::from("digraph why {\n  rankdir=TB; node [shape=box, fontname=\"sans-serif\"];\n");
    for step in steps {
        let mut label = escape(&describe(step));
        if let Some(values) = values(step) {
            label.push_str(&format!("\\n{}", escape(&values)));
        }
        let style = if step.id() == asked { ", penwidth=2" } else { "" };
        out.push_str(&format!("  e{} [label=\"{label}\"{style}];\n", step.id()));
        if let [.., cause, id] = step.path[..] {
            out.push_str(&format!("  e{cause} -> e{id};\n"));
        }
    }
    out.push_str("}\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_point_to_effects() {
        let text = dot(&super::super::tests::story(), 3);
        assert!(text.contains("e2 -> e3;") && text.contains("e1 -> e4;"), "{text}");
        assert!(text.contains("{\\\"rate\\\":9}"), "{text}");
        assert_eq!(text.matches("penwidth").count(), 1);
    }
}
