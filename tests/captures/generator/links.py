"""Link layers: tags, LLC, PPP, PPPoE, loopback, Linux cooked, 802.11, raw IP, ARP, and frame sizes."""

import struct
import zlib

from generator.packets import *
from generator.trace import Traces

traces = Traces()
trace, files = traces.trace, traces.files

V4, V6 = ("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")


def syn4(port=80):
    return ip4(*V4, tcp(40000, port, SYN))


def syn6(port=80):
    return ip6(*V6, tcp(40000, port, SYN))


# A DNS query for the A record of example.net.
QUERY = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + b"\x07example\x03net\0" + struct.pack("!HH", 1, 1)


def dns4():
    return ip4(*V4, udp(40001, 53, QUERY))


@trace("vlan.pcap")
def vlan():
    for vid in (1, 100, 4094):
        yield tagged([(VLAN, 0, vid)], IPV4, syn4())
        yield tagged([(VLAN, 5, vid)], IPV6, syn6())
    yield tagged([(VLAN, 7, 0)], IPV4, dns4())  # priority tag: no VLAN, a priority
    yield tagged([(VLAN, 1, 100)], ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1]))
    yield tagged([(VLAN, 0, 100)], 0x88CC, b"\x02\x07\x04" + HOST_A + b"\x04\x03\x05p1\x06\x02\x00\x78\x00\x00")  # LLDP
    # IEEE 802.1Q with a length behind the tag: an 802.3 frame that is tagged.
    body = snap(IPV4, syn4())
    yield tagged([(VLAN, 0, 100)], len(body), body)
    yield ether(syn4())  # and one without a tag


@trace("qinq.pcap")
def qinq():
    yield tagged([(QINQ, 0, 200), (VLAN, 3, 100)], IPV4, syn4())
    yield tagged([(QINQ, 0, 200), (VLAN, 3, 100)], IPV6, syn6())
    yield tagged([(VLAN, 0, 300), (VLAN, 0, 301)], IPV4, dns4())
    yield tagged([(0x9100, 0, 200), (VLAN, 0, 100)], IPV4, syn4())  # the type from before 802.1ad
    for depth in range(3, 11):
        yield tagged([(QINQ, 0, 200)] + [(VLAN, 0, 10 + i) for i in range(depth - 1)], IPV4, syn4(8000 + depth))


@trace("mpls.pcap")
def mpls_stacks():
    for depth in range(1, 11):
        yield eth(MPLS, mpls([16 + i for i in range(depth)], syn4(8000 + depth)))
    yield eth(MPLS, mpls([1048575], syn6()))
    yield eth(MPLS, mpls([0], syn4()))  # IPv4 explicit null
    yield eth(MPLS, mpls([2], syn6()))  # IPv6 explicit null
    yield eth(MPLS, mpls([1000, 1], syn4()))  # router alert below the top
    yield eth(MPLS, mpls([1000], dns4(), ttl=1, tc=5))
    yield eth(MPLS_MULTICAST, mpls([1001], dns4()))
    # A pseudowire with its control word (RFC 4448): an Ethernet frame where IP would be.
    yield eth(MPLS, mpls([2000, 2001], b"\0" * 4 + ether(syn4())))
    yield tagged([(VLAN, 0, 100)], MPLS, mpls([16, 17], syn4()))


@trace("arp.pcap")
def arps():
    a, b = V4
    yield eth(ARP, arp(1, HOST_A, a, bytes(6), b), dst=BROADCAST)
    yield eth(ARP, arp(2, HOST_B, b, HOST_A, a), dst=HOST_A, src=HOST_B)
    yield eth(ARP, arp(1, HOST_A, a, bytes(6), a), dst=BROADCAST)  # gratuitous
    yield eth(ARP, arp(1, HOST_A, "0.0.0.0", bytes(6), b), dst=BROADCAST)  # probe, RFC 5227
    yield eth(0x8035, arp(3, HOST_A, "0.0.0.0", HOST_A, "0.0.0.0"), dst=BROADCAST)  # reverse ARP
    yield eth(ARP, arp(8, HOST_A, a, HOST_B, "0.0.0.0"))  # inverse ARP
    yield eth(ARP, arp(1, HOST_A, a, bytes(6), b), dst=BROADCAST, pad=False)


@trace("llc.pcap")
def llcs():
    bpdu = struct.pack("!HBBB", 0, 0, 0, 0) + struct.pack("!H", 0x8000) + HOST_A + struct.pack("!I", 4) \
        + struct.pack("!H", 0x8000) + HOST_A + struct.pack("!HHHHH", 0x8001, 256, 20 * 256, 2 * 256, 15 * 256)
    yield dot3(llc(0x42, 0x42, 3, bpdu), dst=mac("01:80:c2:00:00:00"))
    yield dot3(llc(0x42, 0x42, 3, b"\0\0\0\x80"), dst=mac("01:80:c2:00:00:00"))  # topology change
    yield dot3(snap(IPV4, syn4()))
    yield dot3(snap(IPV6, syn6()))
    yield dot3(snap(ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1])), dst=BROADCAST)
    trunk = b"\x01" + b"\0\1\0\x05\0" + b"\0\2\0\5\x81" + b"\0\3\0\5\xa5" + b"\0\4\0\x0a" + HOST_A
    yield dot3(snap(0x2004, trunk, oui=b"\x00\x00\x0c"), dst=mac("01:00:0c:cc:cc:cc"))  # Cisco DTP: a type of its own
    yield dot3(llc(0xF0, 0xF0, 3, b""), dst=mac("03:00:00:00:00:01"))  # NetBIOS, unnumbered
    yield dot3(llc(0x04, 0x05, 0x0001, b""))  # SNA, receive ready: a control field of 2 bytes
    yield dot3(llc(0xFE, 0xFE, 3, b"\0"))  # OSI network layer, inactive subset
    yield dot3(llc(0x06, 0x06, 3, syn4()))  # IP behind its own SAP, RFC 948
    yield ether(syn4())


@trace("pppoe.pcap")
def pppoes():
    def discovery(code, session, *tags):
        return eth(PPPOE_DISCOVERY, pppoe(code, session, b"".join(tags)), dst=BROADCAST if code == 9 else HOST_B)

    service, cookie, name = tag_value(0x0101, b""), tag_value(0x0104, b"cookie"), tag_value(0x0102, b"concentrator")
    unique = tag_value(0x0103, b"host")
    yield discovery(0x09, 0, service, unique)
    yield discovery(0x07, 0, service, unique, name, cookie)
    yield discovery(0x19, 0, service, unique, cookie)
    yield discovery(0x65, 0x1234, service, unique)

    def session(protocol, body):
        return eth(PPPOE_SESSION, pppoe(0, 0x1234, ppp(protocol, body)))

    yield session(0xC021, ppp_control(1, 1, b"\x01\x04\x05\xd4" + b"\x05\x06\x01\x02\x03\x04"))
    yield session(0xC021, ppp_control(2, 1, b"\x01\x04\x05\xd4" + b"\x05\x06\x01\x02\x03\x04"))
    yield session(0x8021, ppp_control(1, 1, b"\x03\x06" + address("10.0.0.1")))
    yield session(0x0021, syn4())
    yield session(0x0021, dns4())
    yield session(0x0057, syn6())
    yield session(0xC021, ppp_control(9, 2, b"\x01\x02\x03\x04"))
    yield discovery(0xA7, 0x1234)
    yield tagged([(VLAN, 0, 7)], PPPOE_SESSION, pppoe(0, 0x1234, ppp(0x0021, syn4())))


def ppp_packets():
    yield ppp(0xC021, ppp_control(1, 1, b"\x01\x04\x05\xd4"))
    yield ppp(0x0021, syn4())
    yield ppp(0x0057, syn6())
    yield ppp(0x0281, mpls([16], syn4()))


@trace("ppp.pcap", linktype=9)
def ppp_link():
    yield from ppp_packets()
    for packet in ppp_packets():  # with the address and control bytes of RFC 1662
        yield b"\xff\x03" + packet
    yield b"\x21" + syn4()  # protocol field compressed, RFC 1661 §6.5


@trace("ppp-hdlc.pcap", linktype=50)
def ppp_hdlc():
    for packet in ppp_packets():
        yield b"\xff\x03" + packet


@trace("ppp-ether.pcap", linktype=51)
def ppp_ether():
    for packet in ppp_packets():
        yield pppoe(0, 0x1234, packet)


@trace("raw.pcap", linktype=101)
def raw_ip():
    yield from (syn4(), syn6(), dns4(), ip4(*V4, icmp(8, 0, data=payload(8))), ip6(*V6, icmp6(128, 0)))


@trace("raw-bsd.pcap", linktype=12)
def raw_bsd():
    yield from raw_ip()


@trace("raw-ipv4.pcap", linktype=228)
def raw_ipv4():
    yield from (syn4(), dns4(), ip4(*V4, icmp(8, 0, data=payload(8))))


@trace("raw-ipv6.pcap", linktype=229)
def raw_ipv6():
    yield from (syn6(), ip6(*V6, icmp6(128, 0)), ip6(*V6, udp(40001, 53, QUERY)))


def loopback(order):
    """The address family in the byte order of the host that captured; IPv6 is 24, 28 or 30 by system."""
    yield struct.pack(order + "I", 2) + syn4()
    yield struct.pack(order + "I", 2) + dns4()
    for family in (24, 28, 30):
        yield struct.pack(order + "I", family) + syn6()
    yield struct.pack(order + "I", 7) + b"neither version of IP"


@trace("null-little.pcap", linktype=0)
def null_little():
    yield from loopback("<")


@trace("null-big.pcap", linktype=0, order=">")
def null_big():
    yield from loopback(">")


@trace("null-swapped.pcap", linktype=0)
def null_swapped():
    """A file in one byte order with address families in the other, as a converted capture has them."""
    yield from loopback(">")


@trace("loop.pcap", linktype=108)
def loop():
    yield from loopback(">")


@trace("sll.pcap", linktype=113)
def cooked_v1():
    def sll(kind, protocol, body, hardware=1, size=6, source=HOST_A):
        return struct.pack("!HHH", kind, hardware, size) + source.ljust(8, b"\0") + struct.pack("!H", protocol) + body

    yield sll(0, IPV4, syn4())
    yield sll(4, IPV4, dns4())
    yield sll(0, IPV6, syn6())
    yield sll(1, ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1]))
    yield sll(2, IPV4, ip4(V4[0], "224.0.0.1", udp(40001, 9)))
    yield sll(0, VLAN, struct.pack("!HH", 100, IPV4) + syn4())
    yield sll(0, IPV4, syn4(), hardware=772, source=bytes(6))  # the loopback device
    yield sll(0, IPV4, syn4(), hardware=0xFFFE, size=0, source=b"")  # a tun device has no address
    yield sll(0, 4, llc(0x42, 0x42, 3, b"\0\0\0\x80"))  # 802.2


@trace("sll2.pcap", linktype=276)
def cooked_v2():
    def sll2(kind, protocol, body, index=2, hardware=1, size=6, source=HOST_A):
        return struct.pack("!HHIHBB", protocol, 0, index, hardware, kind, size) + source.ljust(8, b"\0") + body

    yield sll2(0, IPV4, syn4())
    yield sll2(4, IPV4, dns4(), index=3)
    yield sll2(0, IPV6, syn6())
    yield sll2(1, ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1]))
    yield sll2(0, VLAN, struct.pack("!HH", 100, IPV6) + syn6(), index=70000)
    yield sll2(0, IPV4, syn4(), index=1, hardware=772, source=bytes(6))
    yield sll2(0, 4, llc(0x42, 0x42, 3, b"\0\0\0\x80"))


STATION, ACCESS_POINT, FAR = mac("02:00:00:00:00:57"), mac("02:00:00:00:00:a9"), mac("02:00:00:00:00:fa")


def wlan(control, body, flags=0, fourth=b"", extra=b"", order=(ACCESS_POINT, STATION, FAR)):
    """An 802.11 frame: frame control, duration, three addresses, sequence control, and what may follow."""
    return bytes([control, flags]) + b"\x2c\x00" + b"".join(order) + b"\x10\x00" + fourth + extra + body


@trace("radiotap.pcap", linktype=127)
def radiotap():
    def tap(frame, fcs=False, extended=False):
        if extended:  # two bitmaps: the second, empty one is announced by bit 31; then TSFT at its alignment of 8
            fields = struct.pack("<Q", 123456789) + struct.pack("<BB", 0x10 if fcs else 0, 12)
            header = struct.pack("<BBHII", 0, 0, 8 + 4 + 4 + len(fields), 1 << 31 | 0b111, 0) + b"\0" * 4 + fields
        else:  # flags, rate, channel, antenna signal
            fields = struct.pack("<BBHHb", 0x10 if fcs else 0, 12, 2412, 0x00A0, -47)
            header = struct.pack("<BBHI", 0, 0, 8 + len(fields), 0b101110) + fields
        return header + frame + (struct.pack("<I", zlib.crc32(frame)) if fcs else b"")

    v4, v6 = snap(IPV4, syn4()), snap(IPV6, syn6())
    yield tap(wlan(0x08, v4, flags=0x01))  # to the distribution system
    yield tap(wlan(0x08, v6, flags=0x02))  # from it
    yield tap(wlan(0x08, v4, flags=0x00))  # between stations
    yield tap(wlan(0x08, v4, flags=0x03, fourth=HOST_A))  # between access points: four addresses
    yield tap(wlan(0x88, v4, flags=0x01, extra=b"\x05\x00"))  # QoS
    yield tap(wlan(0x88, v6, flags=0x82, extra=b"\x00\x00" + b"\0" * 4))  # QoS with HT control
    yield tap(wlan(0x88, v4, flags=0x03, fourth=HOST_A, extra=b"\x00\x00"))
    yield tap(wlan(0x08, v4, flags=0x01), fcs=True)
    yield tap(wlan(0x08, v4, flags=0x09), extended=True)  # a retry
    yield tap(wlan(0x08, snap(ARP, arp(1, STATION, V4[0], bytes(6), V4[1])), flags=0x01))
    yield tap(wlan(0x48, b"", flags=0x11))  # null function: no data
    yield tap(wlan(0x08, bytes.fromhex("0100002000000000") + payload(40), flags=0x41))  # protected: CCMP
    yield tap(wlan(0x80, bytes(8) + b"\x64\x00\x01\x00" + b"\x00\x04wire" + b"\x01\x01\x82",
                   order=(BROADCAST, ACCESS_POINT, ACCESS_POINT)))  # beacon
    yield tap(b"\xd4\x00\x00\x00" + STATION)  # acknowledgement


@trace("wlan.pcap", linktype=105)
def wlan_without_radiotap():
    yield wlan(0x08, snap(IPV4, syn4()), flags=0x01)
    yield wlan(0x88, snap(IPV6, syn6()), flags=0x02, extra=b"\x00\x00")


@trace("user0.pcap", linktype=147)
def unknown_link():
    """A link type for private use: nothing but lengths can be known."""
    for size in (0, 1, 4, 60, 1500):
        yield payload(size)


@trace("padding.pcap")
def padding():
    """UDP of 0 to 24 bytes around the 60 bytes of the smallest frame: padded, as received; and short, as sent."""
    for size in range(25):
        yield ether(ip4(*V4, udp(40000, 9, payload(size))))
    for size in (0, 1, 17, 18, 19):
        yield ether(ip4(*V4, udp(40000, 9, payload(size))), pad=False)
    yield ether(ip4(*V4, tcp(40000, 80, ACK)))  # 54 bytes and 6 of padding: no data
    yield ether(ip6(*V6, udp(40000, 9)))
    packet = ip4(*V4, tcp(40000, 80, ACK))
    yield eth(IPV4, packet + b"\xde\xad\xbe\xef\xde\xad")  # padding that is not zero
    yield eth(IPV4, ip4(*V4, udp(40000, 9, payload(100))) + b"\xfc\x5c\x05\xfc")  # a frame check sequence left on


@trace("jumbo.pcap")
def jumbo():
    for size in (1472, 1473, 1476, 8972, 8973, 16110, 65507):
        yield ether(ip4(*V4, udp(40000, 9, payload(size))))
    yield ether(ip6(*V6, udp(40000, 9, payload(65527))))
