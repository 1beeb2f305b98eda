"""Capture file formats: the same few packets in every variant, sections, interfaces, clocks, snap lengths."""

import struct

from generator import capfile
from generator.capfile import ETHERNET, pcap
from generator.links import V4, V6, syn4, syn6
from generator.packets import *
from generator.trace import START, timed

SECOND = 10**9


def sample():
    """Ten packets that every format variant holds."""
    for port in range(8000, 8003):
        yield ether(syn4(port))
        yield ether(syn6(port))
        yield ether(ip4(*V4, udp(40000, port, payload(port - 7990))))
    yield eth(ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1]), dst=BROADCAST)


SAMPLE = timed(sample())


def little_endian_sections(order):
    """A section with one Ethernet interface and the sample."""
    return capfile.section(order) + capfile.interface(order) + b"".join(capfile.enhanced(order, 0, r) for r in SAMPLE)


def variants():
    """The sample as classic pcap: byte orders, resolutions, the modified record header."""
    for name, how in (
        ("pcap-us-little.pcap", {}),
        ("pcap-us-big.pcap", {"order": ">"}),
        ("pcap-ns-little.pcap", {"nano": True}),
        ("pcap-ns-big.pcap", {"nano": True, "order": ">"}),
        ("pcap-modified-little.pcap", {"modified": True}),
        ("pcap-modified-big.pcap", {"modified": True, "order": ">"}),
    ):
        yield name, pcap(SAMPLE, **how), len(SAMPLE)
    yield "no-packets.pcap", pcap([]), 0
    yield "no-packets.pcapng", capfile.section("<") + capfile.interface("<"), 0


def times():
    """Times that do not simply grow."""
    packets = list(sample()) * 3
    steps = [0, 1, 2, 1, 3, 0, 60, 61, 59, 120, 30, 121, 121, 121, 7, 122, 180, 179, 181, 3600, 182, 183, 3601, 3602, 0]
    records = [(START + s * SECOND, packets[i]) for i, s in enumerate(steps)]
    yield "time-backwards.pcap", pcap(records), len(records)
    same = [(START, packet) for packet in packets]
    yield "time-equal.pcap", pcap(same), len(same)
    seconds = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
    edges = [(s * SECOND + 999_999_999, packets[i]) for i, s in enumerate(seconds)]
    yield "time-edges.pcap", pcap(edges, nano=True), len(edges)
    sparse = [(START + s * SECOND, packets[i]) for i, s in enumerate((0, 59, 60, 119, 600, 3599, 3600, 86399, 86400, 31536000))]
    yield "time-gaps.pcap", pcap(sparse), len(sparse)


def snapped():
    """The same packets under snap lengths that end inside each header."""
    packets = [
        ether(ip4(*V4, tcp(40000, 80, PSH | ACK, data=payload(1000), options=b"\x01\x01\x08\x0a" + payload(8)))),
        ether(ip6(*V6, tcp(40000, 80, PSH | ACK, data=payload(1000)))),
        ether(ip4(*V4, udp(40000, 9, payload(500)))),
        tagged([(VLAN, 0, 100)], IPV4, ip4(*V4, tcp(40000, 80, SYN))),
        eth(MPLS, mpls([16, 17, 18], syn4())),
        ether(ip4("192.0.2.1", "192.0.2.2", vxlan(42, ether(syn4())))),
        eth(ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1]), dst=BROADCAST),
        ether(ip4(*V4, icmp(8, 0, data=payload(56)))),
    ]
    for snap in (1, 14, 18, 24, 34, 38, 47, 54, 60, 68, 96):
        yield f"snap-{snap:03}.pcap", pcap(timed(packets), snap=snap), len(packets)


def sections():
    """pcapng: several sections and interfaces, every block that carries packets, and blocks that do not."""
    for name, order in (("pcapng-little.pcapng", "<"), ("pcapng-big.pcapng", ">")):
        yield name, little_endian_sections(order), len(SAMPLE)
    yield "pcapng-two-sections.pcapng", little_endian_sections("<") + little_endian_sections(">"), 2 * len(SAMPLE)

    # Seven interfaces that count time differently; each packet of the sample once on every interface.
    clocks = [(6, 0), (9, 0), (3, 0), (0, 0), (0x80 | 20, 0), (0x80 | 30, 0), (6, 1_000_000_000)]
    out = capfile.section("<", (2, b"made"), (3, b"generate.py"), (4, b"generate.py"))
    for number, (resolution, offset) in enumerate(clocks):
        opts = [(2, f"eth{number}".encode()), (9, bytes([resolution]))]
        if offset:
            opts.append((14, struct.pack("<q", offset)))
        out += capfile.interface("<", ETHERNET, 262144, *opts)
    for record in SAMPLE:
        for number, (resolution, offset) in enumerate(clocks):
            out += capfile.enhanced("<", number, record, resolution, offset=offset)
    yield "pcapng-clocks.pcapng", out, len(clocks) * len(SAMPLE)

    # Interfaces of different links and snap lengths in one section.
    cooked = struct.pack("!HHH", 0, 1, 6) + HOST_A + b"\0\0" + struct.pack("!H", IPV4)
    bodies = [
        (ETHERNET, lambda packet: packet),
        (capfile.RAW, lambda packet: packet[14:]),
        (113, lambda packet: cooked + packet[14:]),
        (capfile.USER0, lambda packet: packet),
    ]
    only4 = [(time, packet) for time, packet in SAMPLE if packet[12:14] == b"\x08\x00"]
    out = capfile.section(">")
    for number, (linktype, _) in enumerate(bodies):
        out += capfile.interface(">", linktype, 40 if number == 0 else 262144, (2, f"port{number}".encode()))
    for time, packet in only4:
        for number, (_, wrap) in enumerate(bodies):
            out += capfile.enhanced(">", number, (time, wrap(packet)), snap=40 if number == 0 else None)
    yield "pcapng-links.pcapng", out, len(bodies) * len(only4)

    # Every kind of block: simple packets (no time), obsolete ones, names, statistics, custom and unknown blocks.
    out = capfile.section("<") + capfile.interface("<", ETHERNET, 48)
    out += capfile.names("<", (address(V4[0]), "alpha.example.net"), (address(V4[1]), "beta.example.net"))
    count = 0
    for i, record in enumerate(SAMPLE):
        if i % 3 == 0:
            out += capfile.enhanced("<", 0, record, 6, (1, f"packet {i}".encode()), snap=48)
        elif i % 3 == 1:
            out += capfile.obsolete("<", 0, (record[0], record[1][:48], len(record[1])), drops=i)
        else:
            out += capfile.simple("<", record, snap=48)
        out += capfile.block("<", 0x7FFF0000 + i, payload(i)) if i % 4 == 0 else b""
        count += 1
    out += capfile.custom("<", 32473, b"example") + capfile.statistics("<", 0, SAMPLE[-1][0], count, 3)
    yield "pcapng-blocks.pcapng", out, count

    # Packet flags: direction in the low two bits, reception type above.
    out = capfile.section("<") + capfile.interface("<", ETHERNET, 262144, (2, b"eth0"), (9, b"\x09"))
    for i, record in enumerate(SAMPLE):
        out += capfile.enhanced("<", 0, record, 9, (2, struct.pack("<I", i % 3 | (i % 5) << 2)), (4, struct.pack("<Q", i)))
    yield "pcapng-direction.pcapng", out, len(SAMPLE)

    # A section of known length, and one whose interface comes after a packet of another interface.
    body = capfile.interface("<") + b"".join(capfile.enhanced("<", 0, r) for r in SAMPLE[:3])
    body += capfile.interface("<", ETHERNET, 262144, (9, b"\x09")) + b"".join(capfile.enhanced("<", 1, r, 9) for r in SAMPLE[3:])
    header = capfile.block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, len(body)))
    yield "pcapng-late-interface.pcapng", header + body, len(SAMPLE)


def compressed():
    """Streams of more than one member or frame, cut in the middle of a record."""
    whole = pcap(SAMPLE)
    middle = len(whole) // 2 + 3
    yield "two-members.pcap.gz", capfile.gzip_member(whole[:middle]) + capfile.gzip_member(whole[middle:]), len(SAMPLE)
    yield "frames.pcap.zst", (capfile.zstd_frame(whole[:middle]) + capfile.zstd_skippable(b"not part of it")
                              + capfile.zstd_frame(whole[middle:])), len(SAMPLE)
    yield "pcapng.pcapng.gz", capfile.gzip_member(little_endian_sections("<")), len(SAMPLE)


def links_pair():
    """Two links under one clock: MERGE with a tie, a silent link, and steps back within 2 s on one of them."""
    times0 = [0, 1, 2, 3, 5, 8, 60, 61, 119, 120, 180]
    times1 = [0, 1, 1, 4, 3, 5, 130, 129, 131, 179, 180, 240]
    for name, seconds, net in (("link0.pcap", times0, 1), ("link1.pcap", times1, 2)):
        records = [(START + s * SECOND, ether(ip4(f"10.{net}.0.{i % 4 + 1}", f"192.0.2.{i % 3 + 1}",
                                                  tcp(40000 + i, (80, 443, 22)[i % 3], SYN)))) for i, s in enumerate(seconds)]
        yield name, pcap(records), len(records)


def files():
    for group in (variants, times, snapped, sections, compressed, links_pair):
        for name, content, records in group():
            yield f"generated/{name}", content, records
