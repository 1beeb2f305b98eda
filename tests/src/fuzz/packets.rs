//! The header walk and the interpreter over packets of any bytes, as every link type that starts a path.

use std::sync::OnceLock;

use wt_plan::Compiled;

use crate::answers::{Answers, Ending, batch_text, run_bytes};
use crate::run::Setup;

/// Link types that begin a header path, and one that none begins.
const LINK_TYPES: [u16; 15] = [1, 1, 1, 101, 12, 0, 108, 113, 276, 9, 50, 51, 127, 105, 147];

/// One query per protocol with every field in its scope would be the whole catalog; these read each kind of place.
const QUERIES: [(&str, &str); 9] = [
    ("packets", "SELECT count(*) AS n, sum(len) AS bytes FROM packet"),
    ("frames", "SELECT eth_src, eth_dst, eth_type FROM eth"),
    (
        "addresses",
        "SELECT IPVersion, srcIP, destIP, protocol, ttl, tos, ip_len, ip_payload_len, fragment, frag_offset, hdr_len FROM ip",
    ),
    (
        "segments",
        "SELECT srcPort, destPort, seq, ack, flags, syn, ack_flag, window, tcp_hdr_len, data_len, data FROM tcp",
    ),
    ("options", "SELECT mss, wscale, sack_ok, tsval, tsecr FROM tcp"),
    ("datagrams", "SELECT srcPort, destPort, udp_len, udp_checksum, data_len, data FROM udp"),
    ("inner", "SELECT vxlan.ip.srcIP AS a FROM vxlan.ip"),
    ("checked", "SELECT ip_id, df, mf, offset, ip_checksum_ok, ip_options FROM ipv4"),
    (
        "filtered",
        "SELECT len FROM packet WHERE pcap_filter('vlan and ip6 or tcp[tcpflags] & tcp-syn != 0')",
    ),
];

fn compiled() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let text = batch_text(QUERIES);
        Setup::default().compile(super::catalog(), &text, true).unwrap_or_else(|e| panic!("{e}"))
    })
}

pub(super) fn run(data: &[u8]) -> bool {
    let Some((first, packet)) = data.split_first() else { return false };
    let link_type = LINK_TYPES[usize::from(*first) % LINK_TYPES.len()];
    let answers = walk(compiled(), link_type, packet);
    assert_eq!(answers.numbers("packets"), [1, packet.len() as u64]);
    assert!(answers.rows("frames").len() <= 1 && answers.rows("segments").len() <= 1);
    // What has the inner protocol has the outer one.
    assert!(answers.rows("options").len() <= answers.rows("segments").len());
    assert!(answers.rows("inner").len() <= answers.rows("datagrams").len());
    !answers.rows("addresses").is_empty()
}

/// Runs a plan over one packet; the books must balance.
pub(super) fn walk(compiled: &Compiled, link_type: u16, packet: &[u8]) -> Answers {
    let bytes = super::capture_of(link_type, packet.len() as u32, packet);
    match run_bytes(&compiled.physical, "packet", bytes) {
        Ending::Answered(answers) => {
            answers.report.ledger.check().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(answers.report.ledger.records(), 1);
            *answers
        }
        Ending::NoCapture(error) => panic!("{error}"),
        Ending::Refused(error) => panic!("{error}"),
    }
}
