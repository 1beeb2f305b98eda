BEGIN;
SELECT plan(33);
INSERT INTO net.device (device, driver, tenant) VALUES ('k8s', 'kubernetes', 'system'), ('redk', 'kubernetes', 'red'), ('off', 'linux', 'system');
UPDATE net.device SET enabled = false WHERE device = 'off';

-- Table 1 of the paper.
INSERT INTO net.pods (pod_id) VALUES ('1'), ('2');
INSERT INTO net.nodes (node_id, pod_id, device, cpu_util, ingress_traffic) VALUES ('1', '1', 'k8s', 0.37, 221), ('2', '1', 'k8s', 0.82, 382), ('3', '2', 'k8s', 0.14, 67);
SELECT results_eq('SELECT pod_id, avg_cpu_util, nodes FROM net.auto_scalers ORDER BY 1', $$VALUES ('1', 0.595::float8, 2), ('2', 0.14, 1)$$, 'auto-scalers hold the averages of the paper');
SELECT results_eq('SELECT pod_id, avg_ingress_traffic, nodes FROM net.load_balancers ORDER BY 1', $$VALUES ('1', 301.5::float8, ARRAY['1', '2']), ('2', 67, ARRAY['3'])$$, 'so do load-balancers');
UPDATE net.nodes SET pod_id = '2', ingress_traffic = 133 WHERE node_id = '2';
SELECT results_eq('SELECT pod_id, avg_ingress_traffic FROM net.load_balancers ORDER BY 1', $$VALUES ('1', 221::float8), ('2', 100)$$, 'a node that moves changes both pods');
DELETE FROM net.nodes WHERE node_id = '1';
SELECT results_eq($$SELECT avg_ingress_traffic, nodes FROM net.load_balancers WHERE pod_id = '1'$$, $$VALUES (NULL::float8, '{}'::text[])$$, 'a pod without nodes has no average');
SELECT lives_ok($$SELECT net.recalculate(ARRAY['1', 'none'])$$, 'net.recalculate: unknown pods are none');
DELETE FROM net.load_balancers WHERE pod_id = '2';
UPDATE net.nodes SET ingress_traffic = 33 WHERE node_id = '3';
SELECT results_eq('SELECT pod_id, avg_ingress_traffic, nodes FROM net.load_balancers ORDER BY 1', $$VALUES ('1', NULL::float8, '{}'::text[]), ('2', 83, ARRAY['2', '3'])$$, 'a load-balancer that is missing is made, with what it has');
SELECT throws_ok($$UPDATE net.nodes SET cpu_util = 1.5 WHERE node_id = '2'$$, '23514', NULL, 'utilisation is a share');

-- Generations.
SELECT results_eq($$SELECT desired ->> 'pod', desired_gen FROM net.object WHERE name = '2'$$, $$VALUES ('2', 2::bigint)$$, 'a node is an object; moving it raised its generation');
SELECT results_eq($$SELECT desired, desired_gen FROM net.object WHERE name = '1'$$, 'VALUES (NULL::jsonb, 2::bigint)', 'a deleted node should not exist');
UPDATE net.nodes SET cpu_util = 0.5 WHERE node_id = '2';
SELECT is((SELECT desired_gen FROM net.object WHERE name = '2'), 2::bigint, 'what is measured raises nothing');
UPDATE net.object SET desired_gen = 1 WHERE name = '2';
SELECT is((SELECT desired_gen FROM net.object WHERE name = '2'), 2::bigint, 'generations do not go back');
UPDATE net.object SET desired_gen = 77 WHERE name = '2';
SELECT is((SELECT desired_gen FROM net.object WHERE name = '2'), 3::bigint, 'and go on by one');
INSERT INTO net.object (device, kind, name, desired, desired_gen, observed_gen) VALUES ('k8s', 'x', 'sly', '{}', 50, 50);
SELECT results_eq($$SELECT desired_gen, observed_gen FROM net.object WHERE name = 'sly'$$, 'VALUES (1::bigint, 0::bigint)', 'and begin at one');

-- What differs.
SELECT ok(NOT net.differs('{"a": 1, "b": "x"}', '{"b": "x", "a": 1.0, "more": true}', '{}'), 'fields not asked for do not count');
SELECT ok(net.differs('{"a": 1}', '{}', '{}'), 'a missing field does');
SELECT ok(NOT net.differs('{"a": 100}', '{"a": 104.9}', '{"a": 5}'), 'within the tolerance');
SELECT ok(net.differs('{"a": 100}', '{"a": 105.1}', '{"a": 5}'), 'beyond it');
SELECT ok(net.differs('{"a": 100}', '{"a": 101}', '{"a": "lots"}'), 'a tolerance that is no number is none');
SELECT ok(net.differs(NULL, '{}', '{}') AND net.differs('{}', NULL, '{}') AND NOT net.differs(NULL, NULL, '{}'), 'existence differs');
SELECT ok(net.differs('[1]', '[2]', '{}') AND NOT net.differs('3', '3', '{}'), 'whole values');

-- Drift.
SELECT is((SELECT array_agg(DISTINCT reason) FROM net.drift), ARRAY['pending'], 'what no device has answered is pending');
UPDATE net.object SET observed = '{"pod": "2"}', observed_gen = desired_gen, observed_at = now() WHERE name = '2';
SELECT is_empty($$SELECT * FROM net.drift WHERE name = '2'$$, 'what is as it should be is no drift');
SELECT is((SELECT status FROM net.nodes WHERE node_id = '2'), 'running', 'the node knows what its device said');
UPDATE net.object SET observed = '{"pod": "9"}' WHERE name = '2';
SELECT is((SELECT reason FROM net.drift WHERE name = '2'), 'differs', 'a device that says otherwise is');
UPDATE net.object SET observed = NULL WHERE name = '2';
SELECT is((SELECT status FROM net.nodes WHERE node_id = '2'), 'absent', 'a node that vanished is absent');

-- Rights.
SELECT throws_ok($$INSERT INTO net.nodes (node_id, pod_id, device) VALUES ('x', '1', 'off')$$, '23503', NULL, 'a device that is turned off takes nothing');
SELECT is(substr(as_login('t_operator', $$INSERT INTO net.device (device, driver) VALUES ('evil', 'http')$$), 1, 5), '42501', 'operators do not add devices');
SELECT is(as_login('t_admin', $$INSERT INTO net.device (device, driver) VALUES ('good', 'http')$$), 'ok', 'administrators do');
SELECT is(as_login('wt_t_red', $$INSERT INTO net.pods (pod_id) VALUES ('r1')$$), 'ok', 'a tenant has pods');
SELECT is(as_login('wt_t_red', $$INSERT INTO net.nodes (node_id, pod_id, device) VALUES ('rn', 'r1', 'redk')$$), 'ok', 'and nodes on its devices');
SELECT is(substr(as_login('wt_t_red', $$INSERT INTO net.nodes (node_id, pod_id, device) VALUES ('rx', 'r1', 'k8s')$$), 1, 5), '23503', 'not on those of others');
SELECT is(substr(as_login('wt_t_red', $$INSERT INTO net.pods (pod_id, tenant) VALUES ('b1', 'blue')$$), 1, 5), '42501', 'nor in the name of others');
SELECT results_eq($$SELECT as_login('wt_t_' || t, 'SELECT (SELECT count(*) FROM net.' || r || ')::text') FROM unnest(ARRAY['red', 'blue']) t, unnest(ARRAY['pods', 'nodes', 'auto_scalers', 'load_balancers', 'object', 'drift', 'device']) r$$,
    $$VALUES ('1'), ('1'), ('1'), ('1'), ('1'), ('1'), ('1'), ('0'), ('0'), ('0'), ('0'), ('0'), ('0'), ('0')$$, 'each sees its own rows');
SELECT * FROM finish();
ROLLBACK;
