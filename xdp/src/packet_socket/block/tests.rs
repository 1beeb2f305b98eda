use super::*;

const MAC_AT: usize = 128;

/// A block of one packet of these bytes, its tag beside it.
fn block(packet: &[u8], status: u32) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let first = 48_usize;
    put(NUM_PACKETS_AT, &1_u32.to_ne_bytes());
    put(FIRST_AT, &(first as u32).to_ne_bytes());
    put(first + offset_of!(tpacket3_hdr, tp_sec), &7_u32.to_ne_bytes());
    put(first + offset_of!(tpacket3_hdr, tp_nsec), &9_u32.to_ne_bytes());
    put(first + offset_of!(tpacket3_hdr, tp_snaplen), &(packet.len() as u32).to_ne_bytes());
    put(first + offset_of!(tpacket3_hdr, tp_len), &100_u32.to_ne_bytes());
    put(first + offset_of!(tpacket3_hdr, tp_status), &status.to_ne_bytes());
    put(first + offset_of!(tpacket3_hdr, tp_mac), &(MAC_AT as u16).to_ne_bytes());
    let variant = first + offset_of!(tpacket3_hdr, hv1);
    put(variant + 4, &0x2005_u32.to_ne_bytes());
    put(variant + 8, &0x88a8_u16.to_ne_bytes());
    let address = first + ADDRESS_AT;
    put(address + offset_of!(sockaddr_ll, sll_protocol), &[0x08, 0x00]);
    put(address + offset_of!(sockaddr_ll, sll_ifindex), &3_u32.to_ne_bytes());
    put(address + offset_of!(sockaddr_ll, sll_pkttype), &[libc::PACKET_OUTGOING]);
    put(first + MAC_AT, packet);
    block
}

fn one(mut block: Vec<u8>, is_cooked: bool) -> (Received, Vec<u8>) {
    let mut packets = Packets::new(&block, is_cooked);
    let received = packets.next(&mut block).expect("a packet");
    assert!(packets.next(&mut block).is_none());
    let at = received.record.at as usize;
    (received, block[at..at + received.record.caplen as usize].to_vec())
}

#[test]
fn a_packet_has_its_time_length_and_direction() {
    let frame: Vec<u8> = (0..20).collect();
    let (received, bytes) = one(block(&frame, 0), false);
    assert_eq!(bytes, frame);
    assert_eq!((received.record.timestamp_ns, received.record.len), (7_000_000_009, 100));
    assert_eq!((received.record.direction, received.ifindex), (Direction::Outbound, 3));
}

#[test]
fn a_tag_goes_back_behind_the_addresses() {
    let frame: Vec<u8> = (0..20).collect();
    let tagged = |tpid: [u8; 2]| [&frame[..12], &tpid, &[0x20, 0x05], &frame[12..]].concat();
    let (received, bytes) = one(block(&frame, libc::TP_STATUS_VLAN_VALID), false);
    assert_eq!(bytes, tagged([0x81, 0x00]));
    assert_eq!(received.record.len, 104);
    let both = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
    assert_eq!(one(block(&frame, both), false).1, tagged([0x88, 0xa8]));
}

#[test]
fn a_cooked_packet_has_its_header_and_tag() {
    let packet = [0x45, 0, 0, 1];
    let (received, bytes) = one(block(&packet, 0), true);
    assert_eq!(bytes[..2], [0x08, 0x00]);
    assert_eq!(bytes[4..8], [0, 0, 0, 3]);
    assert_eq!(bytes[COOKED_BYTES..], packet);
    assert_eq!(received.record.len, 120);
    let (_, bytes) = one(block(&packet, libc::TP_STATUS_VLAN_VALID), true);
    assert_eq!(bytes[..2], [0x81, 0x00]);
    assert_eq!(bytes[COOKED_BYTES..], [0x20, 0x05, 0x08, 0x00, 0x45, 0, 0, 1]);
}

#[test]
fn a_block_that_lies_ends_early() {
    let mut lying = block(&[1; 20], 0);
    let len_at = 48 + offset_of!(tpacket3_hdr, tp_snaplen);
    lying[len_at..len_at + 4].copy_from_slice(&5000_u32.to_ne_bytes());
    assert!(Packets::new(&lying, false).next(&mut lying).is_none());
    let mut lying = block(&[1; 20], 0);
    lying[FIRST_AT..FIRST_AT + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert!(Packets::new(&lying, false).next(&mut lying).is_none());
}
