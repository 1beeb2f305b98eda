//! What a tcpdump expression asks for, as far as summaries know. Only what is certain is given: everything else excludes no block.

use std::net::IpAddr;

use wt_trace::index::{Key, Wanted};

/// Words around an address or port that change nothing about what has to be in the packet.
const QUALIFIERS: [&str; 11] =
    ["src", "dst", "ip", "ip6", "tcp", "udp", "sctp", "host", "net", "port", "vlan"];

/// What is true of every packet that matches.
pub(super) fn of_expression(expression: &str) -> Vec<Wanted> {
    let text = expression.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    // Alternatives, negations and arithmetic are not looked into.
    let is_plain = |word: &&str| {
        let is_operator = ["or", "not"].contains(word);
        !is_operator && word.chars().all(|c| c.is_ascii_alphanumeric() || ".:&/".contains(c))
    };
    if !words.iter().all(is_plain) {
        return Vec::new();
    }
    let parts = words.split(|word| ["and", "&&"].contains(word));
    parts.filter_map(of_primitive).collect()
}

/// What one primitive asks for: `src host 192.0.2.1`, `net 192.0.2.0/24`, `tcp dst port 443`, `vlan 5`.
fn of_primitive(words: &[&str]) -> Option<Wanted> {
    let (value, qualifiers) = words.split_last()?;
    if !qualifiers.iter().all(|word| QUALIFIERS.contains(word)) {
        return None;
    }
    // The kind stands directly before the value, or is that of the primitive before, which says nothing here.
    match *qualifiers.last()? {
        "host" | "src" | "dst" => {
            let address: IpAddr = value.parse().ok()?;
            Some(Wanted::Has(Key::Address(address)))
        }
        "net" => {
            let (first, len) = value.split_once('/')?;
            let (first, len): (IpAddr, u8) = (first.parse().ok()?, len.parse().ok()?);
            // With bits behind the prefix libpcap refuses it.
            Some(Wanted::Network(first, len))
        }
        "port" => value.parse().ok().map(|port| Wanted::Has(Key::Port(port))),
        "vlan" => {
            let vlan = value.parse().ok().filter(|vlan| *vlan < 4096);
            vlan.map(|vlan| Wanted::Has(Key::Vlan(vlan)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_conjunctions_have_keys() {
        let address = Wanted::Has(Key::Address("192.0.2.7".parse().unwrap()));
        let port = |port| Wanted::Has(Key::Port(port));
        for (text, expected) in [
            ("host 192.0.2.7", vec![address.clone()]),
            ("src host 192.0.2.7 and tcp dst port 443", vec![address.clone(), port(443)]),
            ("tcp and dst 192.0.2.7 && port 80", vec![address.clone(), port(80)]),
            ("vlan 5 and host 192.0.2.7", vec![Wanted::Has(Key::Vlan(5)), address.clone()]),
            ("host 192.0.2.7 and 198.51.100.1", vec![address.clone()]),
            ("port http", vec![]),
            ("host example.org", vec![]),
            ("net 192.0.2.0/24", vec![Wanted::Network("192.0.2.0".parse().unwrap(), 24)]),
            ("src net 192.0.2", vec![]),
            ("portrange 1-5", vec![]),
            ("ether host 00:00:5e:00:53:01", vec![]),
        ] {
            assert_eq!(of_expression(text), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_has_none() {
        for text in [
            "host 192.0.2.7 or host 192.0.2.8",
            "not host 192.0.2.7",
            "!port 80",
            "(host 192.0.2.7)",
            "host 192.0.2.7 and tcp[13] & 2 != 0",
            "host 192.0.2.7 || port 80",
            "",
        ] {
            assert_eq!(of_expression(text), Vec::<Wanted>::new(), "{text}");
        }
    }
}
