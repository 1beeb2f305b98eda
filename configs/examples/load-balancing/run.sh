#!/usr/bin/env bash
# DBNet's first example (§4): when the traffic into a load-balancer exceeds a threshold, its auto-scaler gets another node, and the load-balancer divides its traffic among all.
#
#   configs/examples/load-balancing/run.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lab.sh"

printf 'Table 1 of the paper\n\n'; tables

printf '\nThe traffic of node-1 rises to 450: the average of pod-1 is 416, which is over 400.\n\n'
"$wiretable" sql "UPDATE net.nodes SET ingress_traffic = 450 WHERE node_id = 'node-1'" 2>>"$work/db.log"
until_true "the new node runs" settled
tables
printf '\nIn the database that took %s ms. The cluster has %s.\n' "$(took "op = 'trigger'")" "$(curl -sf "$cluster/" | tr -d '[]"')"

printf '\nWhy is there a node-4? wiretable why net.object cluster,node,node-4\n\n'
"$wiretable" why net.object cluster,node,node-4
