"""Tunnels: IP in IP, GRE, VXLAN, GENEVE, GTP-U, IPsec."""

import struct

from generator.links import QUERY, V4, V6, dns4, syn4, syn6
from generator.packets import *
from generator.trace import Traces

traces = Traces()
trace, files = traces.trace, traces.files

OUTER4, OUTER6 = ("192.0.2.1", "192.0.2.2"), ("2001:db8:ffff::1", "2001:db8:ffff::2")


@trace("ip-in-ip.pcap")
def ip_in_ip():
    yield ether(ip4(*OUTER4, raw(4, syn4())))
    yield ether(ip4(*OUTER4, raw(41, syn6())))
    yield ether(ip6(*OUTER6, raw(4, syn4())))
    yield ether(ip6(*OUTER6, raw(41, syn6())))
    for depth in range(2, 11):  # `depth` headers around one
        packet = syn4(8000 + depth)
        for i in range(depth):
            packet = ip4(f"192.0.2.{2 * i + 1}", f"192.0.2.{2 * i + 2}", raw(4, packet), ident=i)
        yield ether(packet)
    yield ether(ip4(*OUTER4, raw(41, ip6(*OUTER6, raw(4, ip4(*V4, udp(1, 2, payload(4))))))))


@trace("gre.pcap")
def gres():
    yield ether(ip4(*OUTER4, gre(IPV4, syn4())))
    yield ether(ip4(*OUTER4, gre(IPV6, syn6())))
    yield ether(ip4(*OUTER4, gre(IPV4, syn4(), key=42)))
    yield ether(ip4(*OUTER4, gre(IPV4, syn4(), sequence=7)))
    yield ether(ip4(*OUTER4, gre(IPV4, syn4(), sums=True)))
    yield ether(ip4(*OUTER4, gre(IPV4, syn4(), key=0xFFFFFFFF, sequence=8)))
    yield ether(ip4(*OUTER4, gre(IPV6, syn6(), key=43, sequence=9, sums=True)))
    yield ether(ip4(*OUTER4, gre(TEB, ether(syn4()), key=44)))
    yield ether(ip4(*OUTER4, gre(TEB, tagged([(VLAN, 0, 100)], IPV4, syn4()))))
    yield ether(ip4(*OUTER4, gre(MPLS, mpls([16, 17], syn4()))))
    yield ether(ip6(*OUTER6, gre(IPV4, syn4(), key=45)))
    yield ether(ip4(*OUTER4, gre(IPV4, ip4(*OUTER4, gre(IPV4, syn4(), key=2)), key=1)))
    # PPTP, RFC 2637: version 1, payload length and call number where the key is, both sequence numbers.
    body = ppp(0x0021, dns4())
    yield ether(ip4(*OUTER4, raw(47, struct.pack("!HHHHII", 0x3081, 0x880B, len(body), 99, 5, 4) + body)))
    # A keepalive: an empty payload of protocol 0 (inside, what the far end is to send back).
    yield ether(ip4(*OUTER4, gre(IPV4, ip4(*reversed(OUTER4), gre(0, b"")))))


@trace("vxlan.pcap")
def vxlans():
    yield ether(ip4(*OUTER4, vxlan(42, ether(syn4()))))
    yield ether(ip4(*OUTER4, vxlan(0xFFFFFF, ether(syn6()))))
    yield ether(ip4(*OUTER4, vxlan(42, eth(ARP, arp(1, HOST_A, V4[0], bytes(6), V4[1]), dst=BROADCAST))))
    yield ether(ip4(*OUTER4, vxlan(42, tagged([(VLAN, 0, 100)], IPV4, dns4()))))
    yield ether(ip4(*OUTER4, vxlan(42, ether(dns4()), sums=True)))
    yield ether(ip6(*OUTER6, vxlan(43, ether(syn4()))))  # checksum 0 over IPv6, RFC 6935
    yield ether(ip6(*OUTER6, vxlan(43, ether(syn6()), sums=True)))
    inner = ip4("198.51.100.1", "198.51.100.2", vxlan(2, ether(syn4(8002))))
    yield ether(ip4(*OUTER4, vxlan(1, ether(inner))))
    yield ether(ip4(*OUTER4, vxlan(3, ether(ip4(*V4, gre(IPV4, dns4()))))))
    yield tagged([(VLAN, 0, 200)], IPV4, ip4(*OUTER4, vxlan(42, ether(syn4()))))


@trace("geneve.pcap")
def geneves():
    one = geneve_option(0x0102, 0x80, b"\0\0\0\1")
    long = geneve_option(0x0103, 0x01, payload(124))
    yield ether(ip4(*OUTER4, geneve(42, TEB, ether(syn4()))))
    yield ether(ip4(*OUTER4, geneve(42, TEB, ether(syn6()), options=one, critical=True)))
    yield ether(ip4(*OUTER4, geneve(42, TEB, ether(syn4()), options=one + geneve_option(0x0102, 2, b"") + long)))
    yield ether(ip4(*OUTER4, geneve(42, TEB, ether(syn4()), options=long + geneve_option(0x0103, 2, payload(120)))))
    yield ether(ip4(*OUTER4, geneve(43, IPV4, dns4())))
    yield ether(ip4(*OUTER4, geneve(43, IPV6, syn6(), options=one)))
    yield ether(ip4(*OUTER4, geneve(44, TEB, ether(dns4()), control=True)))
    yield ether(ip6(*OUTER6, geneve(45, TEB, ether(syn4()), options=one, sums=True)))
    yield ether(ip4(*OUTER4, geneve(46, TEB, ether(ip4(*OUTER4, vxlan(47, ether(syn4())))))))


@trace("gtpu.pcap")
def gtpus():
    session = (0x85, b"\x00\x09")  # PDU session container, downlink, QoS flow 9
    yield ether(ip4(*OUTER4, gtpu(0x1001, syn4())))
    yield ether(ip4(*OUTER4, gtpu(0x1001, syn6())))
    yield ether(ip4(*OUTER4, gtpu(0x1002, dns4(), sequence=77)))
    yield ether(ip4(*OUTER4, gtpu(0x1003, syn4(), extensions=[session])))
    yield ether(ip4(*OUTER4, gtpu(0x1003, syn4(), sequence=78, extensions=[(0xC0, b"\x00\x2a"), session])))
    yield ether(ip6(*OUTER6, gtpu(0x1004, syn4())))
    yield ether(ip4(*OUTER4, gtpu(0, b"", kind=1, sequence=1)))  # echo request
    yield ether(ip4(*OUTER4, gtpu(0, b"\x0e\x00", kind=2, sequence=1)))  # echo response, with its recovery element
    yield ether(ip4(*OUTER4, gtpu(0, b"\x10\x00\x00\x10\x01" + b"\x85\x00\x04" + address(OUTER4[1]), kind=26, sequence=0)))
    yield ether(ip4(*OUTER4, gtpu(0x1001, b"", kind=254)))  # end marker


@trace("ipsec.pcap")
def ipsec():
    yield ether(ip4(*OUTER4, esp(0x100, 1, 48)))
    yield ether(ip6(*OUTER6, esp(0x101, 2, 64)))
    yield ether(ip4(*V4, ah(tcp(40000, 80, SYN), 0x200, 1)))
    yield ether(ip4(*V4, ah(udp(40000, 53, QUERY), 0x200, 2, icv=b"\xa5" * 16)))
    yield ether(ip6(*V6, ah(tcp(40000, 80, SYN), 0x201, 1)))
    yield ether(ip4(*OUTER4, ah(raw(4, syn4()), 0x202, 1)))  # tunnel mode
    yield ether(ip4(*OUTER4, ah(esp(0x102, 3, 40), 0x203, 1)))
    yield ether(ip4(*OUTER4, udp(4500, 4500, struct.pack("!II", 0x103, 4) + payload(40))))  # RFC 3948
    yield ether(ip4(*OUTER4, udp(4500, 4500, b"\xff")))  # its keepalive


@trace("tunnels-mixed.pcap")
def mixed():
    """The same inner TCP segment in every tunnel, once: inner and outer addresses never coincide."""
    inner = syn4(8080)
    yield ether(inner)
    yield tagged([(VLAN, 0, 100)], IPV4, inner)
    yield tagged([(QINQ, 0, 200), (VLAN, 0, 100)], IPV4, inner)
    yield eth(MPLS, mpls([16, 17], inner))
    yield eth(PPPOE_SESSION, pppoe(0, 1, ppp(0x0021, inner)))
    yield dot3(snap(IPV4, inner))
    yield ether(ip4(*OUTER4, raw(4, inner)))
    yield ether(ip6(*OUTER6, raw(4, inner)))
    yield ether(ip4(*OUTER4, gre(IPV4, inner, key=1)))
    yield ether(ip4(*OUTER4, gre(TEB, ether(inner))))
    yield ether(ip4(*OUTER4, vxlan(1, ether(inner))))
    yield ether(ip4(*OUTER4, geneve(1, TEB, ether(inner), options=geneve_option(1, 1, b"\0" * 4))))
    yield ether(ip4(*OUTER4, geneve(1, IPV4, inner)))
    yield ether(ip4(*OUTER4, gtpu(1, inner)))
    yield ether(ip4(*OUTER4, ah(raw(4, inner), 1, 1)))
