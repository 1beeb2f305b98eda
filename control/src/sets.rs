//! Interface sets: `NAME=eth0,eth1`, or `NAME: Equals[Site,lab] AND NOT Exists[Test]` over interface properties (gsql.md §8).

use wt_lang::Ident;
use wt_lang::ast_decl::InterfacePred;
use wt_plan::InterfaceInfo;

use crate::failure::Failure;
use crate::session::render;

/// Resolves set definitions to indexes of interfaces.
pub fn interface_sets(
    definitions: &[String],
    interfaces: &[InterfaceInfo],
) -> Result<Vec<(String, Vec<usize>)>, Failure> {
    let mut sets = Vec::new();
    for definition in definitions {
        match definition.split_once('=') {
            Some((name, members)) if !name.contains([':', '[']) => {
                sets.push((name.trim().to_owned(), listed(name, members, interfaces)?));
            }
            _ => sets.extend(by_predicate(definition, interfaces)?),
        }
    }
    Ok(sets)
}

fn listed(name: &str, members: &str, interfaces: &[InterfaceInfo]) -> Result<Vec<usize>, Failure> {
    let index = |member: &str| {
        let member = member.trim();
        interfaces.iter().position(|i| i.name == member).ok_or_else(|| {
            let known: Vec<_> = interfaces.iter().map(|i| i.name.as_str()).collect();
            Failure::Input(format!(
                "set `{name}` names the interface `{member}`, which is none of: {}",
                known.join(", ")
            ))
        })
    };
    members.split(',').map(index).collect()
}

fn by_predicate(
    text: &str,
    interfaces: &[InterfaceInfo],
) -> Result<Vec<(String, Vec<usize>)>, Failure> {
    let parsed = wt_lang::parse_interface_sets(text);
    let Some(tree) = parsed.tree else {
        let help = "  help: write NAME=eth0,eth1 or NAME: Equals[Property,value]\n";
        return Err(Failure::Query(render(&parsed.diagnostics, "--set", text) + help));
    };
    let members = |predicate: &InterfacePred| {
        (0..interfaces.len()).filter(|&i| holds(predicate, &interfaces[i])).collect()
    };
    Ok(tree.sets.iter().map(|set| (set.name.text.clone(), members(&set.predicate))).collect())
}

fn holds(predicate: &InterfacePred, interface: &InterfaceInfo) -> bool {
    let values = |property: &Ident| -> Vec<&str> {
        let named = |(name, _): &&(String, String)| *name == property.text;
        interface.properties.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    };
    match predicate {
        InterfacePred::And(a, b) => holds(a, interface) && holds(b, interface),
        InterfacePred::Or(a, b) => holds(a, interface) || holds(b, interface),
        InterfacePred::Not(a) => !holds(a, interface),
        InterfacePred::Contains { property, value } => {
            values(property).contains(&value.text.as_str())
        }
        InterfacePred::Equals { property, value } => values(property) == [value.text.as_str()],
        InterfacePred::Exists { property } => !values(property).is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces() -> Vec<InterfaceInfo> {
        let info = |name: &str, properties: &[(&str, &str)]| InterfaceInfo {
            name: name.to_owned(),
            properties: properties.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        };
        vec![
            info("eth0", &[("Site", "lab"), ("Tag", "a"), ("Tag", "b")]),
            info("eth1", &[("Site", "lab"), ("Test", "yes")]),
            info("eth2", &[("Site", "edge")]),
        ]
    }

    fn resolve(definition: &str) -> Vec<usize> {
        interface_sets(&[definition.to_owned()], &interfaces()).unwrap().remove(0).1
    }

    #[test]
    fn sets_are_lists_or_predicates() {
        assert_eq!(resolve("s=eth2,eth0"), [2, 0]);
        assert_eq!(resolve("s: Equals[Site,lab]"), [0, 1]);
        assert_eq!(resolve("s: Equals[Site,lab] AND NOT Exists[Test]"), [0]);
        assert_eq!(resolve("s: Contains[Tag,b] OR Equals[Site,edge]"), [0, 2]);
        assert_eq!(resolve("s: Equals[Tag,a]"), [] as [usize; 0]);
    }

    #[test]
    fn a_wrong_definition_says_how_to_write_one() {
        for (definition, expected) in
            [("s=eth7", "none of: eth0, eth1, eth2"), ("s: Equals[Site", "NAME=eth0,eth1")]
        {
            let message =
                interface_sets(&[definition.to_owned()], &interfaces()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
