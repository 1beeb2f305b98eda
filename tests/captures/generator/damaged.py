"""Files that are not what they say: the records before the damage are good, and are given with each name."""

import struct

from generator import capfile
from generator.formats import SAMPLE, little_endian_sections


def pcap_until(count):
    return capfile.pcap(SAMPLE[:count])


def pcapng_until(count):
    return capfile.section("<") + capfile.interface("<") + b"".join(capfile.enhanced("<", 0, r) for r in SAMPLE[:count])


def record_header(captured, wire):
    return struct.pack("<IIII", SAMPLE[0][0] // 10**9, 0, captured, wire)


def cases():
    whole, whole_ng = pcap_until(10), little_endian_sections("<")
    yield "empty.pcap", b"", 0
    yield "text.pcap", b"This is not a capture.\n" * 20, 0
    yield "header-cut.pcap", whole[:20], 0
    yield "unknown-magic.pcap", b"\xde\xad\xbe\xef" + whole[4:], 0
    yield "unknown-version.pcap", whole[:4] + struct.pack("<HH", 9, 9) + whole[8:], 0
    yield "record-cut.pcap", whole[:-10], 9
    yield "record-header-cut.pcap", pcap_until(5) + record_header(60, 60)[:7], 5
    yield "record-too-long.pcap", pcap_until(3) + record_header(0x7FFFFFFF, 0x7FFFFFFF) + whole[-400:], 3
    yield "record-4g.pcap", pcap_until(3) + record_header(0xFFFFFFFF, 60) + whole[-400:], 3
    yield "zeroes-after.pcap", pcap_until(4) + bytes(15), 4
    yield "block-cut.pcapng", whole_ng[:-10], 9
    yield "block-length-odd.pcapng", pcapng_until(4) + struct.pack("<II", 6, 33) + bytes(25), 4
    yield "block-length-short.pcapng", pcapng_until(4) + struct.pack("<III", 6, 8, 8), 4
    yield "block-length-lies.pcapng", pcapng_until(4) + struct.pack("<II", 6, 32) + bytes(20) + struct.pack("<I", 36), 4
    yield "block-too-long.pcapng", pcapng_until(4) + struct.pack("<II", 6, 0x7FFFFFFC) + bytes(64), 4
    yield "block-overfull.pcapng", pcapng_until(4) + capfile.block("<", 6, struct.pack("<IIIII", 0, 0, 0, 500, 500) + bytes(8)), 4
    yield "no-interface.pcapng", pcapng_until(4) + capfile.enhanced("<", 7, SAMPLE[4]), 4
    yield "no-section.pcapng", capfile.interface("<") + capfile.enhanced("<", 0, SAMPLE[0]), 0
    yield "section-order.pcapng", capfile.block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x12345678, 1, 0, -1)), 0
    packed = capfile.gzip_member(whole)
    yield "cut.pcap.gz", packed[:-200], 7
    yield "wrong-sum.pcap.gz", packed[:-8] + b"\0\0\0\0" + packed[-4:], 10
    yield "cut.pcap.zst", capfile.zstd_frame(whole)[:-200], 7
    yield "after-gzip.pcap.gz", packed + b"and then something else", 10


def files():
    for name, content, records in cases():
        yield f"damaged/{name}", content, records
