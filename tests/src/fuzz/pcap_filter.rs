//! tcpdump expressions: what libpcap compiles runs here exactly as its own code does.

use wt_plan::bpf;

use super::bpf::accepts;
use crate::run::Setup;

/// Link types whose code differs.
const LINK_TYPES: [u16; 8] = [1, 101, 0, 113, 276, 9, 108, 147];

/// libpcap itself is not made for longer ones.
const FILTER_BYTES_MAX: usize = 200;

/// The input is a filter, a zero byte, a byte that chooses the link type, and a packet.
pub(super) fn run(data: &[u8]) -> bool {
    let (filter, rest) = super::split(data);
    let Some((first, packet)) = rest.split_first() else { return false };
    // Names would be looked up on this machine's network; a query says what it means.
    let plain = filter.len() <= FILTER_BYTES_MAX && !filter.contains(['\'', '\n', '\r']);
    if !plain || !words_are_known(&filter) {
        return false;
    }
    let link_type = LINK_TYPES[usize::from(*first) % LINK_TYPES.len()];
    let text =
        format!("DEFINE {{ query_name q; }} SELECT len FROM packet WHERE pcap_filter('{filter}')");
    let ours = match Setup::default().compile(super::catalog(), &text, true) {
        Ok(compiled) => super::packets::walk(&compiled, link_type, packet).rows("q").len(),
        Err(rendered) => {
            assert!(bpf::check_pcap_filter(&filter).is_err(), "{rendered}");
            return false;
        }
    };
    // A filter that does not fit the link type matches nothing there.
    let theirs = bpf::compile(&filter, link_type)
        .is_ok_and(|program| accepts(&program, packet, packet.len() as u32));
    assert_eq!(ours, usize::from(theirs), "`{filter}` on link type {link_type}");
    true
}

/// Letters stand only in words that libpcap knows, so that nothing is taken for a host to look up.
fn words_are_known(filter: &str) -> bool {
    const WORDS: &str = "and or not ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp ah esp host net port portrange src dst \
        proto vlan mpls pppoes pppoed geneve ether broadcast multicast less greater len mask tcpflags syn ack fin rst \
        push urg icmptype icmpcode echo echoreply unreach x llc stp link inbound outbound";
    let known: Vec<&str> = WORDS.split_whitespace().collect();
    filter
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != ':')
        .filter(|word| !word.is_empty())
        .all(|word| known.contains(&word) || word.starts_with(|c: char| c.is_ascii_digit()))
}
