"""How the modules of captures say what they hold: `@trace` on a function that yields packets makes it a file."""

from generator import capfile

START = 1_767_225_600 * 10**9  # 2026-01-01T00:00:00Z
STEP = 100_000_000 + 1_001  # 100 ms and a bit, so that every digit down to the nanosecond is used


def timed(packets, start=START, step=STEP):
    """Records out of packets, one every `step` ns."""
    return [(start + i * step, packet) for i, packet in enumerate(packets)]


class Traces:
    """The files of one module."""

    def __init__(self):
        self.made = []

    def trace(self, name, linktype=capfile.ETHERNET, **how):
        """The decorated function yields packets, and becomes the pcap file `name` in generated/."""

        def register(make):
            self.made.append((name, make, linktype, how))
            return make

        return register

    def files(self):
        for name, make, linktype, how in self.made:
            packets = list(make())
            yield f"generated/{name}", capfile.pcap(timed(packets), linktype, **how), len(packets)
