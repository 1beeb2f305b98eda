#!/usr/bin/env bash
# DBNet's second example (§4): traces say which nodes fail or are slow; those are killed, and others take their places.
#
#   configs/examples/telemetry/run.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lab.sh"

token=$("$wiretable" token create --role ingest --label collector)
# spans NODE COUNT FAILED MS: COUNT spans of a node, FAILED of them with errors, each of so many ms, as OTLP/HTTP has them.
spans() {
  python3 - "$@" <<'END' | curl -sf -H "Authorization: Bearer $token" -H 'Content-Type: application/json' --data-binary @- "http://$(cat "$work/address")/v1/traces" >>"$work/otlp.log"
import json, secrets, sys, time
node, count, failed, ms = sys.argv[1], *map(int, sys.argv[2:5])
now = time.time_ns()
made = [{"traceId": secrets.token_hex(16), "spanId": secrets.token_hex(8), "name": "GET /cart", "kind": 2, "startTimeUnixNano": str(now - ms * 10**6),
         "endTimeUnixNano": str(now), "status": {"code": 2 if i < failed else 1}} for i in range(count)]
resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}, {"key": "host.name", "value": {"stringValue": node}}]}
print(json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": made}]}]}))
END
}

printf 'Before\n\n'; tables
printf '\n100 traces of each node: of node-2 every third fails.\n\n'
spans node-1 100 2 35
spans node-3 100 0 20
spans node-2 100 33 90
until_true "the new node runs" settled
tables
printf '\nIn the database, from the first span to the last command, that took %s ms. The cluster has %s.\n' \
  "$(took "op = 'trigger' AND id < (SELECT max(id) FROM prov.event WHERE op = 'command')")" "$(curl -sf "$cluster/" | tr -d '[]"')"

printf '\nWhy is node-2 gone? wiretable why net.object cluster,node,node-2\n\n'
"$wiretable" why net.object cluster,node,node-2
