//! The filter of a packet socket, in classic BPF: how much of a packet is kept, and which copies are not wanted.
//!
//! What the queries ask for is not put here: packets that the kernel filters are in no ledger, and a window would not see them pass.

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
/// wanted.
pub(super) fn keep(snap_bytes: u32, loopback: Option<u32>) -> Vec<sock_filter> {
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
    program.push(insn(RETURN, snap_bytes));
    program
}

/// Lets nothing in.
pub(super) fn nothing() -> Vec<sock_filter> {
    vec![insn(RETURN, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_return_that_keeps() {
        let program = keep(96, Some(1));
        for (at, insn) in program.iter().enumerate().filter(|(_, i)| i.code == JUMP_EQ) {
            let target = &program[at + 1 + usize::from(insn.jf)];
            assert_eq!((target.code, target.k), (RETURN, 96));
        }
        assert_eq!(keep(96, None).len(), 1);
    }
}
