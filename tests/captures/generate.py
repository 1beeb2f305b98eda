#!/usr/bin/env python3
"""Writes the captures of generated/ and damaged/: what no kernel here encapsulates, and what no program would send.

    generate.py             write them all
    generate.py --check     say which committed files differ from what would be written; exit 1 if any does
    generate.py --list      name, and the number of records that each file is meant to hold

Plain Python 3. The same bytes on every run: times start at 2026-01-01T00:00:00Z, and nothing is random.
"""

import pathlib
import sys

sys.dont_write_bytecode = True  # leave nothing in the tree but the captures

from generator import damaged, encapsulations, formats, links, transports

HERE = pathlib.Path(__file__).resolve().parent


def files():
    """(path below this folder, content, number of records) of every file."""
    for module in (links, encapsulations, transports, formats, damaged):
        yield from module.files()


def main(arguments):
    if arguments not in ([], ["--check"], ["--list"]):
        sys.exit(__doc__)
    differing = 0
    for name, content, records in files():
        path = HERE / name
        if arguments == ["--list"]:
            print(f"{name}\t{records}\t{len(content)}")
        elif arguments == ["--check"]:
            if not path.exists() or path.read_bytes() != content:
                print(f"{name}: differs from what generate.py writes", file=sys.stderr)
                differing += 1
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
