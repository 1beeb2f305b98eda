//! The filter of a packet socket, in classic BPF: how much of a packet is kept, and which copies are not wanted.
//!
//! What queries ask for is not put here, only what a recorder leaves out: packets that the kernel filters are in no ledger, and a window would not see them pass.

use libc::sock_filter;

const LD_ABS_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where loads find what the kernel knows of a packet beside its bytes.
const ANCILLARY: u32 = libc::SKF_AD_OFF as u32;

fn insn(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump_unless(k: u32, skip: u8) -> sock_filter {
    sock_filter { code: JUMP_EQ, jt: 0, jf: skip, k }
}

/// Keeps `snap_bytes` of each packet. On `loopback` a packet is seen twice, as it leaves and as it comes: the one that leaves is not
/// wanted. Nor is what a filter refuses, unless it came with a tag that it cannot see.
pub(super) fn keep(
    snap_bytes: u32,
    loopback: Option<u32>,
    wanted: Option<&[[u32; 4]]>,
) -> Vec<sock_filter> {
    let mut program = Vec::new();
    if let Some(ifindex) = loopback {
        program.extend([
            insn(LD_ABS_WORD, ANCILLARY.wrapping_add(libc::SKF_AD_PKTTYPE as u32)),
            jump_unless(u32::from(libc::PACKET_OUTGOING), 3),
            insn(LD_ABS_WORD, ANCILLARY.wrapping_add(libc::SKF_AD_IFINDEX as u32)),
            jump_unless(ifindex, 1),
            insn(RETURN, 0),
        ]);
    }
    let keep = insn(RETURN, snap_bytes);
    // What is too long for the kernel is judged by the receiver alone.
    match wanted.filter(|wanted| wanted.len() + program.len() + 3 <= INSNS_MAX) {
        None => program.push(keep),
        Some(wanted) => {
            let tag = ANCILLARY.wrapping_add(libc::SKF_AD_VLAN_TAG_PRESENT as u32);
            program.push(insn(LD_ABS_WORD, tag));
            program.push(sock_filter { code: JUMP_EQ, jt: 1, jf: 0, k: 0 });
            program.push(keep);
            program.extend(wanted.iter().map(|&[code, jt, jf, k]| match (code as u16, k) {
                (RETURN, 1..) => keep,
                (code, k) => sock_filter { code, jt: jt as u8, jf: jf as u8, k },
            }));
        }
    }
    program
}

/// Instructions that the kernel takes (BPF_MAXINSNS).
const INSNS_MAX: usize = 4096;

/// Lets nothing in.
pub(super) fn nothing() -> Vec<sock_filter> {
    vec![insn(RETURN, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_return_that_keeps() {
        let program = keep(96, Some(1), None);
        for (at, insn) in program.iter().enumerate().filter(|(_, i)| i.code == JUMP_EQ) {
            let target = &program[at + 1 + usize::from(insn.jf)];
            assert_eq!((target.code, target.k), (RETURN, 96));
        }
        assert_eq!(keep(96, None, None).len(), 1);
    }

    #[test]
    fn a_filter_decides_for_packets_without_a_tag() {
        let wanted = wt_plan::bpf::instructions("tcp port 80", 1).unwrap();
        let program = keep(96, None, Some(&wanted));
        assert_eq!(program.len(), wanted.len() + 3);
        // With a tag: kept. Without: on to the filter.
        assert_eq!((program[1].jt, program[1].jf, program[2].k), (1, 0, 96));
        let returns: Vec<u32> =
            program[3..].iter().filter(|i| i.code == RETURN).map(|i| i.k).collect();
        assert!(returns.contains(&96) && returns.iter().all(|k| [0, 96].contains(k)));
        let long = vec![[6, 0, 0, 0]; INSNS_MAX];
        assert_eq!(keep(96, None, Some(&long)).len(), 1);
    }
}
