#!/usr/bin/env bash
# Records the captures of this folder from real programs, in network namespaces that it makes and removes.
#
#   tests/captures/record.sh [DIRECTORY]        where to write; this folder when not given
#
# Needs root, tcpdump, dumpcap, ip, ss, tc, ethtool, ping, arping and traceroute, curl, dig and dnsmasq,
# openssl, ssh and dropbear, iperf3, python3, gzip, xz and zstd. Takes about four minutes, because
# eth0.pcap and eth1.pcap span three minutes of real time. No packet leaves the machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "${1:-$here}" && pwd)
campus_seconds=190

say() { printf 'record: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }
[ "$(id -u)" -eq 0 ] || die "root is needed, to make network namespaces"
for tool in tcpdump dumpcap ip ss tc ethtool ping arping traceroute curl dig dnsmasq openssl ssh ssh-keygen \
  dropbear dropbearkey iperf3 python3 gzip xz zstd; do
  command -v "$tool" >/dev/null || die "$tool is missing"
done

# ── What is made, and its removal ────────────────────────────────────────────────────────────────────────────

tmp=$(mktemp -d)
tag=wt$$
declare -A running  # the processes of this script that have not been waited for
spaces=()

cleanup() {
  local status=$?
  trap - EXIT INT TERM
  for pid in "${!running[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${!running[@]}"; do wait "$pid" 2>/dev/null || true; done
  for space in "${spaces[@]}"; do ip netns del "$space" 2>/dev/null || true; done
  [ "$status" -eq 0 ] || { say "failed; the last lines of the logs:"; tail -n 3 "$tmp"/*.log >&2 || true; }
  rm -rf "$tmp"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# in NS COMMAND…: run a command in a namespace.
in_() { local ns=$1; shift; ip netns exec "$tag-$ns" "$@"; }
# try NS COMMAND…: the same for a client whose failure is what is recorded, or whose output nobody reads.
# A client that waits for an answer that was lost must not hold up the rest.
try() { timeout 12 ip netns exec "$tag-$1" "${@:2}" >/dev/null 2>&1 </dev/null || true; }

space() {
  ip netns add "$tag-$1"
  spaces+=("$tag-$1")
  ip -n "$tag-$1" link set lo up
  # Addresses are usable at once, and no router is looked for behind the recorded programs.
  # Each unreachable destination is answered, however soon after the one before.
  in_ "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
    net.ipv6.conf.default.router_solicitations=0 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
}

# wire NS1 DEV1 MAC1 NS2 DEV2 MAC2: a veth pair without offloads, so that frames and checksums are those of a wire.
wire() {
  ip link add "$2" netns "$tag-$1" address "$3" type veth peer name "$5" netns "$tag-$4" address "$6"
  for end in "$1 $2" "$4 $5"; do
    set -- $end
    in_ "$1" ethtool -K "$2" tx off rx off tso off gso off gro off >/dev/null
    ip -n "$tag-$1" link set "$2" up
  done
}

addr() { local ns=$1 dev=$2; shift 2; for a in "$@"; do ip -n "$tag-$ns" addr add "$a" dev "$dev"; done; }
route() { local ns=$1; shift; ip -n "$tag-$ns" route add "$@"; }

# serve NAME NS COMMAND…: a server in the background, its process in served[NAME].
declare -A served
serve() {
  local name=$1 ns=$2
  shift 2
  ip netns exec "$tag-$ns" "$@" >"$tmp/$name.log" 2>&1 </dev/null &
  served[$name]=$!
  running[$!]=$name
}
# ended NAME: wait for its process, and forget its number, which may soon be another's.
ended() {
  local pid=${served[$1]} status=0
  wait "$pid" || status=$?
  unset "running[$pid]"
  return $status
}
stop() { kill "${served[$1]}"; ended "$1" || true; }

# listening NS t|u PORT: wait until something listens there.
listening() {
  for _ in $(seq 100); do
    [ -z "$(in_ "$1" ss -H -ln"$2" "sport = :$3")" ] || return 0
    sleep 0.05
  done
  die "nothing listens on port $3"
}
logged() {
  for _ in $(seq 100); do
    grep -q "$2" "$tmp/$1.log" 2>/dev/null && return 0
    sleep 0.05
  done
  die "$1 did not get ready"
}

# capture FILE NS DEVICE [OPTION…]: start tcpdump; captured FILE: stop it when the last packets are in.
capture() {
  local file=$1 ns=$2 dev=$3
  shift 3
  serve "$file" "$ns" tcpdump -Z root --immediate-mode -U -n -i "$dev" -w "$out/$file" "$@"
  logged "$file" 'listening on'
}
captured() {
  sleep 0.4
  kill -INT "${served[$1]}"
  ended "$1" || die "tcpdump failed on $1"
  say "$1: $(grep -o '^[0-9]* packets captured' "$tmp/$1.log")"
}

# ── Servers, the same for both networks ──────────────────────────────────────────────────────────────────────

server4=192.0.2
server6=2001:db8:f::

openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=www.example.net \
  -addext subjectAltName=DNS:www.example.net -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null
dropbearkey -t ed25519 -f "$tmp/hostkey" >/dev/null 2>&1
mkdir -m 700 "$tmp/ssh"
ssh-keygen -q -t ed25519 -N '' -C '' -f "$tmp/ssh/id"

# servers NS: web, DNS, TLS and iperf3 in a namespace that has the server addresses.
servers() {
  serve "$1-web4" "$1" python3 "$here/peers.py" web $server4.80 80
  serve "$1-web6" "$1" python3 "$here/peers.py" web ${server6}80 80
  serve "$1-web2" "$1" python3 "$here/peers.py" web $server4.81 8080
  serve "$1-sink" "$1" python3 "$here/peers.py" sink $server4.80 9 1.5
  serve "$1-dns" "$1" dnsmasq --no-daemon --user=root --conf-file=/dev/null --no-hosts --no-resolv --pid-file= \
    --listen-address=$server4.53,${server6}53 --bind-interfaces --local=/example.net/ --local-ttl=300 \
    --host-record=www.example.net,$server4.80,${server6}80 --host-record=ns.example.net,$server4.53 \
    --cname=web.example.net,www.example.net --mx-host=example.net,mail.example.net,10 \
    --txt-record=example.net,'v=spf1 -all','a second string' \
    --srv-host=_ssh._tcp.example.net,ssh.example.net,22,5,10
  serve "$1-tls" "$1" openssl s_server -accept 443 -key "$tmp/key.pem" -cert "$tmp/cert.pem" -www -quiet \
    -alpn h2,http/1.1
  # Bound to their addresses, or the answers to UDP would come from another one.
  serve "$1-iperf4" "$1" iperf3 -s -B $server4.51
  serve "$1-iperf6" "$1" iperf3 -s -B ${server6}80
  listening "$1" t 80 && listening "$1" t 8080 && listening "$1" t 9 && listening "$1" u 53
  listening "$1" t 443 && listening "$1" t 5201
}

# ── Two branches behind one edge router: eth0.pcap and eth1.pcap ─────────────────────────────────────────────
#
#   alpha 10.1.0.10-13, 2001:db8:1:: ── eth0 ┐
#                                            edge ── eth2 ── server 192.0.2.x, 2001:db8:f::x
#   beta  10.2.0.10-13, 2001:db8:2:: ── eth1 ┘

campus_network() {
  for ns in alpha beta edge server; do space $ns; done
  wire alpha net 02:00:00:01:00:0a edge eth0 02:00:00:01:00:01
  wire beta net 02:00:00:02:00:0b edge eth1 02:00:00:02:00:01
  wire edge eth2 02:00:00:0f:00:01 server net 02:00:00:0f:00:0f
  in_ edge sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  addr alpha net 10.1.0.{10,11,12,13}/24 2001:db8:1::{10,11}/64
  addr beta net 10.2.0.{10,11,12,13}/24 2001:db8:2::{10,11}/64
  addr edge eth0 10.1.0.1/24 2001:db8:1::1/64
  addr edge eth1 10.2.0.1/24 2001:db8:2::1/64
  addr edge eth2 $server4.1/24 ${server6}1/64
  addr server net $server4.{80,81,53,51,43}/24 ${server6}{80,53}/64
  route alpha default via 10.1.0.1; ip -n $tag-alpha -6 route add default via 2001:db8:1::1
  route beta default via 10.2.0.1; ip -n $tag-beta -6 route add default via 2001:db8:2::1
  route server default via $server4.1; ip -n $tag-server -6 route add default via ${server6}1
  # Nothing answers from here: connections to it end in repeated SYNs.
  route edge blackhole 198.51.100.0/24
  # A narrow link behind the recording points: uploads lose packets after they were seen, and send them again.
  in_ edge tc qdisc add dev eth2 root tbf rate 3mbit burst 4000 limit 9000
  servers server
}

# branch NS PREFIX4 PREFIX6 OFFSET: what the hosts of one branch do, until the time is over.
branch() {
  local ns=$1 v4=$2 v6=$3 turn=$4 end=$((SECONDS + campus_seconds))
  while [ $SECONDS -lt $end ]; do
    local host=$v4.$((10 + turn % 4))
    try $ns dig -b $host @$server4.53 www.example.net A +tries=1 +time=1
    case $((turn % 8)) in
      0) try $ns curl -s --interface $host "http://$server4.80/page/[1-3]" ;;
      1) try $ns curl -s --interface ${v6}10 "http://[${server6}80]/bytes/9000" "http://[${server6}80]/missing" ;;
      2) try $ns curl -sk --http1.1 --max-time 3 --interface $host --resolve www.example.net:443:$server4.43 https://www.example.net/
         try $ns dig -b $host @$server4.53 "host$turn.example.net" AAAA +tries=1 +time=1 ;;
      3) head -c 24000 /dev/zero | tr '\0' x >"$tmp/$ns.body"
         try $ns curl -s --interface $host --data-binary @"$tmp/$ns.body" http://$server4.81:8080/upload ;;
      4) try $ns ping -q -I $host -c 3 -i 0.2 $server4.80
         try $ns ping -q -c 2 -i 0.2 ${server6}80 ;;
      5) try $ns curl -s --interface $host --max-time 2 http://$server4.81:81/
         try $ns curl -s --interface $host --max-time 2 http://198.51.100.7/ ;;
      6) try $ns curl -s --interface $host http://$server4.81:8080/bytes/12000
         try $ns python3 "$here/peers.py" abort $server4.80 80 ;;
      7) if [ $ns = alpha ]; then try $ns iperf3 -c $server4.51 -u -b 300K -l 700 -t 1 -B $host
         else try $ns python3 "$here/peers.py" push $server4.80 9 20000; fi ;;
    esac
    turn=$((turn + 1))
    sleep 1.$((RANDOM % 10))
  done
}

# ── One client, one router, one server: the captures that show one thing each ────────────────────────────────
#
#   client 10.0.1.2, 2001:db8:a::2 ── gw0 gateway gw1 ── server 192.0.2.x, 2001:db8:f::x

lab_network() {
  for ns in client gateway peer; do space $ns; done
  wire client net 02:00:00:0a:00:02 gateway gw0 02:00:00:0a:00:01
  wire gateway gw1 02:00:00:0b:00:01 peer net 02:00:00:0b:00:02
  in_ gateway sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  addr client net 10.0.1.2/24 2001:db8:a::2/64
  addr gateway gw0 10.0.1.1/24 2001:db8:a::1/64
  addr gateway gw1 $server4.1/24 ${server6}1/64
  addr peer net $server4.{80,81,53,51,43}/24 ${server6}{80,53}/64
  route client default via 10.0.1.1; ip -n $tag-client -6 route add default via 2001:db8:a::1
  route peer default via $server4.1; ip -n $tag-peer -6 route add default via ${server6}1
  servers peer
}

web_requests() {
  try client curl -s -A reader/1.0 http://$server4.80/ http://$server4.80/page/1 http://$server4.80/bytes/4096
  try client curl -s -A reader/1.0 http://$server4.80/missing
  try client curl -s -A reader/1.0 -d 'name=wire&kind=table' http://$server4.80/form
  try client curl -s -A reader/1.0 -I http://$server4.80/page/2
  try client curl -s -A reader/1.0 "http://[${server6}80]/page/6" "http://[${server6}80]/bytes/2048"
}

record_web() {
  capture http.pcap client net
  web_requests
  captured http.pcap
  capture http-nano.pcap client net --time-stamp-precision=nano
  web_requests
  captured http-nano.pcap
  capture http-snap64.pcap client net -s 64
  web_requests
  captured http-snap64.pcap
  capture loopback.pcap peer lo
  try peer curl -s http://$server4.80/page/1 "http://[${server6}80]/page/2"
  try peer ping -q -c 2 -i 0.2 127.0.0.1
  try peer ping -q -c 2 -i 0.2 ::1
  captured loopback.pcap
  for version in 1 2; do
    capture any-sll$version.pcap gateway any -y "LINUX_SLL${version#1}"
    try client curl -s http://$server4.80/page/1
    try client ping -q -c 1 ${server6}80
    try client dig @$server4.53 www.example.net A +tries=1
    captured any-sll$version.pcap
  done
}

record_dns() {
  capture dns.pcap client net
  for q in "www.example.net A" "www.example.net AAAA" "web.example.net A" "example.net MX" "example.net TXT" \
    "_ssh._tcp.example.net SRV" "nowhere.example.net A" "ns.example.net AAAA" "-x $server4.80"; do
    # Words are meant to split: a name and a type.
    try client dig @$server4.53 $q +tries=1
  done
  try client dig @$server4.53 example.net TXT +tcp
  try client dig @${server6}53 www.example.net AAAA +tries=1 +noedns
  try client dig @$server4.53 www.example.com A +tries=1 +norecurse
  captured dns.pcap
}

record_tls() {
  capture tls.pcap client net
  for options in "-tls1_3 -alpn h2,http/1.1" "-tls1_2" "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305" "-verify_return_error"; do
    printf 'GET / HTTP/1.0\r\n\r\n' >"$tmp/request"
    in_ client timeout 3 openssl s_client -connect $server4.43:443 -servername www.example.net $options -ign_eof \
      <"$tmp/request" >/dev/null 2>&1 || true
  done
  captured tls.pcap
  capture ssh.pcap client net
  # dropbear reads keys from the home directory: in its own mount namespace, an empty one with one key stands there.
  home=$(getent passwd 0 | cut -d: -f6)
  serve sshd peer sh -c 'mount -t tmpfs -o mode=700 none "$1" && mkdir -m 700 "$1/.ssh" && cp "$2" "$1/.ssh/authorized_keys" &&
    exec dropbear -F -E -s -r "$3" -p 22 -P ""' sh "$home" "$tmp/ssh/id.pub" "$tmp/hostkey"
  listening peer t 22
  in_ client ssh -F none -i "$tmp/ssh/id" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o BatchMode=yes root@$server4.80 'echo hello; uname' >"$tmp/login.log" 2>&1 </dev/null || say "ssh: no login: $(tail -n 1 "$tmp/login.log")"
  captured ssh.pcap
  stop sshd
}

record_iperf() {
  capture iperf.pcap client net -s 128
  try client iperf3 -c $server4.51 -n 400K -l 8K
  try client iperf3 -c $server4.51 -n 200K -l 8K -R
  try client iperf3 -c $server4.51 -u -b 2M -l 1000 -n 120K
  try client iperf3 -6 -c ${server6}80 -n 200K -l 8K
  captured iperf.pcap
  # With the offloads of a real host, one captured "frame" holds many segments and its checksum is still to be filled in.
  in_ client ethtool -K net tx on tso on gso on gro on >/dev/null
  in_ peer ethtool -K net gro on tx on tso on gso on >/dev/null
  in_ gateway ethtool -K gw0 gro on tx on tso on gso on >/dev/null
  in_ gateway ethtool -K gw1 gro on tx on tso on gso on >/dev/null
  capture offload.pcap client net -s 128
  try client iperf3 -c $server4.51 -n 4M
  captured offload.pcap
  for end in "client net" "peer net" "gateway gw0" "gateway gw1"; do
    set -- $end
    in_ "$1" ethtool -K "$2" tx off rx off tso off gso off gro off >/dev/null
  done
}

record_lossy() {
  in_ gateway tc qdisc add dev gw1 root tbf rate 2mbit burst 3000 limit 8000
  capture lossy.pcap gateway gw0 -s 128
  head -c 150000 /dev/zero | tr '\0' y >"$tmp/lossy.body"
  try client curl -s --data-binary @"$tmp/lossy.body" http://$server4.81:8080/upload
  try client python3 "$here/peers.py" push $server4.80 9 60000
  captured lossy.pcap
  in_ gateway tc qdisc del dev gw1 root
}

record_icmp() {
  capture ping.pcap client net
  try client ping -q -c 3 -i 0.2 $server4.80
  try client ping -q -c 3 -i 0.2 ${server6}80
  try client ping -q -c 1 -s 0 $server4.80
  try client ping -q -c 1 -s 1472 $server4.80
  try client ping -q -c 1 -R $server4.80
  try client ping -q -c 1 -T tsandaddr $server4.80
  try client ping -q -c 1 -Q 0xb8 $server4.80
  captured ping.pcap

  capture fragments.pcap client net
  try client ping -q -c 2 -i 0.2 -s 4000 $server4.80
  try client ping -q -c 2 -i 0.2 -s 4000 ${server6}80
  try client python3 "$here/peers.py" datagram $server4.80 7000 5008
  try client python3 "$here/peers.py" datagram ${server6}80 7000 5008
  captured fragments.pcap

  route gateway unreachable 198.51.100.0/25
  route gateway prohibit 198.51.100.128/25
  ip -n $tag-gateway link set gw1 mtu 1300
  ip -n $tag-peer link set net mtu 1300
  capture icmp.pcap client net
  try client traceroute -n -q 1 -w 1 $server4.80
  try client traceroute -n -q 1 -w 1 -I $server4.80
  try client traceroute -n -q 1 -w 1 -T -p 80 $server4.80
  try client traceroute -n -q 1 -w 1 ${server6}80
  try client ping -q -c 1 -W 1 198.51.100.1
  try client ping -q -c 1 -W 1 198.51.100.129
  try client ping -q -c 1 -W 1 -M do -s 1400 $server4.80
  try client ping -q -c 1 -W 1 -M do -s 1400 ${server6}80
  try client python3 "$here/peers.py" datagram $server4.80 7000 16
  try client python3 "$here/peers.py" datagram ${server6}80 7000 16
  captured icmp.pcap
  ip -n $tag-gateway link set gw1 mtu 1500
  ip -n $tag-peer link set net mtu 1500
  # The client has learnt the small path MTU; later recordings start without it.
  ip -n $tag-client route flush cache
  ip -n $tag-client -6 route flush cache

  route gateway blackhole 203.0.113.0/24
  capture refused.pcap client net
  try client curl -s http://$server4.80:81/
  try client curl -s "http://[${server6}80]:81/"
  try client curl -s --max-time 4 http://203.0.113.9/
  try client python3 "$here/peers.py" abort $server4.80 80
  captured refused.pcap
}

# A link that comes up: duplicate address detection, multicast listener reports, ARP and neighbour discovery.
record_neighbours() {
  space left; space right
  for ns in left right; do
    in_ $ns sysctl -qw net.ipv6.conf.all.accept_dad=1 net.ipv6.conf.default.accept_dad=1 \
      net.ipv6.conf.default.router_solicitations=1 net.ipv6.conf.default.router_solicitation_delay=0
  done
  ip link add net netns $tag-left address 02:00:00:0c:00:01 type veth peer name net netns $tag-right address 02:00:00:0c:00:02
  for ns in left right; do in_ $ns ethtool -K net tx off gro off >/dev/null; done
  in_ left sysctl -qw net.ipv6.conf.net.disable_ipv6=1
  ip -n $tag-left link set net up
  capture neighbours.pcap left net
  ip -n $tag-right link set net up
  addr right net 10.0.2.2/24 2001:db8:c::2/64
  in_ left sysctl -qw net.ipv6.conf.net.disable_ipv6=0
  addr left net 10.0.2.1/24 2001:db8:c::1/64
  sleep 2.5
  try left ping -q -c 1 10.0.2.2
  try left ping -q -c 1 2001:db8:c::2
  try left arping -q -c 2 -I net 10.0.2.2
  try left arping -q -c 1 -U -I net 10.0.2.1
  try left arping -q -c 1 -D -I net 10.0.2.2
  try left ping -q -c 1 -W 1 10.0.2.9
  ip -n $tag-right addr add 239.1.2.3/32 dev net autojoin
  sleep 1
  ip -n $tag-right addr del 239.1.2.3/32 dev net
  captured neighbours.pcap
  # A bridge that speaks the spanning tree protocol sends an 802.3 frame with an LLC header every two seconds.
  ip -n $tag-left link add bridge type bridge stp_state 1 forward_delay 200
  ip -n $tag-left link set net master bridge
  capture stp.pcap right net
  ip -n $tag-left link set bridge up
  sleep 5
  captured stp.pcap
}

# ── Tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────

# The traffic inside each tunnel: a ping, a web page over IPv4 (or IPv6), and a lookup.
inside() {
  case $1 in
    *:*) try client ping -q -c 2 -i 0.2 "$1"; try client curl -s --max-time 3 "http://[$1]:8000/page/1" ;;
    *) try client ping -q -c 2 -i 0.2 "$1"; try client curl -s --max-time 3 "http://$1:8000/page/1" ;;
  esac
}

# The kernel's own: VXLAN, and SRv6 (IPv4 and IPv6 inside IPv6 with a segment routing header).
record_kernel_tunnels() {
  ip -n $tag-client link add vx0 address 02:00:00:0d:00:01 type vxlan id 42 local 10.0.1.2 remote $server4.80 dstport 4789
  ip -n $tag-peer link add vx0 address 02:00:00:0d:00:02 type vxlan id 42 local $server4.80 remote 10.0.1.2 dstport 4789
  for ns in client peer; do in_ $ns ethtool -K vx0 tx off gro off >/dev/null; ip -n $tag-$ns link set vx0 up; done
  addr client vx0 172.16.1.1/24 2001:db8:d::1/64
  addr peer vx0 172.16.1.2/24 2001:db8:d::2/64
  serve tunnel-web4 peer python3 "$here/peers.py" web 0.0.0.0 8000
  listening peer t 8000
  capture vxlan.pcap client net udp port 4789
  inside 172.16.1.2
  try client ping -q -c 2 -i 0.2 2001:db8:d::2
  captured vxlan.pcap

  for ns in client gateway peer; do
    in_ $ns sysctl -qw net.ipv6.conf.all.seg6_enabled=1 net.ipv6.conf.lo.seg6_enabled=1
    for dev in net gw0 gw1; do in_ $ns sysctl -qw net.ipv6.conf.$dev.seg6_enabled=1 2>/dev/null || true; done
  done
  ip -n $tag-peer addr add 172.16.2.2/32 dev lo
  ip -n $tag-peer addr add 2001:db8:e::2/128 dev lo
  ip -n $tag-client -6 route add 2001:db8:e::2/128 encap seg6 mode encap segs ${server6}1,${server6}80 dev net via 2001:db8:a::1
  ip -n $tag-client route add 172.16.2.2/32 encap seg6 mode encap segs ${server6}80 dev net
  capture srv6.pcap client net
  try client ping -q -c 2 -i 0.2 2001:db8:e::2
  inside 172.16.2.2
  captured srv6.pcap
}

# What this kernel has no device for: the ends are two small programs on tun and tap devices.
record_program_tunnels() {
  local number=3
  for kind in gre ipip 6in4 gtpu geneve vlan; do
    local dev=t$number here4=172.16.$number.1 there4=172.16.$number.2
    local inner=$there4
    if [ $kind = vlan ]; then
      # Tagged frames do not pass the router: they are seen on the client's own link.
      serve $kind-a client python3 "$here/peers.py" tunnel vlan $dev net 100
      serve $kind-b gateway python3 "$here/peers.py" tunnel vlan $dev gw0 100
      far=gateway
      serve vlan-web gateway python3 "$here/peers.py" web 0.0.0.0 8000
      listening gateway t 8000
    else
      serve $kind-a client python3 "$here/peers.py" tunnel $kind $dev 10.0.1.2 $server4.80
      serve $kind-b peer python3 "$here/peers.py" tunnel $kind $dev $server4.80 10.0.1.2
      far=peer
    fi
    logged $kind-a ready; logged $kind-b ready
    case $kind in
      geneve | vlan)
        ip -n $tag-client link set $dev address 02:00:00:0e:0$number:01
        ip -n $tag-$far link set $dev address 02:00:00:0e:0$number:02 ;;
    esac
    for ns in client $far; do
      in_ $ns ethtool -K $dev tx off gro off >/dev/null 2>&1 || true
      ip -n $tag-$ns link set $dev mtu 1400 up
    done
    if [ $kind = 6in4 ]; then
      addr client $dev 2001:db8:6::1/64; addr $far $dev 2001:db8:6::2/64
      inner=2001:db8:6::2
      serve 6in4-web peer python3 "$here/peers.py" web 2001:db8:6::2 8000
      sleep 0.5
    else
      addr client $dev $here4/24; addr $far $dev $there4/24
    fi
    capture $kind.pcap client net
    [ $kind != gre ] || capture tun.pcap client $dev
    inside $inner
    [ $kind != gre ] || captured tun.pcap
    captured $kind.pcap
    stop $kind-a; stop $kind-b
    number=$((number + 1))
  done
}

# ── All of it ────────────────────────────────────────────────────────────────────────────────────────────────

say "two branches, for $campus_seconds seconds"
campus_network
capture eth0.pcap edge eth0 -s 128
capture eth1.pcap edge eth1 -s 128
serve campus.pcapng edge dumpcap -q -s 96 -i eth0 -i eth1 -a duration:15 -w "$tmp/campus.pcapng"
branch alpha 10.1.0 2001:db8:1:: 0 & alpha=$!; running[$alpha]=alpha
branch beta 10.2.0 2001:db8:2:: 3 & beta=$!; running[$beta]=beta

lab_network
record_web
record_dns
record_tls
record_iperf
record_lossy
record_icmp
record_neighbours
record_kernel_tunnels
record_program_tunnels

ended campus.pcapng || die "dumpcap failed"
install -m 644 "$tmp/campus.pcapng" "$out/campus.pcapng"
gzip -9nc "$out/http.pcap" >"$out/http.pcap.gz"
zstd -q -19 -f "$out/tls.pcap" -o "$out/tls.pcap.zst"
xz -9ec "$out/iperf.pcap" >"$out/iperf.pcap.xz"
gzip -9nc "$out/campus.pcapng" >"$out/campus.pcapng.gz"

say "waiting for the branches"
wait $alpha $beta
unset "running[$alpha]" "running[$beta]"
captured eth0.pcap
captured eth1.pcap
say "done"
