//! What compiling makes of query texts: programs, graph, orderings, bounds.

use wt_catalog::{Catalog, Ordering, Type};
use wt_plan::ir::{AggKind, LayerSel, LftaAction, LftaQuery, Op};
use wt_plan::physical::{Aggregate, HftaAggFunction, HftaNode, HftaOp, StreamRef};
use wt_plan::{CompileInput, Compiled, InterfaceInfo, compile};

fn try_plan(text: &str, interfaces: &[&str], finite: bool) -> Result<Compiled, Vec<String>> {
    let catalog = Catalog::builtin();
    let interfaces: Vec<InterfaceInfo> = interfaces
        .iter()
        .map(|n| InterfaceInfo {
            name: (*n).to_owned(),
            properties: vec![("Name".to_owned(), (*n).to_owned())],
        })
        .collect();
    let sets = [("all".to_owned(), (0..interfaces.len()).collect())];
    let params = match text.contains("$floor") {
        true => vec![("floor".to_owned(), "10".to_owned())],
        false => Vec::new(),
    };
    compile(&CompileInput {
        catalog: &catalog,
        text,
        file_name: "query",
        interfaces: &interfaces,
        interface_sets: &sets,
        params: &params,
        watchlists: &[],
        finite,
        library: &|_| None,
    })
    .map_err(|e| e.iter().map(|d| format!("{}: {}", d.code, d.message)).collect())
}

fn plan(text: &str) -> Compiled {
    try_plan(text, &["eth0"], true).unwrap_or_else(|e| panic!("`{text}`: {e:#?}"))
}

fn lftas(c: &Compiled) -> &[LftaQuery] {
    &c.physical.interfaces[0].program.queries
}

fn aggregate(node: &HftaNode) -> &Aggregate {
    match &node.op {
        HftaOp::Aggregate(a) => a,
        op => panic!("{op:?}"),
    }
}

#[test]
fn a_safe_selection_is_an_lfta_only() {
    let c = plan("SELECT time, srcIP, destPort FROM tcp WHERE destPort = 80 AND len > 100");
    assert!(c.physical.nodes.is_empty());
    let [lfta] = lftas(&c) else { panic!("one LFTA") };
    assert_eq!(lfta.name, "query");
    assert_eq!(lfta.requires.len(), 1);
    assert_eq!(c.physical.outputs[0].stream, StreamRef::Lfta { interface: 0, query: 0 });
    let LftaAction::Select { outputs, ordered } = &lfta.action else { panic!() };
    assert_eq!(outputs.len(), 3);
    let [time] = ordered.as_slice() else { panic!("time is ordered") };
    assert!(time.column == 0 && time.from_time && !time.decreasing);
    let texts: Vec<&str> = lfta.quals.iter().map(|q| q.text.as_str()).collect();
    assert_eq!(texts, ["destPort = 80", "len > 100"]);
}

#[test]
fn outputs_have_the_types_of_the_schema() {
    let c = plan("SELECT time, srcIP, destIP FROM ip WHERE IPVersion = 4");
    let program = &c.physical.interfaces[0].program;
    let LftaAction::Select { outputs, .. } = &program.queries[0].action else { panic!() };
    let types: Vec<Type> = outputs.iter().map(|n| program.exprs.nodes[n.0 as usize].ty).collect();
    assert_eq!(types, [Type::Uint, Type::Inet, Type::Inet]);
}

#[test]
fn expensive_functions_stay_above_and_get_their_columns() {
    let c =
        plan("SELECT time, srcIP FROM tcp WHERE str_regex_match[data, 'GET'] AND destPort = 80");
    let [lfta] = lftas(&c) else { panic!() };
    assert_eq!(lfta.name, "_fta_query");
    assert_eq!(lfta.quals.len(), 1, "the cheap conjunct goes down");
    let LftaAction::Select { outputs, .. } = &lfta.action else { panic!() };
    assert_eq!(outputs.len(), 3, "time, srcIP, and data for the regex");
    let [node] = c.physical.nodes.as_slice() else { panic!() };
    let HftaOp::Select { quals, outputs, ordered, exprs } = &node.op else { panic!() };
    assert_eq!((node.name.as_str(), quals.len(), outputs.len()), ("query", 1, 2));
    assert_eq!(ordered, &[(0, 0)]);
    assert_eq!(exprs.handles.len(), 1);
}

#[test]
fn a_subexpression_is_shipped_once() {
    let c = plan(
        "SELECT time, str_extract_regex(data, 'a') AS a, str_extract_regex(data, 'b') AS b FROM tcp",
    );
    let LftaAction::Select { outputs, .. } = &lftas(&c)[0].action else { panic!() };
    assert_eq!(outputs.len(), 2, "time and data");
}

#[test]
fn aggregation_splits_into_sub_and_super() {
    let c = plan(
        "SELECT tb, srcIP, count(*) AS n, sum(len) AS s, avg(len) AS m FROM ip GROUP BY time/60 AS tb, srcIP HAVING count(*) > 5",
    );
    let LftaAction::Aggregate { keys, aggs, ordered, slots, tolerance, .. } = &lftas(&c)[0].action
    else {
        panic!()
    };
    assert_eq!((keys.len(), *slots, *tolerance), (2, 4096, 0));
    assert!(ordered[0].column == 0 && ordered[0].from_time);
    let kinds: Vec<AggKind> = aggs.iter().map(|a| a.kind).collect();
    assert_eq!(kinds, [AggKind::Count, AggKind::Sum], "AVG shares COUNT and SUM");
    let node = &c.physical.nodes[0];
    let a = aggregate(node);
    assert!(a.over_partials && a.quals.is_empty() && a.having.len() == 1);
    assert!(a.aggs.iter().all(|g| g.function == HftaAggFunction::Basic(AggKind::Sum)));
    assert_eq!(a.ordered.len(), 1);
    assert_eq!(a.ordered_outputs, [(0, 0)]);
    assert_eq!(node.name, "query");
}

#[test]
fn common_subexpressions_are_shared_by_the_batch() {
    let one = plan("SELECT time, len FROM tcp WHERE destPort = 80");
    let two = plan(
        "DEFINE { query_name a; } SELECT time, len FROM tcp WHERE destPort = 80 ;
         DEFINE { query_name b; } SELECT time, len FROM tcp WHERE destPort = 80",
    );
    let nodes = |c: &Compiled| c.physical.interfaces[0].program.exprs.nodes.len();
    // Beside the shared nodes: what the prefilter adds.
    assert!(nodes(&two) <= nodes(&one) + 5, "{} {}", nodes(&one), nodes(&two));
    assert_eq!(lftas(&two)[0].quals[0].node, lftas(&two)[1].quals[0].node);
}

#[test]
fn addresses_narrow_where_the_version_is_known() {
    let c = plan(
        "SELECT tb, srcIP, count(*) AS n FROM ip WHERE IPVersion = 4 GROUP BY time/60 AS tb, srcIP",
    );
    let a = aggregate(&c.physical.nodes[0]);
    assert_eq!(a.key_types, [Type::Uint, Type::Ip]);
    assert_eq!(c.physical.outputs[0].schema.columns[1].ty, Type::Inet, "no result shows it");
    let post = &a.post.nodes[a.outputs[1].0 as usize];
    assert_eq!(post.ty, Type::Inet);
    assert!(c.rewrites.iter().any(|r| r.contains("narrowed to ipv4")), "{:?}", c.rewrites);
    let program = &c.physical.interfaces[0].program;
    assert!(program.exprs.nodes.iter().all(|n| n.ty != Type::Ipv6), "no IPv6 address is loaded");
    assert!(program.exprs.nodes.iter().all(|n| !n.host_only), "portable");
}

#[test]
fn the_fixing_conjunct_comes_first_and_does_not_rely_on_itself() {
    let c = plan("SELECT time FROM ip WHERE srcIP = '10.0.0.1' AND IPVersion = 4");
    let lfta = &lftas(&c)[0];
    assert_eq!(lfta.quals[0].text, "IPVersion = 4");
    let program = &c.physical.interfaces[0].program;
    let Op::Compare(_, field, _) = &program.exprs.nodes[lfta.quals[0].node.0 as usize].op else {
        panic!()
    };
    let Op::ByProtocol { arms, .. } = &program.exprs.nodes[field.0 as usize].op else { panic!() };
    assert_eq!(arms.len(), 2, "an IPv6 packet is filtered, not rejected");
}

#[test]
fn from_ipv4_needs_no_choice() {
    let c = plan("SELECT time, srcIP, ttl FROM ipv4");
    let program = &c.physical.interfaces[0].program;
    assert!(program.exprs.nodes.iter().all(|n| !matches!(n.op, Op::ByProtocol { .. })));
}

#[test]
fn chains_become_layers() {
    let c = plan("SELECT time, srcIP FROM vxlan.ip");
    let program = &c.physical.interfaces[0].program;
    let lfta = &program.queries[0];
    let target = &program.layers[lfta.requires[0].0 as usize];
    let LayerSel::Below(above, _) = target else { panic!("{target:?}") };
    assert!(matches!(program.layers[above.0 as usize], LayerSel::First(_)));
}

#[test]
fn several_interfaces_merge_on_the_ordered_column() {
    let c = try_plan("SELECT time, len FROM [all].tcp", &["a", "b"], true).unwrap();
    let [node] = c.physical.nodes.as_slice() else { panic!() };
    let HftaOp::Merge { column, .. } = &node.op else { panic!() };
    assert_eq!((*column, node.inputs.len()), (Some((0, false)), 2));
    assert_eq!(node.name, "query");
    assert!(c.physical.interfaces.iter().all(|i| i.program.queries[0].name == "_fta_query"));
    let bound = &node.memory;
    assert_eq!(bound.entries_max, Some(2 * 4096));
}

#[test]
fn several_interfaces_without_order_unite() {
    let c = try_plan("SELECT len FROM [all].tcp", &["a", "b"], true).unwrap();
    assert!(matches!(c.physical.nodes[0].op, HftaOp::Merge { column: None, .. }));
}

#[test]
fn several_interfaces_feed_one_aggregate() {
    let c = try_plan(
        "SELECT tb, count(*) AS n FROM [all].tcp GROUP BY time/60 AS tb",
        &["a", "b"],
        true,
    )
    .unwrap();
    assert_eq!(c.physical.nodes.len(), 1);
    assert_eq!(c.physical.nodes[0].inputs.len(), 2);
}

#[test]
fn properties_are_constants_of_each_interface() {
    let c = try_plan("SELECT time, @Name AS link FROM [all].tcp", &["a", "b"], true).unwrap();
    for interface in &c.physical.interfaces {
        let name = wt_catalog::Value::bytes(&interface.name);
        let found = interface.program.exprs.nodes.iter().any(|n| n.op == Op::Const(name.clone()));
        assert!(found, "{}", interface.name);
    }
}

#[test]
fn patterns_are_only_above() {
    let c = plan(
        "SELECT tb, srcIP, destIP, count(*) AS n FROM ip GROUP BY time/60 AS tb, CUBE(srcIP, destIP)",
    );
    let a = aggregate(&c.physical.nodes[0]);
    assert_eq!(a.patterns.len(), 4);
    assert!(a.patterns.iter().all(|p| p & 1 == 1), "the window is on in every pattern");
    let LftaAction::Aggregate { keys, .. } = &lftas(&c)[0].action else { panic!() };
    assert_eq!(keys.len(), 3, "the LFTA groups by the full key");
}

#[test]
fn values_whose_repeats_do_not_matter_become_keys_below() {
    let c = plan(
        "SELECT tb, count(DISTINCT srcIP) AS d, count_distinct(destIP) AS e, avg(len) AS mean FROM ip GROUP BY time/60 AS tb",
    );
    let LftaAction::Aggregate { keys, aggs, values, .. } = &lftas(&c)[0].action else { panic!() };
    assert_eq!((keys.len(), aggs.len(), *values), (3, 2, 2));
    let a = aggregate(&c.physical.nodes[0]);
    assert!(a.over_partials && a.keys.len() == 1);
    let distinct: Vec<bool> = a.aggs.iter().map(|agg| agg.distinct).collect();
    assert_eq!(distinct, [false, false, true, false]);
    assert!(matches!(a.aggs[3].function, HftaAggFunction::Host(_)));
}

#[test]
fn host_aggregates_and_distinct_need_a_selection_below() {
    for text in [
        // State of the host that repeats change.
        "SELECT tb, count(DISTINCT srcIP) AS d, quantile(len, 0.5) AS m FROM ip GROUP BY time/60 AS tb",
        "SELECT tb, sum(DISTINCT len) AS s FROM ip GROUP BY time/60 AS tb",
        // Values that the LFTA's table does not hold, or that hardly repeat.
        "SELECT tb, count_distinct(data) AS d FROM tcp GROUP BY time/60 AS tb",
        "SELECT tb, count_distinct(len * 0.5) AS d FROM ip GROUP BY time/60 AS tb",
        "SELECT tb, count(DISTINCT timestamp) AS d FROM ip GROUP BY time/60 AS tb",
        // More combinations of values than are of use.
        "SELECT tb, count_distinct(srcIP) AS a, count_distinct(destIP) AS b, count_distinct(len) AS c FROM ip GROUP BY time/60 AS tb",
        // What only the HFTA would still take, or must see.
        "DEFINE { max_lfta_disorder 2; } SELECT tb, count_distinct(srcIP) AS d FROM ip GROUP BY time/60 AS tb",
        "DEFINE { max_hfta_disorder 2; } SELECT tb, count_distinct(srcIP) AS d FROM ip GROUP BY time/60 AS tb",
        "DEFINE { select_lfta yes; } SELECT tb, count_distinct(srcIP) AS d FROM ip GROUP BY time/60 AS tb",
        "DEFINE { real_time yes; } SELECT tb, count_distinct(srcIP) AS d FROM ip GROUP BY time/60 AS tb",
        "DEFINE { lfta_aggregation yes; } SELECT tb, count_distinct(srcIP) AS d FROM ip GROUP BY time/60 AS tb",
        "SELECT tb, count_distinct(srcIP) AS d, window_completeness() AS c FROM ip GROUP BY time/60 AS tb",
        "SELECT srcIP, count_distinct(destIP) AS d FROM ip GROUP BY SESSION(30), srcIP",
    ] {
        let c = plan(text);
        assert!(matches!(lftas(&c)[0].action, LftaAction::Select { .. }), "{text}");
        let group = match &c.physical.nodes[0].op {
            HftaOp::Session(session) => &session.group,
            _ => aggregate(&c.physical.nodes[0]),
        };
        assert!(!group.over_partials, "{text}");
    }
}

#[test]
fn disorder_options_become_tolerances() {
    let of = |options: &str| {
        let c = plan(&format!(
            "DEFINE {{ {options} }} SELECT tb, count(*) AS n FROM ip GROUP BY time/60 AS tb"
        ));
        let LftaAction::Aggregate { tolerance, slots, .. } = lftas(&c)[0].action else { panic!() };
        (tolerance, aggregate(&c.physical.nodes[0]).tolerance, slots)
    };
    assert_eq!(of("comment 'none';"), (0, 0, 4096));
    assert_eq!(of("max_lfta_disorder 3;"), (2, 3, 4096));
    assert_eq!(of("max_lfta_disorder 3; max_hfta_disorder 7;"), (2, 6, 4096));
    assert_eq!(of("max_lfta_disorder 5; max_hfta_disorder 1;"), (4, 4, 4096), "never below");
    assert_eq!(of("aggregate_slots 1000;"), (0, 0, 1024));
}

#[test]
fn real_time_reaches_the_lfta() {
    let c = plan(
        "DEFINE { real_time yes; } SELECT tb, count(*) AS n FROM tcp WHERE destPort = 1 GROUP BY time/60 AS tb",
    );
    let LftaAction::Aggregate { real_time, .. } = lftas(&c)[0].action else { panic!() };
    assert!(real_time);
    assert!(!aggregate(&c.physical.nodes[0]).real_time, "the LFTA has done it");
}

#[test]
fn lfta_aggregation_keeps_the_partials() {
    let c = plan(
        "DEFINE { query_name parts; lfta_aggregation yes; } SELECT tb, protocol, count(*) AS n FROM ip GROUP BY time/60 AS tb, protocol",
    );
    assert!(c.physical.nodes.is_empty());
    assert_eq!(lftas(&c)[0].name, "parts");
    let computed = plan(
        "DEFINE { query_name parts; lfta_aggregation yes; } SELECT tb*60 AS t, avg(len) AS m FROM ip GROUP BY time/60 AS tb",
    );
    assert!(matches!(computed.physical.nodes[0].op, HftaOp::Select { .. }));
}

#[test]
fn one_result_at_the_end_of_finite_input() {
    let c = plan("SELECT count(*) AS n FROM tcp");
    let a = aggregate(&c.physical.nodes[0]);
    assert!(a.emit_empty && a.ordered.is_empty() && a.keys.is_empty());
    assert_eq!(c.physical.nodes[0].memory.entries_max, Some(1));
    let LftaAction::Aggregate { slots, .. } = lftas(&c)[0].action else { panic!() };
    assert_eq!(slots, 1, "one group needs one slot");
}

#[test]
fn groups_are_counted_where_keys_are_small() {
    let bound = |key: &str| {
        let c = plan(&format!(
            "SELECT tb, k, count(*) AS n FROM tcp GROUP BY time/60 AS tb, {key} AS k"
        ));
        c.physical.nodes[0].memory.entries_max
    };
    assert_eq!(bound("protocol"), Some(256));
    assert_eq!(bound("destPort"), Some(65_536));
    assert_eq!(bound("syn"), Some(2));
    assert_eq!(bound("srcIP"), None);
    assert_eq!(bound("seq"), None, "too many to promise");
}

#[test]
fn conjuncts_sink_into_subqueries() {
    let c =
        plan("SELECT srcIP FROM (SELECT time, srcIP, destPort FROM tcp) AS t WHERE destPort = 80");
    let [lfta] = lftas(&c) else { panic!() };
    assert_eq!(lfta.quals[0].text, "destPort = 80");
    assert!(c.rewrites.iter().any(|r| r.contains("moved below the subquery")), "{:?}", c.rewrites);
    for node in &c.physical.nodes {
        if let HftaOp::Select { quals, .. } = &node.op {
            assert!(quals.is_empty());
        }
    }
}

#[test]
fn conjuncts_stay_above_what_others_read() {
    let c = plan(
        "DEFINE { query_name a; } SELECT time, destPort FROM tcp ;
         DEFINE { query_name b; } SELECT time FROM a WHERE destPort = 80",
    );
    assert!(lftas(&c)[0].quals.is_empty(), "the stream of `a` can be read by others");
    assert!(!c.physical.outputs[0].is_result && c.physical.outputs[1].is_result);
}

#[test]
fn the_prefilter_is_shared_and_cheap() {
    let batch = |second: &str| {
        plan(&format!(
            "DEFINE {{ query_name a; }} SELECT time FROM tcp WHERE destPort = 80 ;
             DEFINE {{ query_name b; }} SELECT time FROM {second}"
        ))
    };
    let program = |c: &Compiled| c.physical.interfaces[0].program.clone();
    let c = batch("udp WHERE destPort = 53");
    let p = program(&c);
    let node = &p.exprs.nodes[p.prefilter.expect("both have quals").0 as usize];
    assert!(node.ty == Type::Bool && !node.host_only);
    assert!(program(&batch("packet")).prefilter.is_none(), "one of them wants every packet");
    let single = plan("SELECT time FROM tcp WHERE destPort = 80");
    assert!(program(&single).prefilter.is_none(), "it would only test itself");
    assert!(program(&batch("udp")).prefilter.is_some(), "that a header is there can be tested");
}

#[test]
fn conjuncts_run_by_cost() {
    let c = plan(
        "SELECT time FROM tcp WHERE str_exists_substr[data, 'x'] AND pcap_filter('ip') AND destPort = 80",
    );
    let texts: Vec<&str> = lftas(&c)[0].quals.iter().map(|q| q.text.as_str()).collect();
    assert_eq!(texts[0], "destPort = 80");
    assert_eq!(texts[1], "pcap_filter('ip')");
}

#[test]
fn filters_are_portable() {
    let c = plan("SELECT time, len FROM packet WHERE pcap_filter('tcp port 80 or vlan')");
    let program = &c.physical.interfaces[0].program;
    let qual = &program.queries[0].quals[0];
    assert!(!program.exprs.nodes[qual.node.0 as usize].host_only);
    assert!(program.exprs.nodes.iter().any(|n| matches!(n.op, Op::LoadOrZero { .. })));
}

#[test]
fn every_node_states_its_bound() {
    let c = try_plan(
        "DEFINE { query_name a; } SELECT time, srcIP, len FROM [all].tcp ;
         DEFINE { query_name b; } SELECT tb, srcIP, sum(len) AS s FROM a GROUP BY time/60 AS tb, srcIP ORDER BY s DESC LIMIT 3 ;
         DEFINE { query_name c; } SELECT DISTINCT srcIP, time FROM a",
        &["x", "y"],
        true,
    )
    .unwrap();
    for node in &c.physical.nodes {
        assert!(!node.memory.entries.is_empty(), "{}", node.name);
    }
    let sort = c.physical.nodes.iter().find(|n| matches!(n.op, HftaOp::Sort { .. })).unwrap();
    assert_eq!(sort.memory.entries_max, Some(3));
}

#[test]
fn unbounded_state_is_refused_with_what_would_bound_it() {
    let live = |text: &str| try_plan(text, &["eth0"], false).unwrap_err().join("\n");
    assert!(live("SELECT srcIP, count(*) AS n FROM ip GROUP BY srcIP").contains("ordered"));
    assert!(!live("SELECT DISTINCT srcIP FROM ip").is_empty());
    assert!(!live("SELECT count(*) AS n FROM ip").is_empty());
    assert!(
        try_plan("SELECT tb, count(*) AS n FROM ip GROUP BY time/60 AS tb", &["eth0"], false)
            .is_ok()
    );
    assert!(
        try_plan(
            "DEFINE { no_temporal_aggr yes; } SELECT srcIP, count(*) AS n FROM ip GROUP BY srcIP",
            &["eth0"],
            false
        )
        .is_ok(),
        "the user bounds it"
    );
}

#[test]
fn orderings_reach_the_outputs() {
    let c = plan("SELECT tb*60 AS start, count(*) AS n FROM ip GROUP BY time/60 AS tb");
    let columns = &c.physical.outputs[0].schema.columns;
    assert!(columns[0].ordering.is_temporal());
    assert_eq!(columns[1].ordering, Ordering::Varying);
    assert_eq!(aggregate(&c.physical.nodes[0]).ordered_outputs, [(0, 0)]);
}

#[test]
fn bad_texts_are_refused_not_planned() {
    for text in [
        "",
        "SELECT",
        "SELECT nope FROM tcp",
        "SELECT time FROM tcp WHERE pcap_filter('tcp prt 80')",
        "SELECT time FROM tcp WHERE pcap_filter('ip6 protochain 6')",
        "SELECT time, moving_sum(len, 5) FROM tcp GROUP BY time",
    ] {
        let errors = try_plan(text, &["eth0"], true).unwrap_err();
        assert!(!errors.is_empty(), "`{text}`");
    }
}

#[test]
fn parameters_are_nodes() {
    let c = plan("PARAM { floor uint; } SELECT time FROM tcp WHERE len > $floor");
    let program = &c.physical.interfaces[0].program;
    assert!(program.exprs.nodes.iter().any(|n| matches!(n.op, Op::Param(_))));
    assert_eq!(c.physical.params.len(), 1);
}

#[test]
fn handles_are_registered_once() {
    let c = plan(
        "SELECT tb, peer, count(*) AS n FROM ip WHERE getlpmid(destIP, 'a.tbl') > 0 GROUP BY time/60 AS tb, getlpmid(destIP, 'a.tbl') AS peer",
    );
    let a = aggregate(&c.physical.nodes[0]);
    assert_eq!(a.exprs.handles.len(), 1);
    let calls = a.exprs.nodes.iter().filter(|n| matches!(n.op, Op::Call { .. })).count();
    assert_eq!(calls, 1, "and called once per tuple");
}

#[test]
fn snap_lengths_cover_what_is_read() {
    let of = |text: &str| {
        let c = plan(text);
        (c.report.lftas[0][0].plain_bytes, lftas(&c)[0].snap_len_bytes)
    };
    assert_eq!(of("SELECT time, len FROM packet"), (Some(0), Some(0)));
    assert_eq!(of("SELECT time, eth_type FROM eth").0, Some(14));
    // Ethernet, IPv6, and TCP without options.
    assert_eq!(of("SELECT time, destPort FROM tcp").0, Some(14 + 40 + 20));
    assert_eq!(of("SELECT time, data FROM tcp"), (None, None), "the payload has no limit");
    let outer_and_inner = 14 + 40 + 8 + 8 + 14 + 40;
    assert_eq!(of("SELECT time, srcIP FROM vxlan.ip").0, Some(outer_and_inner));
}
