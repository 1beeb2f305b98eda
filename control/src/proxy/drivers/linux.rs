//! Drives a Linux host: sets of nftables (`nft_set`) and routes (`route`), by `nft -j` and `ip -j`.
//!
//! A target is a network namespace of this host, or nothing for the proxy's own.
//!
//! | kind | name | body |
//! |---|---|---|
//! | `nft_set` | `FAMILY/TABLE/SET` | `{"type": "ipv4_addr", "elements": ["198.51.100.0/24", …]}`; table and set are made if need be, in one transaction with the elements |
//! | `route` | the destination's prefix | `{"via": ADDRESS, "dev": INTERFACE}`, one of them at least, or `{"type": "blackhole"}` (also `unreachable`, `prohibit`) |

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::applied::Applied;
use super::process::{self, Said};
use crate::proxy::driver::{Command, DeviceError, Done, Driver, Seen};

/// Most elements of a set.
const ELEMENTS_MAX: usize = 65_536;

/// Types of routes that lead nowhere.
const NOWHERE: [&str; 3] = ["blackhole", "unreachable", "prohibit"];

/// Speaks with the host's own tools.
pub struct Linux {
    folder: PathBuf,
}

impl Linux {
    /// Generations are kept in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

/// A word that may stand among a program's arguments: no option, no space, no braces.
fn word<'t>(what: &str, text: &'t str) -> Result<&'t str, DeviceError> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    match !text.is_empty()
        && !text.starts_with('-')
        && text.len() <= 100
        && text.chars().all(is_safe)
    {
        true => Ok(text),
        false => Err(DeviceError::never(format!("`{text}` is no {what}"))),
    }
}

/// Runs a tool in the target's namespace.
fn tool(
    target: &str,
    program: &str,
    arguments: &[&str],
    input: &str,
    timeout: Duration,
) -> Result<Said, DeviceError> {
    if target.is_empty() {
        return process::run(program, arguments, input, timeout);
    }
    let target = word("network namespace", target)?;
    if target.contains('/') {
        return Err(DeviceError::never(format!("`{target}` is no network namespace")));
    }
    let inside = ["netns", "exec", target, program];
    process::run("ip", &[&inside[..], arguments].concat(), input, timeout)
}

/// What a tool refuses: what it does not understand it never will; the rest may change.
fn refused(program: &str, said: &Said) -> DeviceError {
    let why = format!("{program}: {}", said.stderr);
    let never = [
        "syntax error",
        "Could not parse",
        "is expected",
        "Invalid argument",
        "Error: any valid prefix",
    ];
    match never.iter().any(|text| said.stderr.contains(text)) {
        true => DeviceError::never(why),
        false => DeviceError::later(why),
    }
}

/// Whether a tool says that something is not there.
fn is_missing(said: &Said) -> bool {
    ["No such file or directory", "No such process", "does not exist"]
        .iter()
        .any(|text| said.stderr.contains(text))
}

/// Family, table and set of a name.
fn set_name(name: &str) -> Result<[&str; 3], DeviceError> {
    let parts: Vec<&str> = name.split('/').collect();
    let [family, table, set] = parts[..] else {
        return Err(DeviceError::never(format!("`{name}` is no set: write FAMILY/TABLE/SET")));
    };
    if !["inet", "ip", "ip6", "netdev", "bridge", "arp"].contains(&family) {
        return Err(DeviceError::never(format!("`{family}` is no family of nftables")));
    }
    Ok([family, word("table", table)?, word("set", set)?])
}

/// The elements of a body, as nft writes them.
fn elements(body: &Value) -> Result<(String, Vec<Value>), DeviceError> {
    let kind = body.get("type").and_then(Value::as_str).unwrap_or("ipv4_addr");
    let list = body.get("elements").and_then(Value::as_array);
    let list = list.filter(|list| list.len() <= ELEMENTS_MAX).ok_or_else(|| {
        DeviceError::never(format!("the body has no list `elements` of at most {ELEMENTS_MAX}"))
    })?;
    let element = |element: &Value| {
        let text = element.as_str().ok_or_else(|| DeviceError::never("an element is no text"))?;
        let text = word("element", text)?;
        Ok(match text.split_once('/') {
            Some((address, bits)) => {
                let bits: u8 = bits
                    .parse()
                    .map_err(|_| DeviceError::never(format!("`{text}` is no prefix")))?;
                json!({"prefix": {"addr": address, "len": bits}})
            }
            None => json!(text),
        })
    };
    let list: Result<Vec<Value>, DeviceError> = list.iter().map(element).collect();
    Ok((word("type", kind)?.to_owned(), list?))
}

fn apply_set(
    target: &str,
    name: &str,
    body: Option<&Value>,
    timeout: Duration,
) -> Result<(), DeviceError> {
    let [family, table, set] = set_name(name)?;
    let of_set = json!({"family": family, "table": table, "name": set});
    let commands = match body {
        Some(body) => {
            let (kind, elements) = elements(body)?;
            let mut with_type = of_set.clone();
            with_type["type"] = kind.into();
            with_type["flags"] = json!(["interval"]);
            with_type["auto-merge"] = true.into();
            let mut commands = vec![
                json!({"add": {"table": {"family": family, "name": table}}}),
                json!({"add": {"set": with_type}}),
                json!({"flush": {"set": of_set}}),
            ];
            if !elements.is_empty() {
                let all = json!({"family": family, "table": table, "name": set, "elem": elements});
                commands.push(json!({"add": {"element": all}}));
            }
            commands
        }
        None => vec![json!({"delete": {"set": of_set}})],
    };
    // All of it or nothing.
    let input = json!({"nftables": commands}).to_string();
    let said = tool(target, "nft", &["-j", "-f", "-"], &input, timeout)?;
    match said.is_ok || (body.is_none() && is_missing(&said)) {
        true => Ok(()),
        false => Err(refused("nft", &said)),
    }
}

fn observe_set(target: &str, name: &str, timeout: Duration) -> Result<Option<Value>, DeviceError> {
    let [family, table, set] = set_name(name)?;
    let arguments = ["-j", "list", "set", family, table, set];
    let said = tool(target, "nft", &arguments, "", timeout)?;
    if !said.is_ok {
        return if is_missing(&said) { Ok(None) } else { Err(refused("nft", &said)) };
    }
    let unreadable = || DeviceError::later("nft answers something else than a set");
    let answer: Value = serde_json::from_str(&said.stdout).map_err(|_| unreadable())?;
    let all = answer.get("nftables").and_then(Value::as_array).ok_or_else(unreadable)?;
    let set = all.iter().find_map(|object| object.get("set")).ok_or_else(unreadable)?;
    let mut elements: Vec<String> = set
        .get("elem")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|element| match element.get("prefix") {
            Some(prefix) => {
                Some(format!("{}/{}", prefix.get("addr")?.as_str()?, prefix.get("len")?))
            }
            None => match element.get("range").and_then(Value::as_array) {
                Some(range) => Some(format!("{}-{}", range[0].as_str()?, range.get(1)?.as_str()?)),
                None => element.as_str().map(str::to_owned),
            },
        })
        .collect();
    elements.sort();
    Ok(Some(json!({"type": set.get("type"), "elements": elements})))
}

/// The observation as it was asked for, if it is that but for the order of elements.
fn as_asked(observed: Option<Value>, asked: Option<&Value>) -> Option<Value> {
    let (Some(mut observed), Some(asked)) = (observed.clone(), asked) else { return observed };
    let sorted = |value: &Value| {
        let list = value.get("elements").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut list: Vec<String> =
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        list.sort();
        list
    };
    if sorted(&observed) == sorted(asked) {
        observed["elements"] = asked["elements"].clone();
    }
    Some(observed)
}

fn apply_route(
    target: &str,
    name: &str,
    body: Option<&Value>,
    timeout: Duration,
) -> Result<(), DeviceError> {
    let destination = word("destination", name)?;
    let Some(body) = body else {
        let said = tool(target, "ip", &["route", "del", destination], "", timeout)?;
        return match said.is_ok || is_missing(&said) {
            true => Ok(()),
            false => Err(refused("ip", &said)),
        };
    };
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let mut arguments = vec!["route", "replace"];
    match text("type") {
        Some(kind) if NOWHERE.contains(&kind) => arguments.extend([kind, destination]),
        Some(kind) => return Err(DeviceError::never(format!("`{kind}` is no type of route"))),
        None => {
            arguments.push(destination);
            for field in ["via", "dev"] {
                if let Some(value) = text(field) {
                    arguments.extend([field, word(field, value)?]);
                }
            }
            if arguments.len() == 3 {
                return Err(DeviceError::never("a route needs `via`, `dev` or `type`"));
            }
        }
    }
    let said = tool(target, "ip", &arguments, "", timeout)?;
    if said.is_ok { Ok(()) } else { Err(refused("ip", &said)) }
}

fn observe_route(
    target: &str,
    name: &str,
    timeout: Duration,
) -> Result<Option<Value>, DeviceError> {
    let destination = word("destination", name)?;
    let family = if destination.contains(':') { "-6" } else { "-4" };
    let arguments = ["-j", family, "route", "show", "exact", destination];
    let said = tool(target, "ip", &arguments, "", timeout)?;
    if !said.is_ok {
        return if is_missing(&said) { Ok(None) } else { Err(refused("ip", &said)) };
    }
    let all: Vec<Value> = match said.stdout.trim() {
        "" => Vec::new(),
        text => serde_json::from_str(text)
            .map_err(|_| DeviceError::later("ip answers something else than routes"))?,
    };
    let Some(route) = all.first() else { return Ok(None) };
    let mut observed = json!({});
    for (theirs, ours) in [("type", "type"), ("gateway", "via"), ("dev", "dev")] {
        // A route that leads nowhere is shown on a device of the kernel's.
        let is_wanted = ours == "type" || route.get("type").is_none_or(|kind| kind == "unicast");
        if let Some(value) = route.get(theirs).filter(|_| is_wanted) {
            observed[ours] = value.clone();
        }
    }
    Ok(Some(observed))
}

impl Driver for Linux {
    fn apply(&self, command: &Command, timeout: Duration) -> Result<Done, DeviceError> {
        let Command { target, kind, name, generation, body, .. } = command;
        let mut applied = Applied::lock(&self.folder, &device(target), timeout)?;
        let is_new = *generation > applied.of(kind, name);
        let observe = |asked: Option<&Value>| match kind.as_str() {
            "nft_set" => Ok(as_asked(observe_set(target, name, timeout)?, asked)),
            "route" => observe_route(target, name, timeout),
            other => Err(unknown(other)),
        };
        if is_new {
            // A proxy that died before it noted this has made it, perhaps.
            if !is_there(observe(body.as_ref())?.as_ref(), body.as_ref()) {
                match kind.as_str() {
                    "nft_set" => apply_set(target, name, body.as_ref(), timeout)?,
                    _ => apply_route(target, name, body.as_ref(), timeout)?,
                }
            }
            applied.note(command)?;
        }
        let observed = observe(applied.body(kind, name))?;
        Ok(Done { is_new, observed })
    }

    fn observe(
        &self,
        target: &str,
        kind: &str,
        name: &str,
        timeout: Duration,
    ) -> Result<Seen, DeviceError> {
        let applied = Applied::lock(&self.folder, &device(target), timeout)?;
        let observed = match kind {
            "nft_set" => as_asked(observe_set(target, name, timeout)?, applied.body(kind, name)),
            "route" => observe_route(target, name, timeout)?,
            other => return Err(unknown(other)),
        };
        let generation = applied.of(kind, name);
        Ok(Seen { kind: kind.to_owned(), name: name.to_owned(), generation, observed })
    }
}

/// Whether an object is as it should be; what is not asked for does not count.
fn is_there(observed: Option<&Value>, body: Option<&Value>) -> bool {
    match (observed, body) {
        (None, None) => true,
        (Some(observed), Some(Value::Object(body))) => {
            !body.is_empty() && body.iter().all(|(field, value)| observed.get(field) == Some(value))
        }
        _ => false,
    }
}

fn device(target: &str) -> String {
    format!("linux-{target}")
}

fn unknown(kind: &str) -> DeviceError {
    DeviceError::never(format!("a Linux host has no `{kind}`; it has nft_set and route"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_be_an_option_reaches_a_tool() {
        for text in ["-j", "", "a b", "a;b", "{x}", "$(x)", "x\n"] {
            assert!(word("element", text).is_err(), "{text}");
        }
        assert!(tool("../x", "true", &[], "", Duration::from_secs(1)).is_err());
        for name in ["inet/filter", "inet/filter/a/b", "x/filter/a", "inet/-f/a", "inet//a"] {
            assert!(matches!(set_name(name), Err(DeviceError::Never { .. })), "{name}");
        }
        assert!(elements(&json!({"elements": ["1.2.3.4; flush ruleset"]})).is_err());
        assert!(elements(&json!({"elements": "all"})).is_err());
        let (kind, list) = elements(&json!({"elements": ["10.0.0.0/8", "10.1.2.3"]})).unwrap();
        assert_eq!(kind, "ipv4_addr");
        assert_eq!(list, [json!({"prefix": {"addr": "10.0.0.0", "len": 8}}), json!("10.1.2.3")]);
    }

    #[test]
    fn what_is_as_wanted_is_left_alone() {
        let route = json!({"via": "10.0.0.1", "dev": "eth0"});
        let wanted = [json!({"via": "10.0.0.1"}), route.clone()];
        assert!(wanted.iter().all(|body| is_there(Some(&route), Some(body))));
        for body in [json!({"via": "10.0.0.2"}), json!({"type": "blackhole"}), json!({}), json!(1)]
        {
            assert!(!is_there(Some(&route), Some(&body)), "{body}");
        }
        assert!(is_there(None, None) && !is_there(Some(&route), None));
        assert!(!is_there(None, Some(&route)));
    }

    #[test]
    fn elements_in_another_order_are_no_drift() {
        let observed = json!({"type": "ipv4_addr", "elements": ["10.0.0.1", "10.0.0.2"]});
        let asked = json!({"type": "ipv4_addr", "elements": ["10.0.0.2", "10.0.0.1"]});
        assert_eq!(as_asked(Some(observed.clone()), Some(&asked)), Some(asked));
        let other = json!({"elements": ["10.0.0.3"]});
        assert_eq!(as_asked(Some(observed.clone()), Some(&other)), Some(observed));
    }
}
