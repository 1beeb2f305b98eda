"""Capture files for generate.py: pcap in its variants, pcapng block by block, and stored gzip and zstd streams.

A record is (time in ns since the epoch, bytes[, length on the wire]). `order` is "<" or ">".
"""

import struct
import zlib

ETHERNET, RAW, RAW_BSD, USER0 = 1, 101, 12, 147


def cut(record, snap=None):
    """(time, captured bytes, length on the wire) of a record under a snap length."""
    time, data, *wire = record
    return time, data if snap is None else data[:snap], wire[0] if wire else len(data)


def pcap_header(linktype, order="<", nano=False, modified=False, snap=262144):
    magic = 0xA1B2CD34 if modified else 0xA1B23C4D if nano else 0xA1B2C3D4
    return struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, linktype)


def pcap(records, linktype=ETHERNET, order="<", nano=False, modified=False, snap=None):
    """The classic format; `modified` is the one of Alexey Kuznetzov's libpcap, with 8 more bytes in each record header."""
    out = pcap_header(linktype, order, nano, modified, snap or 262144)
    for record in records:
        time, data, wire = cut(record, snap)
        seconds, ns = divmod(time, 10**9)
        out += struct.pack(order + "IIII", seconds, ns if nano else ns // 1000, len(data), wire)
        if modified:
            out += struct.pack(order + "IHBB", 1, 0x0008, 0, 0)  # ifindex, protocol, packet type, padding
        out += data
    return out


# ── pcapng ───────────────────────────────────────────────────────────────────────────────────────────────────


def pad4(data):
    return data + b"\0" * (-len(data) % 4)


def option(order, code, value):
    return struct.pack(order + "HH", code, len(value)) + pad4(value)


def options(order, *pairs):
    return b"".join(option(order, *pair) for pair in pairs) + struct.pack(order + "HH", 0, 0) if pairs else b""


def block(order, kind, body):
    size = struct.pack(order + "I", 12 + len(pad4(body)))
    return struct.pack(order + "I", kind) + size + pad4(body) + size


def section(order, *pairs):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options(order, *pairs))


def interface(order, linktype=ETHERNET, snap=262144, *pairs):
    return block(order, 1, struct.pack(order + "HHI", linktype, 0, snap) + options(order, *pairs))


def ticks(time, resolution):
    """A time in units of `if_tsresol`: 10^-n, or 2^-n with the high bit."""
    return time * 2 ** (resolution & 0x7F) // 10**9 if resolution & 0x80 else time * 10**resolution // 10**9


def enhanced(order, number, record, resolution=6, *pairs, snap=None, offset=0):
    time, data, wire = cut(record, snap)
    when = ticks(time - offset * 10**9, resolution)
    head = struct.pack(order + "IIIII", number, when >> 32, when & 0xFFFFFFFF, len(data), wire)
    return block(order, 6, head + pad4(data) + options(order, *pairs))


def simple(order, record, snap=None):
    _, data, wire = cut(record, snap)
    return block(order, 3, struct.pack(order + "I", wire) + data)


def obsolete(order, number, record, drops=0, resolution=6):
    """The packet block of the first drafts, type 2."""
    time, data, wire = cut(record)
    when = ticks(time, resolution)
    return block(order, 2, struct.pack(order + "HHIIII", number, drops, when >> 32, when & 0xFFFFFFFF,
                                       len(data), wire) + pad4(data))


def statistics(order, number, time, received, dropped):
    when = ticks(time, 6)
    counters = options(order, (4, struct.pack(order + "Q", received)), (5, struct.pack(order + "Q", dropped)))
    return block(order, 5, struct.pack(order + "III", number, when >> 32, when & 0xFFFFFFFF) + counters)


def names(order, *records):
    """A name resolution block of (IPv4 address bytes, name)."""
    body = b"".join(option(order, 1, addr + name.encode() + b"\0") for addr, name in records)
    return block(order, 4, body + struct.pack(order + "HH", 0, 0))


def custom(order, enterprise, data):
    return block(order, 0x00000BAD, struct.pack(order + "I", enterprise) + data)


# ── Compressed streams without compression: the same bytes whatever library is installed ─────────────────────


def gzip_member(data):
    out = b"\x1f\x8b\x08\x00" + b"\0" * 4 + b"\x00\xff"
    pieces = [data[at:at + 65535] for at in range(0, len(data), 65535)] or [b""]
    for i, piece in enumerate(pieces):
        out += struct.pack("<BHH", i == len(pieces) - 1, len(piece), len(piece) ^ 0xFFFF) + piece
    return out + struct.pack("<II", zlib.crc32(data), len(data))


def zstd_frame(data):
    """One frame of raw blocks, RFC 8878 §3.1, single segment with its size in 4 bytes."""
    out = struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data))
    pieces = [data[at:at + 65536] for at in range(0, len(data), 65536)] or [b""]
    for i, piece in enumerate(pieces):
        out += struct.pack("<I", len(piece) << 3 | (i == len(pieces) - 1))[:3] + piece
    return out


def zstd_skippable(data):
    return struct.pack("<II", 0x184D2A50, len(data)) + data
