"""IP and what is above it: options, extension headers, fragments, TCP, SCTP, ICMP, IGMP, neighbour discovery."""

import struct

from generator.links import QUERY, V4, V6, syn4, syn6
from generator.packets import *
from generator.trace import Traces

traces = Traces()
trace, files = traces.trace, traces.files


@trace("tcp-flags.pcap")
def tcp_flags():
    """All 256 combinations of the eight flags, in order."""
    for flags in range(256):
        yield ether(ip4(*V4, tcp(40000, 80, flags, seq=1000 + flags, urgent=1 if flags & URG else 0)))


def mss(value):
    return struct.pack("!BBH", 2, 4, value)


def wscale(shift):
    return struct.pack("!BBB", 3, 3, shift)


def stamps(value, echo):
    return struct.pack("!BBII", 8, 10, value, echo)


def sack(*edges):
    return struct.pack("!BB", 5, 2 + 8 * len(edges)) + b"".join(struct.pack("!II", *edge) for edge in edges)


NOP, SACK_OK = b"\x01", b"\x04\x02"


@trace("tcp-options.pcap")
def tcp_options():
    syns = [
        b"",
        mss(1460),
        mss(1460) + SACK_OK + stamps(1000, 0) + NOP + wscale(7),  # as Linux orders them
        mss(1460) + NOP + wscale(8) + NOP + NOP + SACK_OK,  # as Windows does
        mss(1460) + NOP + wscale(6) + NOP + NOP + stamps(5, 0) + SACK_OK,  # as macOS does, ended by EOL
        mss(65535) + wscale(14),
        NOP + NOP + NOP + wscale(0),
        mss(1460) + b"\x22\x02",  # fast open, asking for a cookie
        mss(1460) + b"\x22\x0a" + payload(8),  # fast open, with it
        mss(1460) + b"\x1e\x0c\x01\x81" + payload(8),  # multipath capable
        b"\x13\x12" + payload(16) + NOP + NOP,  # MD5 signature
        b"\x1d\x10\x01\x01" + payload(12),  # TCP-AO
        mss(1460) + b"\x1c\x04\x80\x1e",  # user timeout
        b"\xfe\x06\xf9\x89\x00\x01" + NOP + NOP,  # experimental, with its identifier
    ]
    for options in syns:
        yield ether(ip4(*V4, tcp(40000, 80, SYN, options=options)))
    yield ether(ip6(*V6, tcp(40000, 80, SYN, options=mss(1440) + SACK_OK + stamps(1, 0) + NOP + wscale(7))))
    yield ether(ip4(*V4, tcp(40000, 80, ACK, options=NOP + NOP + stamps(0xFFFFFFFF, 0x80000000))))
    for blocks in range(1, 5):
        edges = [(3000 * i, 3000 * i + 1500) for i in range(1, blocks + 1)]
        yield ether(ip4(*V4, tcp(40000, 80, ACK, options=NOP + NOP + sack(*edges))))
    yield ether(ip4(*V4, tcp(40000, 80, ACK, options=NOP + NOP + stamps(1, 2) + NOP + NOP + sack((1, 2), (3, 4), (5, 6)))))
    for words in range(11):  # data offset 5 to 15, with data behind
        yield ether(ip4(*V4, tcp(40000, 80, PSH | ACK, options=NOP * (4 * words), data=payload(10))))
    yield ether(ip4(*V4, tcp(40000, 80, ACK, window=0)))
    yield ether(ip4(*V4, tcp(40000, 80, URG | ACK, urgent=5, data=payload(10))))


@trace("ip4-options.pcap")
def ip4_options():
    upper = tcp(40000, 80, SYN)
    pointer = bytes([4])
    for options in (
        b"\x94\x04\x00\x00",  # router alert
        b"\x07\x27" + pointer + bytes(36),  # record route, empty: the longest header
        b"\x07\x0b\x0c" + address("10.0.0.254") + address("10.0.1.254"),
        b"\x44\x0c\x05\x00" + bytes(8),  # time stamps only
        b"\x44\x0c\x05\x01" + address("10.0.0.254") + bytes(4),  # with addresses
        b"\x82\x0b" + bytes(9),  # security
        b"\x88\x04\x12\x34",  # stream identifier
        b"\x01\x01\x01\x00",  # no operation, end
        b"\x01" * 7 + b"\x94\x04\x00\x00",
    ):
        yield ether(ip4(*V4, upper, options=options))
    # Loose and strict source routes, under way: the option holds the last hop.
    loose = b"\x83\x0b" + pointer + address("10.0.0.254") + address("10.0.1.254")
    yield ether(ip4(*V4, upper, final="10.0.1.254", options=loose))
    yield ether(ip4(*V4, upper, final="10.0.0.254", options=b"\x89\x07" + pointer + address("10.0.0.254")))
    for words in range(11):  # header length 20 to 60
        yield ether(ip4(*V4, udp(40000, 53, QUERY), options=b"\x01" * (4 * words)))


@trace("ip4-fields.pcap")
def ip4_fields():
    """Every DSCP and ECN, the ends of the TTL and identification ranges, and protocols by number."""
    for tos in range(256):
        yield ether(ip4(*V4, udp(40000, 9, b"x"), tos=tos))
    for ttl in (0, 1, 2, 127, 128, 255):
        yield ether(ip4(*V4, udp(40000, 9, b"x"), ttl=ttl))
    for ident in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        yield ether(ip4(*V4, udp(40000, 9, b"x"), ident=ident, df=False))
    for src, dst in (("0.0.0.0", "255.255.255.255"), ("127.0.0.1", "127.0.0.1"), ("10.0.0.1", "224.0.0.251"),
                     ("169.254.0.1", "169.254.255.255"), ("255.255.255.254", "128.0.0.0")):
        yield ether(ip4(src, dst, udp(40000, 9, b"x")))
    for protocol in (8, 89, 103, 112, 115, 253, 254, 255):  # EGP, OSPF, PIM, VRRP, L2TP, and free ones
        yield ether(ip4(*V4, raw(protocol, payload(32) if protocol >= 253 else b"")))


@trace("ports.pcap")
def ports():
    """The ends of the port ranges over TCP and UDP, IPv4 and IPv6; data lengths 0 to 3."""
    for sport, dport in ((0, 0), (0, 65535), (65535, 0), (1, 1023), (1024, 32768), (49152, 65535)):
        for size, packet in enumerate((ip4, ip6)):
            pair = V4 if packet is ip4 else V6
            yield ether(packet(*pair, tcp(sport, dport, PSH | ACK, seq=0xFFFFFFFF, data=payload(size))))
            yield ether(packet(*pair, udp(sport, dport, payload(size + 2))))
    yield ether(ip4(*V4, udp(40000, 9, payload(4), sums=False)))


@trace("fragments.pcap")
def fragments():
    whole = udp(40000, 9, payload(3000))
    yield from map(ether, fragments4(*V4, whole, 1480, ident=1))
    yield from map(ether, fragments6(*V6, whole, 1448, ident=1))
    for packet in reversed(fragments4(*V4, whole, 1480, ident=2)):  # the last first
        yield ether(packet)
    yield from map(ether, fragments4(*V4, whole, 1480, ident=3)[:-1])  # never complete
    yield from map(ether, fragments4(*V4, tcp(40000, 80, PSH | ACK, data=payload(100)), 24, ident=4))
    # Two datagrams at once, their fragments in turn.
    for pair in zip(fragments4(*V4, whole, 1480, ident=5), fragments4(*V4, whole, 1480, ident=6)):
        yield from map(ether, pair)
    yield from map(ether, fragments6(*V6, whole, 1440, ident=7, before=lambda inner: ip6_options(0, inner)))
    yield ether(ip6(*V6, ip6_fragment(tcp(40000, 80, SYN), 0, False, 8)))  # atomic, RFC 6946
    yield from map(ether, fragments4("192.0.2.1", "192.0.2.2", raw(4, ip4(*V4, whole)), 1480, ident=9))


@trace("ip6-extensions.pcap")
def ip6_extensions():
    syn = tcp(40000, 80, SYN)
    alert, tunnel_limit = b"\x05\x02\x00\x00", b"\x04\x01\x04"
    segments = ["2001:db8:1::1", "2001:db8:1::2"]
    yield ether(ip6(*V6, ip6_options(0, syn)))
    yield ether(ip6(*V6, ip6_options(0, syn, alert)))
    yield ether(ip6(*V6, ip6_options(60, syn, tunnel_limit)))
    yield ether(ip6(*V6, ip6_options(60, udp(40000, 53, QUERY), b"\x1e\x40" + payload(64))))
    yield ether(ip6(*V6, ip6_routing(syn, 0, 0, segments)))
    yield ether(ip6(V6[0], segments[0], ip6_routing(syn, 0, 2, [segments[1], V6[1]]), final=V6[1]))
    yield ether(ip6(*V6, ip6_routing(syn, 2, 1, ["2001:db8:2::1"]), final="2001:db8:2::1"))
    yield ether(ip6(V6[0], segments[1], ip6_routing(raw(41, syn6()), 4, 1, segments)))
    yield ether(ip6(*V6, ip6_fragment(syn, 0, False, 1)))
    yield ether(ip6(*V6, ip6_fragment(raw(6, payload(64)), 1480, True, 2)))  # a later fragment: no ports in it
    yield ether(ip6(*V6, ah(syn, 0x100, 1)))
    # The order that RFC 8200 §4.1 recommends, all at once.
    yield ether(ip6(*V6, ip6_options(0, ip6_options(60, ip6_routing(ip6_fragment(ah(ip6_options(60, syn), 1, 1), 0, False, 3),
                                                                    0, 0, segments)), alert)))
    yield ether(ip6(*V6, ip6_options(60, icmp6(128, 0, data=payload(8)))))
    yield ether(ip6(*V6, ip6_options(60, raw(59, b""))))  # no next header
    yield ether(ip6(*V6, raw(59, b"")))
    yield ether(ip6(*V6, raw(135, b"\x3b\x00\x00\x00\x00\x00\x00\x00")))  # mobility: binding refresh request
    yield ether(ip6(*V6, raw(253, payload(16))))
    for depth in range(2, 12):  # `depth` destination option headers before TCP
        upper = tcp(40000, 8000 + depth, SYN)
        for _ in range(depth):
            upper = ip6_options(60, upper)
        yield ether(ip6(*V6, upper))
    yield ether(ip6(*V6, udp(40000, 9, b"x"), traffic=0xB8, flow=0xFFFFF, hop=1))
    yield ether(ip6(*V6, udp(40000, 9, b"x"), traffic=0x03, flow=1, hop=255))


@trace("icmp.pcap")
def icmps():
    cause = ip4(*V4, udp(40000, 9, payload(8)))
    for code in range(16):
        yield ether(ip4("10.0.0.254", V4[0], icmp(3, code, b"\0\0\x05\x14" if code == 4 else b"\0" * 4, cause)))
    echo = struct.pack("!HH", 7, 1)
    yield ether(ip4(*V4, icmp(8, 0, echo, payload(56))))
    yield ether(ip4(*reversed(V4), icmp(0, 0, echo, payload(56))))
    yield ether(ip4("10.0.0.254", V4[0], icmp(4, 0, data=cause)))  # source quench
    for code in range(4):
        yield ether(ip4("10.0.0.254", V4[0], icmp(5, code, address("10.0.0.253"), cause)))
    yield ether(ip4("10.0.0.254", "224.0.0.1", icmp(9, 0, b"\x01\x02\x07\x08" + address("10.0.0.254") + bytes(4)), ttl=1))
    yield ether(ip4(V4[0], "224.0.0.2", icmp(10, 0), ttl=1))
    for code in range(2):
        yield ether(ip4("10.0.0.254", V4[0], icmp(11, code, data=cause)))
    yield ether(ip4("10.0.0.254", V4[0], icmp(12, 0, b"\x14\0\0\0", cause)))
    yield ether(ip4(*V4, icmp(13, 0, echo, struct.pack("!III", 1000, 0, 0))))
    yield ether(ip4(*reversed(V4), icmp(14, 0, echo, struct.pack("!III", 1000, 1001, 1002))))
    yield ether(ip4(*V4, icmp(17, 0, echo, bytes(4))))
    yield ether(ip4(*reversed(V4), icmp(18, 0, echo, address("255.255.255.0"))))


def link_address(kind, value):
    return bytes([kind, 1]) + value


@trace("neighbour-discovery.pcap")
def neighbour_discovery():
    router, host, nodes, routers = "fe80::1", "fe80::a", "ff02::1", "ff02::2"
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + address("2001:db8::")
    mtu = struct.pack("!BBHI", 5, 1, 0, 1500)
    resolver = struct.pack("!BBHI", 25, 3, 0, 600) + address("2001:db8::53")
    cause = ip6(*V6, udp(40000, 9, payload(8)))

    def send(src, dst, *message, hop=255):
        return ether(ip6(src, dst, icmp6(*message), hop=hop))

    yield send(host, routers, 133, 0, bytes(4), link_address(1, HOST_A))
    yield send(router, nodes, 134, 0, struct.pack("!BBH", 64, 0x40, 1800), bytes(8) + link_address(1, HOST_B) + prefix + mtu + resolver)
    yield send("::", "ff02::1:ff00:a", 135, 0, bytes(4), address(host))  # duplicate address detection
    yield send(host, "ff02::1:ff00:1", 135, 0, bytes(4), address(router) + link_address(1, HOST_A))
    yield send(router, host, 136, 0, b"\xe0\0\0\0", address(router) + link_address(2, HOST_B))
    yield send(host, nodes, 136, 0, b"\x20\0\0\0", address(host) + link_address(2, HOST_A))
    redirected = cause + bytes(-len(cause) % 8)
    yield send(router, host, 137, 0, bytes(4), address("fe80::2") + address("2001:db8::2") + link_address(2, HOST_B)
               + bytes([4, 1 + len(redirected) // 8]) + bytes(6) + redirected)
    for code in range(7):
        yield send(router, host, 1, code, bytes(4), cause, hop=64)
    yield send(router, host, 2, 0, struct.pack("!I", 1280), cause, hop=64)
    yield send(router, host, 3, 0, bytes(4), cause, hop=64)
    yield send(router, host, 4, 1, struct.pack("!I", 6), cause, hop=64)
    yield send(host, router, 128, 0, struct.pack("!HH", 7, 1), payload(56), hop=64)
    yield send(router, host, 129, 0, struct.pack("!HH", 7, 1), payload(56), hop=64)

    def listener(src, dst, *message):
        return ether(ip6(src, dst, ip6_options(0, icmp6(*message), b"\x05\x02\x00\x00"), hop=1))

    group = "ff0e::1234"
    yield listener(router, nodes, 130, 0, struct.pack("!HH", 10000, 0), bytes(16))
    yield listener(router, nodes, 130, 0, struct.pack("!HH", 10000, 0), bytes(16) + struct.pack("!BBH", 2, 125, 0))
    yield listener(host, group, 131, 0, bytes(4), address(group))
    yield listener(host, routers, 132, 0, bytes(4), address(group))
    yield listener(host, "ff02::16", 143, 0, struct.pack("!HH", 0, 1), struct.pack("!BBH", 4, 0, 0) + address(group))


@trace("igmp.pcap")
def igmps():
    alert = b"\x94\x04\x00\x00"
    group, source = address("239.1.2.3"), address("192.0.2.1")

    def send(dst, *message, options=alert):
        return ether(ip4(V4[0], dst, igmp(*message), ttl=1, tos=0xC0, options=options))

    yield send("224.0.0.1", 0x11, 0, bytes(4), options=b"")  # version 1 query
    yield send("239.1.2.3", 0x12, 0, group, options=b"")
    yield send("224.0.0.1", 0x11, 100, bytes(4))  # version 2
    yield send("239.1.2.3", 0x11, 10, group)
    yield send("239.1.2.3", 0x16, 0, group)
    yield send("224.0.0.2", 0x17, 0, group)
    yield send("224.0.0.1", 0x11, 100, bytes(4) + struct.pack("!BBH", 2, 125, 0))  # version 3
    yield send("239.1.2.3", 0x11, 10, group + struct.pack("!BBH", 2, 125, 1) + source)
    for kind in range(1, 7):
        sources = [source] if kind in (1, 2, 5, 6) else []
        record = struct.pack("!BBH", kind, 0, len(sources)) + group + b"".join(sources)
        yield send("224.0.0.22", 0x22, 0, struct.pack("!HH", 0, 1) + record)


@trace("sctp.pcap")
def sctps():
    a, b = 0x11111111, 0x22222222
    begin = struct.pack("!IIHHI", a, 65536, 10, 10, 100)
    answer = struct.pack("!IIHHI", b, 65536, 10, 10, 200) + parameter(7, b"state cookie")

    def data(tsn, stream, number, body, flags=3, protocol=0):
        return chunk(0, flags, struct.pack("!IHHI", tsn, stream, number, protocol) + body)

    def acknowledge(tsn, *gaps):
        return chunk(3, 0, struct.pack("!IIHH", tsn, 65536, len(gaps), 0) + b"".join(struct.pack("!HH", *g) for g in gaps))

    def forth(tag, *chunks):
        return ether(ip4(*V4, sctp(5000, 5001, tag, *chunks)))

    def back(tag, *chunks):
        return ether(ip4(*reversed(V4), sctp(5001, 5000, tag, *chunks)))

    yield forth(0, chunk(1, 0, begin))
    yield back(a, chunk(2, 0, answer))
    yield forth(b, chunk(10, 0, b"state cookie"), data(100, 0, 0, b"hello"))
    yield back(a, chunk(11, 0), acknowledge(100), data(200, 0, 0, b"well met"))
    yield forth(b, acknowledge(200), data(101, 1, 0, payload(3)), data(102, 1, 1, payload(4)), data(104, 2, 0, payload(5)))
    yield back(a, acknowledge(102, (2, 2)))
    yield forth(b, data(103, 1, 2, payload(700), flags=2), data(105, 1, 2, payload(300), flags=1))
    yield forth(b, chunk(4, 0, parameter(1, payload(16))))
    yield back(a, chunk(5, 0, parameter(1, payload(16))))
    yield forth(b, chunk(192, 0, struct.pack("!I", 106)))
    yield forth(b, chunk(9, 0, parameter(6, chunk(200, 0))))
    yield forth(b, chunk(7, 0, struct.pack("!I", 200)))
    yield back(a, chunk(8, 0))
    yield forth(b, chunk(14, 0))
    yield ether(ip6(*V6, sctp(5000, 5001, 0, chunk(1, 0, begin))))
    yield ether(ip6(*reversed(V6), sctp(5001, 5000, a, chunk(6, 0))))


@trace("udp-lite-and-others.pcap")
def other_transports():
    """Transports with ports where TCP has them, that are neither TCP nor UDP."""
    # UDP-Lite, RFC 3828: coverage 8 sums the header only.
    def lite(pseudo):
        header = struct.pack("!HHHH", 40000, 9, 8, 0)
        return put16(header, 6, checksum(pseudo(136, 18) + header)) + payload(10)

    yield ether(ip4(*V4, Upper(136, lite)))
    # DCCP request, RFC 4340: type 0, 48-bit sequence numbers, service code.
    def request(pseudo):
        packet = struct.pack("!HHBBHBBHII", 40000, 5001, 5, 0, 0, 0 << 1 | 1, 0, 0, 1, 42)
        return put16(packet, 6, checksum(pseudo(33, len(packet)) + packet))

    yield ether(ip4(*V4, Upper(33, request)))


@trace("malformed.pcap")
def malformed():
    """Headers that contradict themselves, in a file that is sound: each ends its packet's path above it, and is counted."""
    good = ether(syn4())
    yield good
    yield good[:14] + b"\x44" + good[15:]  # IPv4 header length 16
    yield good[:14] + b"\x55" + good[15:]  # version 5 under the type of IPv4
    yield good[:14] + b"\x4f" + good[15:]  # header length 60, in 40 bytes
    yield put16(good, 16, 10)  # total length less than the header
    yield put16(good, 16, 1500)  # total length more than the frame
    segment = ip4(*V4, tcp(40000, 80, SYN))
    yield ether(segment[:32] + b"\x40" + segment[33:])  # TCP data offset 4
    yield ether(segment[:32] + b"\xf0" + segment[33:])  # TCP data offset 15, in 20 bytes
    datagram = ip4(*V4, udp(40000, 53, QUERY))
    yield ether(put16(datagram, 24, 7))  # UDP length less than its header
    yield ether(put16(datagram, 24, 1000))  # UDP length more than the packet
    packet = syn6()
    yield ether(put16(packet, 4, 2000))  # IPv6 payload length more than the frame
    yield ether(ip6(*V6, raw(0, bytes([6, 200, 1, 4, 0, 0, 0, 0]) + payload(20))))  # extension header beyond the end
    yield ether(ip4(*V4, tcp(40000, 80, SYN, options=b"\x02\x00\x00\x00")))  # option of length 0
    yield ether(ip4(*V4, tcp(40000, 80, SYN, options=b"\x01\x01\x08\x0a")))  # option beyond the header
    yield eth(ARP, struct.pack("!HHBBH", 1, IPV4, 6, 4, 1), pad=False)  # ARP without its addresses
    yield eth(VLAN, b"\0", pad=False)
    yield eth(MPLS, mpls([16, 17], b"")[:6], pad=False)
    yield good[:13]
    yield b""
    bad = ether(put16(syn4(), 10, 0xBAD))  # wrong IP header checksum: all fields are there, and only it is wrong
    yield bad
