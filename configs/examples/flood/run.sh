#!/usr/bin/env bash
# A SYN flood, seen by a query, answered by a policy, dropped in the driver, and lifted when it ends; then the story from the drop back to the row.
#
#   configs/examples/flood/run.sh [FOLDER]     FOLDER keeps what was measured; without it all is removed
#
# Two network namespaces are joined by a pair of interfaces: `far` sends, `near` is captured from. It needs root (namespaces, programs in drivers), Postgres, and the
# programs `wiretable` and `wt-bench` (WIRETABLE and WT_BENCH name them; without, the optimised builds of this tree). FLOOD and BACKGROUND are packets per second, PHASES
# the seconds without flood, with it, and without it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
here=$PWD/configs/examples/flood
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
wiretable=$(realpath -m "${WIRETABLE:-$target/release/wiretable}")
bench=$(realpath -m "${WT_BENCH:-$target/release/wt-bench}")
flood=${FLOOD:-20000} background=${BACKGROUND:-500} phases=${PHASES:-2 5 5}

why_not() { echo "flood: $1" >&2; exit 2; }
[ "$(id -u)" = 0 ] || why_not "needs root, for network namespaces and a program in a driver"
for program in "$wiretable" "$bench"; do
  [ -x "$program" ] || why_not "$program is not built: cargo build --release -p wiretable -p wt-bench"
done
command -v ip >/dev/null || why_not "needs iproute2"

work=$(mktemp -d -t wt-flood.XXXXXX)
chmod 755 "$work"                       # Postgres, which is somebody else, comes through
near=wt-flood-near-$$ far=wt-flood-far-$$
started=()
cleanup() {
  for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
  for process in "${started[@]}"; do wait "$process" 2>/dev/null || true; done
  "$wiretable" db stop --data-dir "$work/db" >/dev/null 2>&1 || true
  ip netns del "$near" 2>/dev/null || true
  ip netns del "$far" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
until_true() { # what, command …
  local what=$1 tries=0; shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ]; then echo "flood: still waiting: $what" >&2; cat "$work"/*.log >&2; exit 1; fi
    sleep 0.1
  done
}

# The link.
ip netns add "$near"; ip netns add "$far"
for end in "$near" "$far"; do
  ip netns exec "$end" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null' || true
done
ip -n "$near" link add near type veth peer name far netns "$far"
ip -n "$near" link set near arp off up; ip -n "$far" link set far arp off up

# The database, the appliance, the policy, the control plane.
url=$("$wiretable" db start --data-dir "$work/db" 2>"$work/db.log")
export WIRETABLE_DATABASE_URL=$url WIRETABLE_SPOOL=$work/spool
sql() { "$wiretable" sql --format csv "$1" | tail -n +2; }
ctl() { "$wiretable" ctl -s "$work/nic.sock" "$@"; }
ip netns exec "$near" "$wiretable" run "$here/flood.toml" --control "$work/nic.sock" >"$work/run.log" 2>&1 &
run=$!; started+=("$run")
until_true "the appliance runs" ctl list
none() { [ -z "$(sql "$1")" ]; }         # a statement without rows
some() { [ -n "$(sql "$1")" ]; }
until_true "its result has a table" some "SELECT relation FROM res.relation WHERE relation = 'flood'"
"$wiretable" sql "INSERT INTO net.device (device, driver, target) VALUES ('nic', 'appliance', '$work/nic.sock')" 2>>"$work/db.log"
"$wiretable" sql "SELECT wt.apply(\$json\$$(cat "$here/policy.json")\$json\$)" >>"$work/db.log" 2>&1
"$wiretable" serve --listen none --config "$here/serve.toml" >"$work/serve.log" 2>&1 &
started+=("$!")
until_true "the control plane serves" grep -q serving "$work/serve.log"

# What is measured while it goes: packets seen and blocked, and what was dropped first.
sample() {
  while :; do
    printf '%s ' "$(date +%s%N)"
    ctl metrics | awk '/^wiretable_interface_(seen|blocked)_total/ { print $2 }' | paste -sd' '
    sleep 0.1
  done
}
first_drop() {
  local found=
  until [ -n "$found" ]; do
    found=$(ctl block list --json | sed -nE 's/.*"first_ns":([0-9]+).*/\1/p')
    sleep 0.02
  done
  echo "$found"
}
sample >"$work/samples" 2>/dev/null & started+=("$!")
first_drop >"$work/first_drop" 2>/dev/null & started+=("$!")

echo "A SYN flood of $flood packets/s from 198.51.100.0/24 beside $background packets/s of others; phases of ${phases// /, } s."
ip netns exec "$far" "$bench" flood --interface far --phases $phases --flood "$flood" --background "$background" >"$work/sent"
until_true "the block is lifted" none "SELECT prefix FROM net.block"
until_true "the device has lifted it" none "SELECT name FROM net.drift WHERE device = 'nic'"
sleep 1                                 # the books follow the driver's counters, which are read 20 times a second
ctl ledger --json >"$work/books"

# seconds NS NS: from the one to the other, in ms.
ms() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%8.1f ms", (b - a) / 1e6 }'; }
ns() { sql "SELECT (extract(epoch FROM $1) * 1e9)::bigint FROM prov.event WHERE $2 ORDER BY id LIMIT 1"; }
first=$(awk '/^first/ { print $2 }' "$work/sent") last=$(awk '/^last/ { print $2 }' "$work/sent")

printf '\nRate on the link by half second: ▒ passed on, █ dropped in the driver after it was counted\n\n'
awk -v first="$first" -v last="$last" '
  NF == 3 {
    if (seen != "") {
      slot = int(($1 - first) / 5e8 + 1000) - 1000
      n[slot] += $1 - at; s[slot] += $2 - seen; b[slot] += $3 - blocked
      if (low == "" || slot < low) low = slot
      if (high == "" || slot > high) high = slot
    }
    at = $1; seen = $2; blocked = $3
  }
  END {
    for (slot = low; slot <= high; slot++) if (n[slot] > 0) {
      rate = s[slot] / n[slot] * 1e9; if (rate > most) most = rate
    }
    for (slot = low; slot <= high; slot++) if (n[slot] > 0) {
      all = (s[slot] - b[slot]) / n[slot] * 1e9; cut = b[slot] / n[slot] * 1e9
      passed = int((all - cut) / most * 60 + 0.5); dropped = int(cut / most * 60 + 0.5)
      bar = ""; for (i = 0; i < passed; i++) bar = bar "▒"; for (i = 0; i < dropped; i++) bar = bar "█"
      printf "%6.1f s %8.0f passed/s %8.0f dropped/s  %s\n", slot / 2, all, cut, bar
    }
  }' "$work/samples"

printf '\nThe rows that began it, and the last\n\n'
"$wiretable" sql --format table "(SELECT at, prefix, syns, wt_seq AS batch FROM result.flood ORDER BY at, prefix LIMIT 3)
  UNION ALL (SELECT at, prefix, syns, wt_seq FROM result.flood ORDER BY at DESC LIMIT 1) ORDER BY at"

printf '\nThe trigger that fired\n\n'
"$wiretable" sql --format table "SELECT name, procedure, condition FROM wt.policy"

batch=$(ns at "op = 'batch' AND object = 'result.flood'") trigger=$(ns at "op = 'trigger'")
command=$(ns at "op = 'command'") acknowledged=$(ns at "op = 'device' AND object LIKE 'nic/block/%'")
inforce=$(sql "SELECT (new ->> 'since_ns')::bigint FROM prov.event WHERE op = 'device' AND object LIKE 'nic/block/%' AND new IS NOT NULL ORDER BY id LIMIT 1")
window=$(sql "SELECT ((extract(epoch FROM min(at)) + 0.1) * 1e9)::bigint FROM result.flood")
drop=$(cat "$work/first_drop")
lifted=$(sql "SELECT (extract(epoch FROM max(at)) * 1e9)::bigint FROM prov.event WHERE op = 'sweep'")
[ -n "$drop" ] && [ "$drop" -gt "$first" ] || { echo "flood: nothing was dropped" >&2; cat "$work"/*.log >&2; exit 1; }
printf '\nFrom the first packet of the flood to the first that was dropped: %s\n\n' "$(ms "$first" "$drop")"
printf '  %s  until the tenth of a second that it fell into was over\n' "$(ms "$first" "$window")"
printf '  %s  until its row was in the database (both halves of the tables read, the batch on disk, sent)\n' "$(ms "$window" "$batch")"
printf '  %s  until the trigger fired\n' "$(ms "$batch" "$trigger")"
printf '  %s  until the policy had written the block and its command\n' "$(ms "$trigger" "$command")"
printf '  %s  until the prefix was in the map of the driver (commit, hint, claim, call)\n' "$(ms "$command" "$inforce")"
printf '  %s  until a packet came that lies in it\n' "$(ms "$inforce" "$drop")"
printf '\nThe device had answered %s after the command. The block was lifted %s after the last packet of the flood (hold: 3 s).\n' \
  "$(ms "$command" "$acknowledged")" "$(ms "$last" "$lifted")"

printf '\nWhy was it dropped? wiretable why net.object nic,block,198.51.100.0/24\n\n'
first_command=$(sql "SELECT min(id) FROM north.command WHERE kind = 'block'")
"$wiretable" why "$first_command"

# The books: everything that was sent was counted, whether it was dropped or not.
sent=$(awk '/^(background|flood)/ { n += $2 } END { print n }' "$work/sent")
seen=$(sed -nE 's/.*"seen":([0-9]+).*/\1/p' "$work/books") blocked=$(sed -nE 's/.*"blocked":([0-9]+).*/\1/p' "$work/books")
printf '\nSent %s packets, seen and counted %s, of these dropped %s.\n' "$sent" "$seen" "$blocked"
if [ $# -gt 0 ]; then mkdir -p "$1"; cp "$work"/{samples,sent,books,first_drop,*.log} "$1"; fi
kill -INT "$run"; wait "$run" || { echo "flood: the appliance did not end well" >&2; cat "$work/run.log" >&2; exit 1; }
[ "$sent" = "$seen" ] || { echo "flood: the books of both ends differ" >&2; exit 1; }
