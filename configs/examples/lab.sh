# Sourced by the examples that need no root of their own: a private database, a stand-in for a cluster, the control plane, the tables of DBNet's Table 1.
#
# WIRETABLE names the command; without it, the optimised build of this tree.
set -euo pipefail
name=$(basename "$(dirname "${BASH_SOURCE[1]}")")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/configs/examples/$name
wiretable=$(realpath -m "${WIRETABLE:-${CARGO_TARGET_DIR:-target}/release/wiretable}")
[ -x "$wiretable" ] || { echo "$name: $wiretable is not built: cargo build --release -p wiretable" >&2; exit 2; }

work=$(mktemp -d -t "wt-$name.XXXXXX")
chmod 755 "$work"                       # Postgres, which is somebody else when root runs this, comes through
started=()
cleanup() {
  for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
  for process in "${started[@]}"; do wait "$process" 2>/dev/null || true; done
  "$wiretable" db stop --data-dir "$work/db" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
until_true() { # what, command …
  local what=$1 tries=0; shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ]; then echo "$name: still waiting: $what" >&2; cat "$work"/*.log >&2; exit 1; fi
    sleep 0.05
  done
}
sql() { "$wiretable" sql --format csv "$1" | tail -n +2; }
show() { "$wiretable" sql --format table "$1" | grep -v ' rows\?)$'; }
settled() { [ "$(sql "SELECT (SELECT count(*) FROM net.drift) + (SELECT count(*) FROM net.nodes WHERE status <> 'running')")" = 0 ]; }
# What a step took in the database: from its first event to its last, in ms, without the devices.
took() { sql "SELECT round(extract(epoch FROM max(at) - min(at)) * 1000, 2) FROM prov.event WHERE txid = (SELECT txid FROM prov.event WHERE $1 ORDER BY id DESC LIMIT 1)"; }

WIRETABLE_DATABASE_URL=$("$wiretable" db start --data-dir "$work/db" 2>"$work/db.log")
export WIRETABLE_DATABASE_URL
python3 configs/examples/cluster.py "$work/port" 2>"$work/cluster.log" & started+=("$!")
until_true "the cluster listens" test -s "$work/port"
cluster=http://127.0.0.1:$(cat "$work/port")
printf '[proxy]\ncheck = "5s"\n[kubernetes]\nallow = ["%s"]\n' "$cluster" >"$work/serve.toml"
"$wiretable" serve --listen 127.0.0.1:0 --address-file "$work/address" --config "$work/serve.toml" >"$work/serve.log" 2>&1 & started+=("$!")
until_true "the control plane serves" test -s "$work/address"

"$wiretable" sql "
  INSERT INTO net.device (device, driver, target) VALUES ('cluster', 'kubernetes', '$cluster');
  INSERT INTO net.pods (pod_id) VALUES ('pod-1'), ('pod-2');
  INSERT INTO net.nodes (node_id, pod_id, device, cpu_util, ingress_traffic) VALUES
    ('node-1', 'pod-1', 'cluster', 0.37, 221), ('node-2', 'pod-1', 'cluster', 0.82, 382), ('node-3', 'pod-2', 'cluster', 0.14, 67)" 2>>"$work/db.log"
"$wiretable" sql "SELECT wt.apply(\$json\$$(cat "$here/policy.json")\$json\$)" >>"$work/db.log" 2>&1
until_true "the nodes run" settled

tables() {
  show 'SELECT node_id, pod_id, cpu_util, ingress_traffic, error_rate, latency_ms, status FROM net.nodes ORDER BY node_id'
  show 'SELECT pod_id, avg_cpu_util, nodes FROM net.auto_scalers ORDER BY pod_id'
  show 'SELECT pod_id, avg_ingress_traffic, nodes FROM net.load_balancers ORDER BY pod_id'
}
