#!/usr/bin/env bash
# Checks the table of README.md against the files, with Wireshark's tools:
#
#   each file is in the table, with its number of packets; for a damaged one, those before the damage;
#   no packet is malformed and no checksum is wrong, but where the table says so ("malformed", "checksums");
#   generated/ and damaged/ are what generate.py writes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

failures=0
fail() { printf 'verify: %s\n' "$*" >&2; failures=$((failures + 1)); }

checked=(-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE -o "sctp.checksum:CRC 32c")
# Linux sends a TCP checksum of 0 as 0xffff: the same in one's complement (RFC 1624), and marked as wrong by tshark.
wrong='ip.checksum.status==0 || (tcp.checksum.status==0 && !tcp.checksum.ffff) || udp.checksum.status==0 || icmp.checksum.status==0 ||
  icmpv6.checksum.status==0 || igmp.checksum.status==0 || sctp.checksum.status==0 || gre.checksum.status==0 ||
  dccp.checksum.status==0'

# numbers FILE FILTER: the packets that match, on one line.
numbers() { tshark -r "$1" "${checked[@]}" -Y "$2" -T fields -e frame.number 2>>"$log" | tr '\n' ' '; }

tmp=$(mktemp -d)
log=$tmp/log
# What the tools said matters only when one of them ended the check.
finish() {
  local status=$?
  [ "$status" -eq 0 ] || [ "$failures" -gt 0 ] || tail -n 5 "$log" >&2 || true
  rm -rf "$tmp"
}
trap finish EXIT

python3 generate.py --check || failures=$((failures + 1))

# A row of the table: | `file` | packets | how it was made | what it shows |
while IFS='|' read -r _ name packets _ shows _; do
  name=$(tr -d '` ' <<<"$name")
  packets=$(tr -d ' ' <<<"$packets")
  [ -e "$name" ] || { fail "$name is in the table and not here"; continue; }
  case $name in
    damaged/*)
      # tshark prints what it read before it complains; what it reads of a version that there never was is its own affair.
      found=$(tshark -r "$name" -T fields -e frame.number 2>>"$log" | wc -l || true)
      [ "$found" = "$packets" ] || [[ $shows == *"Wireshark reads"* ]] ||
        fail "$name yields $found packets, and $packets in the table"
      continue ;;
  esac
  read=$name
  case $name in
    *.xz) read=$tmp/plain.pcap && xz -dc "$name" >"$read" ;;  # Wireshark reads gzip and zstd, not xz
  esac
  found=$(capinfos -cMTr "$read" 2>>"$log" | cut -f 2)
  [ "$found" = "$packets" ] || fail "$name holds $found packets, and $packets in the table"
  malformed=$(numbers "$read" _ws.malformed)
  [ -z "$malformed" ] || [[ $shows == *malformed* ]] || fail "$name: malformed: $malformed"
  sums=$(numbers "$read" "$wrong")
  [ -z "$sums" ] || [[ $shows == *checksums* ]] || fail "$name: wrong checksums: $sums"
done < <(grep '^| `' README.md)

for name in *.pcap *.pcapng *.pcap.* *.pcapng.* generated/* damaged/*; do
  grep -qF "| \`$name\` |" README.md || fail "$name is not in the table"
  size=$(stat -c %s "$name")
  [ "$size" -le 400000 ] || fail "$name has $size bytes, more than 400000"
done

[ "$failures" -eq 0 ] || exit 1
echo "verify: $(grep -c '^| `' README.md) files are as the table says"
