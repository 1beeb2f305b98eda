//! What a tcpdump expression asks for, as keys that summaries know. Only what is certain is given: everything else excludes no block.

use std::net::IpAddr;

use wt_trace::index::Key;

/// Words around an address or port that change nothing about what has to be in the packet.
const QUALIFIERS: [&str; 10] =
    ["src", "dst", "ip", "ip6", "tcp", "udp", "sctp", "host", "port", "vlan"];

/// Groups of keys, of each of which a packet that matches has at least one.
pub(super) fn of_expression(expression: &str) -> Vec<Vec<Key>> {
    let text = expression.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    // Alternatives, negations and arithmetic are not looked into.
    let is_plain = |word: &&str| {
        let is_operator = ["or", "not"].contains(word);
        !is_operator && word.chars().all(|c| c.is_ascii_alphanumeric() || ".:&".contains(c))
    };
    if !words.iter().all(is_plain) {
        return Vec::new();
    }
    let parts = words.split(|word| ["and", "&&"].contains(word));
    parts.filter_map(key_of).map(|key| vec![key]).collect()
}

/// The key of one primitive: `src host 192.0.2.1`, `tcp dst port 443`, `vlan 5`.
fn key_of(words: &[&str]) -> Option<Key> {
    let (value, qualifiers) = words.split_last()?;
    if !qualifiers.iter().all(|word| QUALIFIERS.contains(word)) {
        return None;
    }
    // The kind stands directly before the value, or is that of the primitive before, which says nothing here.
    match *qualifiers.last()? {
        "host" | "src" | "dst" => {
            let address: IpAddr = value.parse().ok()?;
            Some(Key::Address(address))
        }
        "port" => value.parse().ok().map(Key::Port),
        "vlan" => value.parse().ok().filter(|vlan| *vlan < 4096).map(Key::Vlan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_conjunctions_have_keys() {
        let address = Key::Address("192.0.2.7".parse().unwrap());
        for (text, expected) in [
            ("host 192.0.2.7", vec![vec![address]]),
            ("src host 192.0.2.7 and tcp dst port 443", vec![vec![address], vec![Key::Port(443)]]),
            ("tcp and dst 192.0.2.7 && port 80", vec![vec![address], vec![Key::Port(80)]]),
            ("vlan 5 and host 192.0.2.7", vec![vec![Key::Vlan(5)], vec![address]]),
            ("host 192.0.2.7 and 198.51.100.1", vec![vec![address]]),
            ("port http", vec![]),
            ("host example.org", vec![]),
            ("net 192.0.2.0/24", vec![]),
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
            assert_eq!(of_expression(text), Vec::<Vec<Key>>::new(), "{text}");
        }
    }
}
