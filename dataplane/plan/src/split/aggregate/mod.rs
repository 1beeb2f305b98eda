//! Grouping (gsql.md §11, §12, §22): sub-aggregates in the LFTA, super-aggregates above.

mod above;
mod below;
mod kept;
mod seen;
mod values;

use wt_catalog::Ordering;
use wt_catalog::function::{FunctionKind, Split};
use wt_lang::Diagnostic;

use super::safe::{Shipper, is_safe, unsafe_reason};
use super::select::reasons;
use super::{Place, Planned, Splitter, Stream};
use crate::logical::{
    AggCall, AggregateNode, Expr, Item, LogicalNode, ProtocolSource, SessionNode,
};
use below::Partial;
use kept::Kepts;

impl Splitter<'_> {
    /// Grouping over packets.
    pub(super) fn aggregate_packets(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        place: Place<'_>,
    ) -> Planned<Stream> {
        self.check_bounded(a, place)?;
        let reasons = unsplittable(a, |_| false);
        if !reasons.is_empty() {
            if let Some(stream) = self.by_value(a, source, place)? {
                return Ok(stream);
            }
            return self.over_selection(a, source, place, reasons);
        }
        let mut kepts = Kepts::default();
        for call in &a.aggs {
            kepts.add(call);
        }
        let wanted = place.query.options.lfta_aggregation;
        let own = wanted && place.top && a.having.is_empty() && source.interfaces.len() == 1;
        if wanted && !own {
            self.note(format!(
                "{}: `lfta_aggregation` is for one interface without HAVING; the groups are completed",
                place.query.name
            ));
        }
        let kind = if own { Partial::Result } else { Partial::Completed };
        let stream = self.lfta_aggregation(a, source, &kepts, place, kind)?;
        if own {
            return self.partials(a, stream, &kepts, place);
        }
        let seen = self.seen(a, source, &stream, place)?;
        self.complete(a, stream, &kepts, seen, place)
    }

    /// Grouping over tuples.
    pub(super) fn aggregate_tuples(
        &mut self,
        a: &AggregateNode,
        input: &LogicalNode,
        place: Place<'_>,
    ) -> Planned<Stream> {
        self.check_bounded(a, place)?;
        let input = self.node(input, place.below())?;
        self.whole_aggregate(a, input, Vec::new(), place, vec!["reads a stream".into()])
    }

    /// State that nothing bounds is refused.
    fn check_bounded(&self, a: &AggregateNode, place: Place<'_>) -> Planned<()> {
        let windowed = !window_keys(a).is_empty();
        if windowed
            || a.session.is_some()
            || a.at_end
            || self.finite
            || place.query.options.no_temporal_aggr
        {
            return Ok(());
        }
        Err(Box::new(Diagnostic::error(
            "unbounded-state",
            place.query.span,
            "groups would be kept for ever: no group variable is ordered",
        )
        .hint("Add a time bucket to GROUP BY, e.g. `time/60 AS minute`: groups then close every minute.")
        .hint("`DEFINE { no_temporal_aggr 'yes'; }` accepts output at the end only, within the memory limit.")))
    }

    /// A selection LFTA under a full aggregation.
    fn over_selection(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        place: Place<'_>,
        reasons: Vec<String>,
    ) -> Planned<Stream> {
        let (below, above): (Vec<Expr>, Vec<Expr>) = a.quals.iter().cloned().partition(is_safe);
        let mut shipper = Shipper::new(self.envs(source));
        let keys: Vec<Item> =
            a.keys.iter().map(|key| Item { expr: shipper.item(key), ..key.clone() }).collect();
        let aggs: Vec<AggCall> = a
            .aggs
            .iter()
            .map(|call| AggCall {
                args: call.args.iter().map(|e| shipper.expr(e)).collect(),
                ..call.clone()
            })
            .collect();
        let quals = above.iter().map(|q| shipper.expr(q)).collect();
        let session = a.session.as_ref().map(|session| {
            let name = self.packet_names(source).text(&session.time);
            let ordering = Ordering::Increasing;
            let time = Item { name, expr: session.time.clone(), ordering, window: false };
            SessionNode { time: shipper.item(&time), ..session.clone() }
        });
        // Tuples that fail the quals advance the window under `real_time`, so they must be seen above.
        let (below, quals) = match place.query.options.real_time {
            true => (Vec::new(), a.quals.iter().map(|q| shipper.expr(q)).collect::<Vec<Expr>>()),
            false => (below, quals),
        };
        let input = self.ship(source, &below, shipper, place)?;
        self.note(format!(
            "{}: selection LFTA under a full aggregation, because {}",
            place.query.name,
            reasons.join(", ")
        ));
        let seen = self.seen(a, source, &input, place)?;
        let above = AggregateNode { quals, keys, aggs, session, ..a.clone() };
        self.whole_aggregate(&above, input, seen, place, reasons)
    }
}

/// Why an aggregation cannot run in an LFTA, calls apart that are taken `elsewhere`; empty when it can.
fn unsplittable(a: &AggregateNode, elsewhere: impl Fn(&AggCall) -> bool) -> Vec<String> {
    let mut found = reasons(
        a.quals
            .iter()
            .chain(a.keys.iter().map(|k| &k.expr))
            .chain(a.aggs.iter().flat_map(|g| &g.args)),
    );
    if a.session.is_some() {
        found.push("a fixed table cannot tell when a session ends".into());
    }
    for call in a.aggs.iter().filter(|call| !elsewhere(call)) {
        let name = call.function.name;
        let splits =
            matches!(call.function.kind, FunctionKind::Aggregate(s) if s != Split::HostOnly);
        if matches!(call.function.kind, FunctionKind::Aggregate(Split::OfWindow)) {
            continue;
        }
        if call.distinct {
            found.push(format!("`{}` must see every value", call.text));
        } else if !splits {
            found.push(format!("`{name}` keeps its state on the host"));
        } else if !call.function.lfta_legal {
            found.push(format!("`{name}` of a string does not fit the fixed table"));
        }
    }
    for key in &a.keys {
        let fixed = matches!(
            key.expr.kind,
            crate::logical::ExprKind::InterfaceProperty(_) | crate::logical::ExprKind::Const(_)
        );
        if key.expr.ty.is_bytes() && !fixed && unsafe_reason(&key.expr).is_none() {
            found.push(format!(
                "key `{}` is a string, which does not fit the fixed table",
                key.name
            ));
        }
    }
    found.dedup();
    found
}

/// Whether the query asks for the share of packets seen.
fn asks_completeness(a: &AggregateNode) -> bool {
    a.aggs.iter().any(|g| g.function.kind == FunctionKind::Aggregate(Split::OfWindow))
}

/// Keys that name the window: ordered, and on in every grouping pattern.
fn window_keys(a: &AggregateNode) -> Vec<usize> {
    (0..a.keys.len())
        .filter(|&i| {
            a.keys[i].ordering.is_temporal()
                && a.patterns.iter().all(|p| i >= 64 || p & (1 << i) != 0)
        })
        .collect()
}
