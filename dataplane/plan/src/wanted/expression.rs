//! What a tcpdump expression asks for, as far as an index can answer. What is not understood says nothing, so the condition is true of at least what the
//! expression matches. Whether libpcap takes an expression is not asked here; the grammar is that of pcap-filter(7).

use std::net::{IpAddr, Ipv4Addr};

use super::{Condition, Fact};

/// Parentheses within parentheses that are looked into.
const DEPTH_MAX: u32 = 32;
/// Ports of a range that are looked up one by one; a longer one says nothing.
const RANGE_PORTS_MAX: u16 = 32;

/// What must be true of packets that an expression matches.
#[must_use]
pub fn of_expression(text: &str) -> Condition {
    let Some(words) = words(text) else { return Condition::Any };
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    // Behind these libpcap looks for headers further on, also in packets that have failed the test: what it finds there is not in any header.
    let is_shifted = has(&["vlan", "mpls", "pppoed", "pppoes", "geneve", "vxlan"]);
    if is_shifted && has(&["or", "||", "not", "!"]) {
        return Condition::Any;
    }
    let mut parser = Parser { words: &words, at: 0, last: None };
    let condition = parser.expression(DEPTH_MAX);
    if parser.at == words.len() { condition } else { Condition::Any }
}

/// Splits a text into words and operators; nothing where it has characters of neither.
fn words(text: &str) -> Option<Vec<&str>> {
    const OPERATORS: [&str; 21] = [
        "&&", "||", "<<", ">>", "!=", "==", "<=", ">=", "(", ")", "[", "]", "!", "&", "|", "<",
        ">", "=", "+", "*", "/",
    ];
    let mut rest = text.trim_start();
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        let is_in_word = |c: char| c.is_ascii_alphanumeric() || "._:-\\".contains(c);
        let len = match is_in_word(first) {
            true => rest.find(|c: char| !is_in_word(c)).unwrap_or(rest.len()),
            false => OPERATORS.iter().find(|operator| rest.starts_with(**operator))?.len(),
        };
        let (word, behind) = rest.split_at(len);
        words.push(word);
        rest = behind.trim_start();
    }
    Some(words)
}

/// What the value of a primitive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    /// Of this protocol, if one was named.
    Port(Option<u8>),
    Ports(Option<u8>),
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    /// Of the last primitive: a value without a word for it is of the same kind.
    last: Option<Kind>,
}

fn is_and(word: &str) -> bool {
    ["and", "&&"].contains(&word)
}

fn is_or(word: &str) -> bool {
    ["or", "||"].contains(&word)
}

fn protocol_of(word: &str) -> Option<u8> {
    const PROTOCOLS: [(&str, u8); 6] =
        [("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1), ("icmp6", 58), ("igmp", 2)];
    PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, number)| *number)
}

fn has_protocol(number: u8) -> Condition {
    Condition::Has(Fact::Protocol(number))
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// Terms joined by `and` and `or`, which bind alike, from left to right.
    fn expression(&mut self, depth: u32) -> Condition {
        let mut condition = self.term(depth);
        while let Some(word) = self.peek() {
            if !is_and(word) && !is_or(word) {
                break;
            }
            self.at += 1;
            let term = self.term(depth);
            condition = match is_and(word) {
                true => Condition::all([condition, term]),
                false => Condition::one_of([condition, term]),
            };
        }
        condition
    }

    fn term(&mut self, depth: u32) -> Condition {
        match self.peek() {
            Some("not" | "!") => {
                self.at += 1;
                // What it asks for is what is not there.
                self.term(depth);
                Condition::Any
            }
            Some("(") => self.group(depth),
            _ => self.primitive(),
        }
    }

    /// An expression in parentheses; those of arithmetic say nothing.
    fn group(&mut self, depth: u32) -> Condition {
        let begin = self.at;
        if let Some(depth) = depth.checked_sub(1) {
            self.at += 1;
            let inner = self.expression(depth);
            let is_closed = self.peek() == Some(")");
            let behind = self.words.get(self.at + 1);
            if is_closed && behind.is_none_or(|word| is_and(word) || is_or(word) || *word == ")") {
                self.at += 1;
                return inner;
            }
        }
        self.at = begin;
        self.last = None;
        self.rest_of_primitive();
        Condition::Any
    }

    /// The words up to the next `and`, `or` or closing parenthesis of this level.
    fn rest_of_primitive(&mut self) -> &'a [&'a str] {
        let begin = self.at;
        let mut open = 0_u32;
        while let Some(word) = self.peek() {
            match word {
                "(" | "[" => open += 1,
                ")" | "]" if open == 0 => break,
                ")" | "]" => open -= 1,
                _ if open > 0 => {}
                "or" | "and" if self.is_direction() => {}
                word if is_and(word) || is_or(word) => break,
                _ => {}
            }
            self.at += 1;
        }
        &self.words[begin..self.at]
    }

    /// Whether the `or` or `and` at hand is that of `src or dst`.
    fn is_direction(&self) -> bool {
        let is_end = |word: Option<&&str>| word.is_some_and(|word| ["src", "dst"].contains(word));
        let before = self.at.checked_sub(1).and_then(|at| self.words.get(at));
        is_end(before) && is_end(self.words.get(self.at + 1))
    }

    fn primitive(&mut self) -> Condition {
        let words = self.rest_of_primitive();
        let (kind, condition) = of_primitive(words, self.last);
        self.last = kind;
        condition
    }
}

/// What one primitive asks for (`src host 192.0.2.1`, `tcp dst port 443`, `vlan 5`), and of what kind its value is.
fn of_primitive(words: &[&str], last: Option<Kind>) -> (Option<Kind>, Condition) {
    const NOTHING: (Option<Kind>, Condition) = (None, Condition::Any);
    let mut rest = words;
    let mut take = |known: &[&str]| {
        let (first, behind) = rest.split_first()?;
        known.contains(first).then(|| {
            rest = behind;
            *first
        })
    };
    let qualifier =
        take(&["ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "vlan"]);
    let mut has_direction = false;
    while take(&["src", "dst"]).is_some() {
        has_direction = true;
        take(&["or", "and"]);
    }
    let kind = take(&["host", "net", "port", "portrange", "proto"]);
    if let (None, None, false) = (qualifier, kind, has_direction) {
        // A value alone is what the one before was.
        return last.map_or(NOTHING, |kind| (Some(kind), of_value(kind, rest)));
    }
    let number = qualifier.and_then(protocol_of);
    let is_ip = matches!(qualifier, None | Some("ip" | "ip6"));
    let kind = match (kind, has_direction) {
        (Some("host"), _) if is_ip || matches!(qualifier, Some("arp" | "rarp")) => Kind::Host,
        (Some("net"), _) if is_ip || matches!(qualifier, Some("arp" | "rarp")) => Kind::Net,
        (Some("port"), _) if qualifier.is_none() || number.is_some() => Kind::Port(number),
        (Some("portrange"), _) if qualifier.is_none() || number.is_some() => Kind::Ports(number),
        (Some("proto"), false) if is_ip => {
            let [number] = rest else { return NOTHING };
            return (None, number.parse().map_or(Condition::Any, has_protocol));
        }
        // A network has a length, or a mask.
        (None, true) if is_ip && rest.len() == 1 => Kind::Host,
        (None, true) if is_ip => Kind::Net,
        (None, false) if rest.is_empty() => {
            return (None, number.map_or(Condition::Any, has_protocol));
        }
        (None, false) if qualifier == Some("vlan") => {
            let [vlan] = rest else { return NOTHING };
            let vlan = vlan.parse().ok().filter(|vlan| *vlan < 4096);
            let has = vlan.map_or(Condition::Any, |vlan| Condition::Has(Fact::Vlan(vlan)));
            return (None, has);
        }
        _ => return NOTHING,
    };
    (Some(kind), of_value(kind, rest))
}

/// What a value of a kind asks for.
fn of_value(kind: Kind, words: &[&str]) -> Condition {
    let with = |protocol: Option<u8>, ports: Condition| {
        Condition::all(protocol.map(has_protocol).into_iter().chain([ports]))
    };
    let port = |number: u16| Condition::Has(Fact::Port(number));
    match (kind, words) {
        (Kind::Host, [address]) => {
            let address = address.parse().ok();
            address.map_or(Condition::Any, |address| Condition::Has(Fact::Address(address)))
        }
        (Kind::Net, words) => network(words).unwrap_or(Condition::Any),
        (Kind::Port(protocol), [number]) => {
            with(protocol, number.parse().map_or(Condition::Any, port))
        }
        (Kind::Ports(protocol), [range]) => with(protocol, ports(range).unwrap_or(Condition::Any)),
        _ => Condition::Any,
    }
}

/// `1024-1030`
fn ports(range: &str) -> Option<Condition> {
    let (first, last) = range.split_once('-')?;
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    // libpcap takes them in either order.
    let (first, last) = (first.min(last), first.max(last));
    let few = last - first < RANGE_PORTS_MAX;
    few.then(|| Condition::one_of((first..=last).map(|n| Condition::Has(Fact::Port(n)))))
}

/// `192.0.2.0/24`, `192.0.2.0 mask 255.255.255.0`, `192.0.2`, `2001:db8::/32`
fn network(words: &[&str]) -> Option<Condition> {
    let (first, len): (IpAddr, u8) = match words {
        [first] if first.contains(':') => (first.parse().ok()?, 128),
        [first] => {
            let octets: Option<Vec<u8>> = first.split('.').map(|part| part.parse().ok()).collect();
            let octets = octets.filter(|octets| octets.len() <= 4 && octets[0] > 0)?;
            let mut all = [0; 4];
            all[..octets.len()].copy_from_slice(&octets);
            (IpAddr::from(all), 8 * octets.len() as u8)
        }
        [first, "/", len] => (first.parse().ok()?, len.parse().ok()?),
        [first, "mask", mask] => {
            let mask = u32::from(mask.parse::<Ipv4Addr>().ok()?);
            let len = mask.leading_ones();
            if mask.checked_shl(len).unwrap_or(0) != 0 {
                return None;
            }
            (IpAddr::V4(first.parse().ok()?), len as u8)
        }
        _ => return None,
    };
    let bits = if first.is_ipv4() { 32 } else { 128 };
    match len {
        len if len > bits => None,
        len if len == bits => Some(Condition::Has(Fact::Address(first))),
        // With bits behind the prefix libpcap refuses it.
        len => Some(Condition::Has(Fact::Network(first, len))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(condition: &Condition) -> String {
        let join = |parts: &[Condition], by: &str| {
            format!("({})", parts.iter().map(shown).collect::<Vec<_>>().join(by))
        };
        match condition {
            Condition::Any => "any".to_owned(),
            Condition::Has(fact) => fact.to_string(),
            Condition::All(parts) => join(parts, " & "),
            Condition::OneOf(parts) => join(parts, " | "),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_is_certain_is_given() {
        for (text, expected) in [
            ("host 192.0.2.7", "host 192.0.2.7"),
            ("src host 192.0.2.7 and tcp dst port 443", "(host 192.0.2.7 & proto 6 & port 443)"),
            ("tcp and dst 192.0.2.7 && port 80", "(proto 6 & host 192.0.2.7 & port 80)"),
            ("vlan 5 and host 192.0.2.7", "(vlan 5 & host 192.0.2.7)"),
            ("host 192.0.2.7 or 192.0.2.8", "(host 192.0.2.7 | host 192.0.2.8)"),
            ("port 80 or 443 or udp port 53", "(port 80 | port 443 | (proto 17 & port 53))"),
            (
                "(tcp port 80 or 443) and host ::1",
                "(((proto 6 & port 80) | (proto 6 & port 443)) & host ::1)",
            ),
            // Both bind alike.
            ("port 1 or port 2 and port 3", "((port 1 | port 2) & port 3)"),
            ("port 1 or (port 2 and port 3)", "(port 1 | (port 2 & port 3))"),
            ("src or dst port 7", "port 7"),
            ("src and dst host 192.0.2.7", "host 192.0.2.7"),
            ("net 192.0.2.0/24", "net 192.0.2.0/24"),
            ("src net 192.0.2 and not port 22", "net 192.0.2.0/24"),
            ("net 192.0.2.0 mask 255.255.255.128", "net 192.0.2.0/25"),
            ("dst 192.0.2.0/30", "net 192.0.2.0/30"),
            ("net 10", "net 10.0.0.0/8"),
            ("ip6 net 2001:db8::/120", "net 2001:db8::/120"),
            ("portrange 5-7", "(port 5 | port 6 | port 7)"),
            ("udp portrange 9-8", "(proto 17 & (port 8 | port 9))"),
            ("ip proto 89", "proto 89"),
            ("arp host 192.0.2.7", "host 192.0.2.7"),
            ("host 192.0.2.7 and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "host 192.0.2.7"),
            ("(tcp[12] & 0xf0) >> 2 > 20 and port 80", "port 80"),
            ("((host 192.0.2.7)) and (len > 5)", "host 192.0.2.7"),
            ("len >= 5 && len <= 9 && icmp", "proto 1"),
        ] {
            assert_eq!(shown(&of_expression(text)), expected, "{text}");
        }
    }

    #[test]
    fn all_else_says_nothing() {
        for text in [
            "",
            "ip",
            "not host 192.0.2.7",
            "!port 80",
            "not (host 192.0.2.7 or host 192.0.2.8)",
            "host 192.0.2.7 or len > 5",
            "host 192.0.2.7 or not port 80",
            "port http",
            "host example.org",
            "host example.org or 192.0.2.7",
            "portrange 1-65535",
            "ether host 00:00:5e:00:53:01",
            "ether proto 6",
            "192.0.2.7",
            "vlan",
            "net 192.0.2.0 mask 255.0.255.0",
            "icmp[0] = 8 or port 80",
            "host 192.0.2.7 ; port 80",
            "(host 192.0.2.7",
            "host 192.0.2.7) or port 80",
            // Of a packet without a tag these look at other bytes than those of the address.
            "not vlan and host 192.0.2.7",
            "vlan 5 or host 192.0.2.7",
        ] {
            let condition = of_expression(text);
            assert!(condition == Condition::Any, "{text}: {}", shown(&condition));
        }
        // A name may be any port, but it is one of TCP; a value behind it is one, too.
        assert_eq!(shown(&of_expression("tcp port http or 80")), "(proto 6 | (proto 6 & port 80))");
    }
}
