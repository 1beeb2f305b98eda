#!/usr/bin/env python3
"""Peers for record.sh: what the recorded programs talk to, and the tunnel ends that the kernel lacks.

    peers.py web ADDRESS PORT                   HTTP/1.1 server with keep-alive
    peers.py sink ADDRESS PORT SECONDS          accepts, reads nothing for SECONDS, then all: a closed window
    peers.py push ADDRESS PORT BYTES            connects and sends BYTES
    peers.py abort ADDRESS PORT                 connects, sends a line, resets the connection
    peers.py datagram ADDRESS PORT BYTES        sends one UDP datagram of BYTES
    peers.py tunnel KIND DEVICE LOCAL REMOTE    KIND gre, ipip, 6in4, gtpu, geneve: between IPv4 addresses
    peers.py tunnel vlan DEVICE LINK VID        tags what DEVICE sends over LINK

A tunnel makes DEVICE (tun for IP tunnels, tap for geneve and vlan), prints "ready", and carries packets until
it is stopped. The packets inside and outside are the kernel's own; only the header between them is made here.
"""

import fcntl
import http.server
import os
import select
import socket
import struct
import sys
import time


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Pages(http.server.BaseHTTPRequestHandler):
    """/page/N and /bytes/N exist; POST answers with the length it got; all else is 404."""

    protocol_version = "HTTP/1.1"
    server_version = "wire/1.0"
    sys_version = ""

    def log_message(self, format, *args):
        pass

    def answer(self, status, body, kind="text/html"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        what, _, number = self.path.lstrip("/").partition("/")
        if what == "":
            self.answer(200, b"<html><body>It works.</body></html>\n")
        elif what == "page" and number.isdigit():
            self.answer(200, b"<html><title>Page %s</title></html>\n" % number.encode())
        elif what == "bytes" and number.isdigit():
            self.answer(200, b"0123456789abcdef" * (int(number) // 16), "application/octet-stream")
        else:
            self.answer(404, b"<html><body>Not found.</body></html>\n")

    do_HEAD = do_GET

    def do_POST(self):
        size = int(self.headers.get("Content-Length", "0"))
        while size > 0:
            size -= len(self.rfile.read(min(size, 65536)))
        self.answer(201, b"stored\n", "text/plain")


def web(address, port):
    class Server(http.server.ThreadingHTTPServer):
        address_family = family(address)

    Server((address, int(port)), Pages).serve_forever()


def sink(address, port, seconds):
    listener = socket.socket(family(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind((address, int(port)))
    listener.listen()
    while True:
        peer, _ = listener.accept()
        time.sleep(float(seconds))
        while peer.recv(65536):
            pass
        peer.close()


def push(address, port, size):
    peer = socket.create_connection((address, int(port)))
    peer.sendall(b"0123456789abcdef" * (int(size) // 16))
    peer.shutdown(socket.SHUT_WR)
    peer.recv(1)


def abort(address, port):
    peer = socket.create_connection((address, int(port)))
    peer.sendall(b"GET / HTTP/1.1\r\n")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def datagram(address, port, size):
    peer = socket.socket(family(address), socket.SOCK_DGRAM)
    peer.sendto(b"0123456789abcdef" * (int(size) // 16), (address, int(port)))


# From linux/if_tun.h and linux/if_packet.h.
TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0001, 0x0002, 0x1000
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING, TP_STATUS_VLAN_VALID = 263, 8, 4, 0x10
TUNNEL_KEY = 0x0000002A


def device(name, flags):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | IFF_NO_PI))
    return fd


def raw_end(protocol, local, remote, header):
    """(receive, send, socket) over raw IPv4 with `protocol`, `header` before each packet."""
    end = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    end.bind((local, 0))

    def receive():
        packet = end.recv(65535)
        return packet[(packet[0] & 15) * 4 + len(header):]

    return receive, lambda inner: end.sendto(header + inner, (remote, 0)), end


def udp_end(port, local, remote, header, header_size):
    """(receive, send, socket) over UDP `port`; `header` makes the tunnel header of a packet."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((local, port))
    return (
        lambda: end.recv(65535)[header_size:],
        lambda inner: end.sendto(header(inner) + inner, (remote, port)),
        end,
    )


def vlan_end(link, vid):
    """(receive, send, socket) of the frames on `link` that carry the tag `vid`."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    end.bind((link, 0))
    end.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    priority = 3

    def receive():
        frame, extra, _, source = end.recvmsg(65535, 256)
        for level, kind, data in extra:
            # The kernel takes the tag out of a received frame and hands it over beside it.
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and source[2] != PACKET_OUTGOING:
                status, tag = struct.unpack_from("I12xH", data)
                if status & TP_STATUS_VLAN_VALID and tag & 0xFFF == vid:
                    return frame
        return b""

    def send(frame):
        end.send(frame[:12] + struct.pack("!HH", 0x8100, priority << 13 | vid) + frame[12:])

    return receive, send, end


def tunnel(kind, name, local, remote):
    layer = IFF_TAP if kind in ("geneve", "vlan") else IFF_TUN
    if kind == "gre":  # RFC 2784 with the key of RFC 2890
        receive, send, end = raw_end(47, local, remote, struct.pack("!HHI", 0x2000, 0x0800, TUNNEL_KEY))
    elif kind == "ipip":  # RFC 2003
        receive, send, end = raw_end(4, local, remote, b"")
    elif kind == "6in4":  # RFC 4213
        receive, send, end = raw_end(41, local, remote, b"")
    elif kind == "gtpu":  # 3GPP TS 29.281, G-PDU
        def header(inner):
            return struct.pack("!BBHI", 0x30, 255, len(inner), TUNNEL_KEY)
        receive, send, end = udp_end(2152, local, remote, header, 8)
    elif kind == "geneve":  # RFC 8926, Transparent Ethernet Bridging, no options
        def header(_):
            return struct.pack("!BBHI", 0, 0, 0x6558, TUNNEL_KEY << 8)
        receive, send, end = udp_end(6081, local, remote, header, 8)
    elif kind == "vlan":  # IEEE 802.1Q
        receive, send, end = vlan_end(local, int(remote))
    else:
        sys.exit(f"peers.py: there is no tunnel of the kind {kind}")
    fd = device(name, layer)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([fd, end], [], [])
        for source in ready:
            if source is end:
                inner = receive()
                if inner:
                    try:
                        os.write(fd, inner)
                    except OSError:
                        pass  # the device is not up yet
            else:
                try:
                    send(os.read(fd, 65535))
                except OSError:
                    pass  # the link is gone: the recording ends


def main(arguments):
    commands = {f.__name__: f for f in (web, sink, push, abort, datagram, tunnel)}
    if len(arguments) < 2 or arguments[1] not in commands:
        sys.exit(__doc__)
    commands[arguments[1]](*arguments[2:])


if __name__ == "__main__":
    main(sys.argv)
