"""Packet headers for generate.py, each with its right length and checksum.

An upper layer is an `Upper`: its protocol number, and how to build its bytes once the addresses under it are
known. Headers that stand between IP and a transport (AH, IPv6 extension headers) wrap an `Upper` and are one.
"""

import ipaddress
import struct
from typing import Callable, NamedTuple

Pseudo = Callable[[int, int], bytes]


class Upper(NamedTuple):
    protocol: int
    build: Callable[[Pseudo], bytes]


def checksum(data):
    """The Internet checksum, RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def put16(data, at, value):
    return data[:at] + struct.pack("!H", value) + data[at + 2:]


def payload(size):
    """`size` bytes that tell where they are."""
    return bytes(i & 0xFF for i in range(size))


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def address(text):
    return ipaddress.ip_address(text).packed


# ── Link layer ───────────────────────────────────────────────────────────────────────────────────────────────

HOST_A, HOST_B = mac("02:00:00:00:00:0a"), mac("02:00:00:00:00:0b")
BROADCAST = b"\xff" * 6
IPV4, ARP, IPV6, VLAN, QINQ, MPLS, MPLS_MULTICAST = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x8848
PPPOE_DISCOVERY, PPPOE_SESSION, TEB = 0x8863, 0x8864, 0x6558


def eth(ethertype, body, dst=HOST_B, src=HOST_A, pad=True):
    """An Ethernet II frame without FCS, padded to the 60 bytes that the wire demands."""
    frame = dst + src + struct.pack("!H", ethertype) + body
    return frame.ljust(60, b"\0") if pad else frame


def ether(packet, **how):
    """The Ethernet frame of an IP packet, by its version."""
    return eth(IPV4 if packet[0] >> 4 == 4 else IPV6, packet, **how)


def dot3(body, dst=HOST_B, src=HOST_A):
    """An IEEE 802.3 frame: a length where Ethernet II has a type."""
    return (dst + src + struct.pack("!H", len(body)) + body).ljust(60, b"\0")


def tagged(tags, ethertype, body, **how):
    """An Ethernet frame with tags (type, priority, vid), the outermost first."""
    inner = b""
    for i, (_, priority, vid) in enumerate(tags):
        follows = tags[i + 1][0] if i + 1 < len(tags) else ethertype
        inner += struct.pack("!HH", priority << 13 | vid, follows)
    return eth(tags[0][0], inner + body, **how)


def llc(dsap, ssap, control, body):
    return bytes([dsap, ssap]) + (bytes([control]) if control & 3 == 3 else struct.pack("<H", control)) + body


def snap(ethertype, body, oui=b"\0\0\0"):
    return llc(0xAA, 0xAA, 3, oui + struct.pack("!H", ethertype) + body)


def arp(op, sha, spa, tha, tpa):
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, op) + sha + address(spa) + tha + address(tpa)


def mpls(labels, body, ttl=64, tc=0):
    """A label stack, RFC 3032; the last label carries the bottom bit."""
    stack = b""
    for i, label in enumerate(labels):
        stack += struct.pack("!I", label << 12 | tc << 9 | (i == len(labels) - 1) << 8 | ttl)
    return stack + body


def pppoe(code, session, body):
    return struct.pack("!BBHH", 0x11, code, session, len(body)) + body


def tag_value(kind, value):
    """A PPPoE tag: its length is that of the value."""
    return struct.pack("!HH", kind, len(value)) + value


def ppp(protocol, body):
    return struct.pack("!H", protocol) + body


def ppp_control(code, ident, body=b""):
    """An LCP or NCP packet, RFC 1661 §5."""
    return struct.pack("!BBH", code, ident, 4 + len(body)) + body


# ── IP ───────────────────────────────────────────────────────────────────────────────────────────────────────


def raw(protocol, body):
    return Upper(protocol, lambda _: body)


def pseudo4(src, dst):
    return lambda protocol, size: address(src) + address(dst) + struct.pack("!BBH", 0, protocol, size)


def pseudo6(src, dst):
    return lambda protocol, size: address(src) + address(dst) + struct.pack("!IHBB", size, 0, 0, protocol)


def ip4_header(src, dst, protocol, size, ttl=64, tos=0, ident=1, df=True, mf=False, offset=0, options=b""):
    """The header before `size` bytes; `offset` in bytes; `options` are filled up with end-of-options."""
    options += b"\0" * (-len(options) % 4)
    header_len = 20 + len(options)
    header = struct.pack(
        "!BBHHHBBH", 0x40 | header_len // 4, tos, header_len + size, ident,
        df << 14 | mf << 13 | offset // 8, ttl, protocol, 0,
    ) + address(src) + address(dst) + options
    return put16(header, 10, checksum(header))


def ip4(src, dst, upper, final=None, **header):
    """`final` is the last hop of a source route: checksums are made for it, RFC 1122 §3.2.1.8."""
    body = upper.build(pseudo4(src, final or dst))
    return ip4_header(src, dst, upper.protocol, len(body), **header) + body


def ip6_header(src, dst, protocol, size, hop=64, traffic=0, flow=0):
    return struct.pack("!IHBB", 6 << 28 | traffic << 20 | flow, size, protocol, hop) + address(src) + address(dst)


def ip6(src, dst, upper, final=None, **header):
    """`final` is the last hop of a routing header: checksums are made for it, RFC 8200 §8.1."""
    body = upper.build(pseudo6(src, final or dst))
    return ip6_header(src, dst, upper.protocol, len(body), **header) + body


def fragments4(src, dst, upper, size, ident, **header):
    body = upper.build(pseudo4(src, dst))
    return [
        ip4_header(src, dst, upper.protocol, len(body[at:at + size]), ident=ident, df=False,
                   mf=at + size < len(body), offset=at, **header) + body[at:at + size]
        for at in range(0, len(body), size)
    ]


def fragments6(src, dst, upper, size, ident, before=lambda inner: inner):
    """`before` wraps the fragment header in the headers that stand before it in every fragment."""
    body = upper.build(pseudo6(src, dst))
    return [
        ip6(src, dst, before(raw(44, struct.pack("!BBHI", upper.protocol, 0, at | (at + size < len(body)), ident)
                                 + body[at:at + size])))
        for at in range(0, len(body), size)
    ]


def ip6_options(number, inner, options=b""):
    """Hop-by-hop (0) or destination (60) options, padded with Pad1 or PadN."""
    room = -(2 + len(options)) % 8
    options += b"" if room == 0 else b"\0" if room == 1 else bytes([1, room - 2]) + b"\0" * (room - 2)
    return Upper(number, lambda p: bytes([inner.protocol, (2 + len(options)) // 8 - 1]) + options + inner.build(p))


def ip6_routing(inner, kind, left, addresses):
    """A routing header of type 0 (RFC 2460), 2 (RFC 6275) or 4 (segment routing, RFC 8754)."""
    fixed = struct.pack("!BBH", len(addresses) - 1, 0, 0) if kind == 4 else b"\0" * 4
    body = fixed + b"".join(map(address, addresses))
    return Upper(43, lambda p: bytes([inner.protocol, len(body) // 8, kind, left]) + body + inner.build(p))


def ip6_fragment(inner, offset, more, ident):
    return Upper(44, lambda p: struct.pack("!BBHI", inner.protocol, 0, offset | more, ident) + inner.build(p))


def ah(inner, spi, sequence, icv=b"\xa5" * 12):
    """An authentication header, RFC 4302, with a value nobody can check."""
    return Upper(51, lambda p: struct.pack("!BBHII", inner.protocol, (12 + len(icv)) // 4 - 2, 0, spi, sequence)
                 + icv + inner.build(p))


def esp(spi, sequence, size):
    return raw(50, struct.pack("!II", spi, sequence) + payload(size))


# ── Transports ───────────────────────────────────────────────────────────────────────────────────────────────

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))


def tcp(sport, dport, flags=ACK, seq=1000, ack=2000, data=b"", options=b"", window=64240, urgent=0):
    options += b"\0" * (-len(options) % 4)

    def build(pseudo):
        segment = struct.pack("!HHIIBBHHH", sport, dport, seq, ack if flags & ACK else 0,
                              (20 + len(options)) // 4 << 4, flags, window, 0, urgent) + options + data
        return put16(segment, 16, checksum(pseudo(6, len(segment)) + segment))

    return Upper(6, build)


def udp(sport, dport, data=b"", sums=True):
    """`sums=False` sends the checksum 0 that IPv4 and tunnels over IPv6 (RFC 6935) allow."""

    def build(pseudo):
        datagram = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
        if not sums:
            return datagram
        return put16(datagram, 6, checksum(pseudo(17, len(datagram)) + datagram) or 0xFFFF)

    return Upper(17, build)


def icmp(kind, code, rest=b"\0" * 4, data=b""):
    message = struct.pack("!BBH", kind, code, 0) + rest + data
    return raw(1, put16(message, 2, checksum(message)))


def icmp6(kind, code, rest=b"\0" * 4, data=b""):
    def build(pseudo):
        message = struct.pack("!BBH", kind, code, 0) + rest + data
        return put16(message, 2, checksum(pseudo(58, len(message)) + message))

    return Upper(58, build)


def igmp(kind, code, rest):
    message = struct.pack("!BBH", kind, code, 0) + rest
    return raw(2, put16(message, 2, checksum(message)))


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C = crc32c_table()


def sctp(sport, dport, verification, *chunks):
    """An SCTP packet, RFC 9260; its CRC32c covers no pseudo-header."""
    def packet(crc):
        return struct.pack("!HHI", sport, dport, verification) + struct.pack("<I", crc) + b"".join(chunks)

    crc = 0xFFFFFFFF
    for byte in packet(0):
        crc = crc >> 8 ^ CRC32C[(crc ^ byte) & 0xFF]
    return raw(132, packet(crc ^ 0xFFFFFFFF))


def chunk(kind, flags, value=b""):
    return (struct.pack("!BBH", kind, flags, 4 + len(value)) + value).ljust((4 + len(value) + 3) // 4 * 4, b"\0")


def parameter(kind, value):
    """A parameter or error cause of an SCTP chunk: its length counts its own header."""
    return struct.pack("!HH", kind, 4 + len(value)) + value


# ── Tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────


def gre(ethertype, body, key=None, sequence=None, sums=False):
    """GRE, RFC 2784 and RFC 2890."""
    flags = sums << 15 | (key is not None) << 13 | (sequence is not None) << 12
    header = struct.pack("!HH", flags, ethertype) + (b"\0" * 4 if sums else b"")
    header += struct.pack("!I", key) if key is not None else b""
    header += struct.pack("!I", sequence) if sequence is not None else b""
    packet = header + body
    return raw(47, put16(packet, 4, checksum(packet)) if sums else packet)


def vxlan(vni, frame, sport=49152, sums=False):
    return udp(sport, 4789, struct.pack("!II", 0x08000000, vni << 8) + frame, sums=sums)


def geneve(vni, ethertype, body, options=b"", control=False, critical=False, sums=False):
    """GENEVE, RFC 8926; `options` is made of `geneve_option`."""
    header = struct.pack("!BBHI", len(options) // 4, control << 7 | critical << 6, ethertype, vni << 8)
    return udp(49153, 6081, header + options + body, sums=sums)


def geneve_option(group, kind, data):
    return struct.pack("!HBB", group, kind, len(data) // 4) + data


def gtpu(teid, body, kind=255, sequence=None, extensions=()):
    """GTP-U version 1, 3GPP TS 29.281; `extensions` are (type, content), content 2 bytes short of a multiple of 4."""
    optional = b""
    if sequence is not None or extensions:
        optional = struct.pack("!HBB", sequence or 0, 0, extensions[0][0] if extensions else 0)
        for i, (_, content) in enumerate(extensions):
            follows = extensions[i + 1][0] if i + 1 < len(extensions) else 0
            optional += bytes([(len(content) + 2) // 4]) + content + bytes([follows])
    flags = 0x30 | bool(extensions) << 2 | (sequence is not None) << 1
    return udp(2152, 2152, struct.pack("!BBHI", flags, kind, len(optional) + len(body), teid) + optional + body)
