//! Aggregates to which repeats do not matter (`count_distinct(x)`, `count(DISTINCT x)`): their values become keys of the LFTA, where
//! repeats end, and the HFTA takes the value of each partial group.

use wt_catalog::function::{FunctionKind, Split};
use wt_catalog::{Ordering, Type};

use super::above::{Parts, hfta_tolerance};
use super::below::Partial;
use super::kept::{Kept, Kepts, kind_name, operand};
use super::{asks_completeness, unsplittable};
use crate::ir::AggKind;
use crate::logical::{AggCall, AggregateNode, Expr, Item, ProtocolSource};
use crate::lower::Dag;
use crate::physical::{HftaAgg, HftaAggFunction};
use crate::split::program::inputs;
use crate::split::safe::is_safe;
use crate::split::{Place, Planned, Splitter, Stream};
use crate::walk;

/// Most different values that become keys: their combinations are the groups.
const VALUES_MAX: usize = 2;

/// Whether repeats do not matter to a call, and its value fits the LFTA's table.
pub(super) fn takes_values(call: &AggCall) -> bool {
    let [value] = &call.args[..] else { return false };
    let is_counted = matches!(call.function.kind, FunctionKind::Aggregate(Split::Count));
    let ignores = call.function.ignores_repeats || call.distinct && is_counted;
    // Times to the microsecond mostly come once.
    let may_repeat = !matches!(value.ty, Type::Float | Type::Time | Type::TimeVal);
    ignores && is_safe(value) && !value.ty.is_bytes() && may_repeat
}

impl Splitter<'_> {
    /// Grouping in the LFTA by the query's keys and the values to which repeats do not matter. Nothing when the HFTA needs every tuple
    /// anyway.
    pub(super) fn by_value(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        place: Place<'_>,
    ) -> Planned<Option<Stream>> {
        let mut values: Vec<&Expr> = Vec::new();
        for call in a.aggs.iter().filter(|call| takes_values(call)) {
            let value = &call.args[0];
            if !values.iter().any(|known| walk::same(known, value)) {
                values.push(value);
            }
        }
        let options = &place.query.options;
        // Tuples that only the HFTA would still take must reach it.
        let waits = hfta_tolerance(place) > options.max_lfta_disorder.saturating_sub(1);
        let fits = (1..=VALUES_MAX).contains(&values.len())
            && unsplittable(a, takes_values).is_empty()
            && !(waits
                || options.select_lfta
                || options.real_time
                || options.lfta_aggregation
                || asks_completeness(a));
        if !fits {
            return Ok(None);
        }
        let mut kepts = Kepts::default();
        a.aggs.iter().filter(|call| !takes_values(call)).for_each(|call| kepts.add(call));
        let names = self.packet_names(source);
        let item = |value: &&Expr| Item {
            name: names.text(value),
            expr: (*value).clone(),
            ordering: Ordering::Varying,
            window: false,
        };
        let more: Vec<Item> = values.iter().map(item).collect();
        let keys = a.keys.iter().cloned().chain(more).collect();
        let kind = Partial::ByValue(values.len() as u32);
        let below = AggregateNode { keys, ..a.clone() };
        let partials = self.lfta_aggregation(&below, source, &kepts, place, kind)?;
        self.over_values(a, partials, &kepts, &values, place).map(Some)
    }

    /// The HFTA above: completes partial groups, and takes the value of each.
    fn over_values(
        &mut self,
        a: &AggregateNode,
        partials: Stream,
        kepts: &Kepts,
        values: &[&Expr],
        place: Place<'_>,
    ) -> Planned<Stream> {
        let mut dag = Dag::default();
        let leaves = inputs(&mut dag, partials.columns.iter().map(|c| c.shipped));
        let (keys, rest) = leaves.split_at(a.keys.len());
        let (of_values, subs) = rest.split_at(values.len());
        let columns = &partials.columns[a.keys.len() + values.len()..];
        let mut aggs: Vec<HftaAgg> = Vec::new();
        for ((basic, &node), column) in kepts.basics.iter().zip(subs).zip(columns) {
            let kind = if basic.kind == AggKind::Count { AggKind::Sum } else { basic.kind };
            aggs.push(HftaAgg {
                function: HftaAggFunction::Basic(kind),
                args: vec![node],
                consts: Vec::new(),
                distinct: false,
                ty: basic.ty,
                text: format!("{}({})", kind_name(kind), column.info.name),
            });
        }
        let mut results = Vec::new();
        let mut basic_results = kepts.results.iter();
        for call in &a.aggs {
            let known = match takes_values(call) {
                true => values.iter().position(|value| walk::same(value, &call.args[0])),
                false => None,
            };
            let Some(at) = known else {
                results.extend(basic_results.next().copied());
                continue;
            };
            results.push(Kept::Direct(aggs.len()));
            let mut own = Kepts::default();
            own.add(call);
            let value = dag.cast(of_values[at], call.args[0].ty);
            let (function, value) = match own.basics.first() {
                Some(basic) => {
                    (HftaAggFunction::Basic(basic.kind), operand(&mut dag, basic, value))
                }
                None => (HftaAggFunction::Host(call.function.symbol), value),
            };
            aggs.push(HftaAgg {
                function,
                args: vec![value],
                consts: call.consts.clone(),
                distinct: call.distinct,
                ty: call.ty,
                text: call.text.clone(),
            });
        }
        let lfta = place.query.options.max_lfta_disorder.saturating_sub(1);
        let parts = Parts {
            dag,
            quals: Vec::new(),
            maxima: partials.columns.iter().take(a.keys.len()).map(|c| c.max).collect(),
            keys: keys.to_vec(),
            aggs,
            over_partials: true,
            tolerance: hfta_tolerance(place).max(lfta),
            time: String::new(),
            seen: (Vec::new(), lfta),
        };
        let why =
            vec!["completes the partial groups of the LFTA, which has one for each value".into()];
        self.aggregate_node(a, partials.refs, parts, &results, place, why)
    }
}
