//! Windows: the values of a stream's ordered columns, how far a stream has come in them, and what that closes
//! (gsql.md §11, §19).

use std::cmp::Ordering;

use wt_catalog::Value;
use wt_plan::ir::{NodeId, OrderedColumn};

use crate::interp::Interpreter;
use crate::tuple::Message;

/// Compares two values of an ordered column in its own direction: less is earlier.
pub(crate) fn compare(a: &Value, b: &Value, decreasing: bool) -> Ordering {
    let ordering = match (a, b) {
        (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
        _ => a.total_cmp(b),
    };
    if decreasing { ordering.reverse() } else { ordering }
}

/// The value `by` earlier than `value` in an ordered column's direction, held at the ends of the value's range. Nothing for
/// values that have no distance.
pub(crate) fn retreat(value: &Value, by: &Value, decreasing: bool) -> Option<Value> {
    if let Value::Float(f) = *value {
        let by = by.as_f64()?;
        return Some(Value::Float(if decreasing { f + by } else { f - by }));
    }
    let by = by.as_i128().or_else(|| by.as_f64().map(|f| f.ceil() as i128))?;
    if by == 0 {
        return Some(value.clone());
    }
    let moved = value.as_i128()? + if decreasing { by } else { -by };
    let unsigned = moved.clamp(0, i128::from(u64::MAX)) as u64;
    let signed = moved.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    Some(match value {
        Value::Uint(_) => Value::Uint(unsigned),
        Value::Time(_) => Value::Time(unsigned),
        Value::TimeVal(_) => Value::TimeVal(unsigned),
        Value::Int(_) => Value::Int(signed),
        Value::Duration(_) => Value::Duration(signed),
        _ => return None,
    })
}

/// The ordered columns among the group keys (or the columns) of an operator.
#[derive(Clone, Debug)]
pub(crate) struct WindowColumns {
    columns: Vec<WindowColumn>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowColumn {
    /// Index among keys or columns.
    pub key: usize,
    /// Decreasing rather than increasing.
    pub decreasing: bool,
    /// How far behind the newest value stays open: the operator's tolerance and the column's own band.
    pub tolerance: u64,
}

/// What a tuple's window is to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Some component is behind by more than the tolerance.
    Late,
    /// Open.
    Within,
    /// Open, and some component goes beyond the frontier.
    Beyond,
}

impl WindowColumns {
    pub(crate) fn new(ordered: &[OrderedColumn], tolerance: u64) -> Self {
        let columns = ordered.iter().map(|column| WindowColumn {
            key: column.column as usize,
            decreasing: column.decreasing,
            tolerance: tolerance.saturating_add(column.band),
        });
        Self { columns: columns.collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &WindowColumn> {
        self.columns.iter()
    }

    /// What a punctuation over the columns says of each.
    pub(crate) fn known(&self, bounds: &[(u32, Value)]) -> Vec<Option<Value>> {
        let of = |column: &WindowColumn| {
            let found = bounds.iter().find(|(index, _)| *index as usize == column.key);
            found.map(|(_, value)| value.clone())
        };
        self.columns.iter().map(of).collect()
    }

    /// The window of a group key or tuple.
    pub(crate) fn window_of(&self, keys: &[Value]) -> Box<[Value]> {
        self.columns.iter().map(|column| keys[column.key].clone()).collect()
    }

    /// Orders the windows of two group keys: the first component that differs decides.
    pub(crate) fn compare_keys(&self, a: &[Value], b: &[Value]) -> Ordering {
        let each =
            |column: &WindowColumn| compare(&a[column.key], &b[column.key], column.decreasing);
        self.columns.iter().map(each).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Orders a window (as [`Self::window_of`] gives it) and that of a group key.
    pub(crate) fn compare_window(&self, window: &[Value], keys: &[Value]) -> Ordering {
        let each = |(value, column): (&Value, &WindowColumn)| {
            compare(value, &keys[column.key], column.decreasing)
        };
        window.iter().zip(&self.columns).map(each).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Orders two windows.
    pub(crate) fn compare_windows(&self, a: &[Value], b: &[Value]) -> Ordering {
        let each =
            |((a, b), column): ((&Value, &Value), &WindowColumn)| compare(a, b, column.decreasing);
        let components = a.iter().zip(b).zip(&self.columns);
        components.map(each).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Whether a window lies behind bounds in any component.
    pub(crate) fn window_is_behind(&self, window: &[Value], bounds: &[Option<Value>]) -> bool {
        window.iter().zip(bounds).zip(&self.columns).any(|((value, bound), column)| {
            bound.as_ref().is_some_and(|b| compare(value, b, column.decreasing).is_lt())
        })
    }

    /// Whether the window of a group key lies behind bounds in any component.
    pub(crate) fn key_is_behind(&self, keys: &[Value], bounds: &[Option<Value>]) -> bool {
        self.columns.iter().zip(bounds).any(|(column, bound)| {
            let value = &keys[column.key];
            bound.as_ref().is_some_and(|b| compare(value, b, column.decreasing).is_lt())
        })
    }
}

/// How far one stream has come: the greatest value of each ordered column, and the bound behind which tuples are late.
#[derive(Clone, Debug)]
pub(crate) struct Frontier {
    newest: Vec<Option<Value>>,
    bounds: Vec<Option<Value>>,
}

impl Frontier {
    pub(crate) fn new(columns: &WindowColumns) -> Self {
        let nothing = vec![None; columns.len()];
        Self { newest: nothing.clone(), bounds: nothing }
    }

    /// What the window of a group key is to the stream.
    #[inline]
    pub(crate) fn judge(&self, columns: &WindowColumns, keys: &[Value]) -> Judgement {
        let mut judgement = Judgement::Within;
        for (i, column) in columns.columns.iter().enumerate() {
            let value = &keys[column.key];
            let ordering = match &self.newest[i] {
                None => Ordering::Greater,
                Some(newest) => compare(value, newest, column.decreasing),
            };
            match ordering {
                Ordering::Equal => {}
                Ordering::Greater => judgement = Judgement::Beyond,
                Ordering::Less => {
                    let bound = self.bounds[i].as_ref();
                    if bound.is_some_and(|b| compare(value, b, column.decreasing).is_lt()) {
                        return Judgement::Late;
                    }
                }
            }
        }
        judgement
    }

    /// Takes the window of a group key.
    pub(crate) fn advance(&mut self, columns: &WindowColumns, keys: &[Value]) -> bool {
        let mut advanced = false;
        for (i, column) in columns.columns.iter().enumerate() {
            advanced |= self.advance_component(i, column, &keys[column.key], true);
        }
        advanced
    }

    /// Takes what is known of a window, by component; says whether anything advanced.
    pub(crate) fn advance_known(
        &mut self,
        columns: &WindowColumns,
        known: &[Option<Value>],
        with_tolerance: bool,
    ) -> bool {
        let mut advanced = false;
        for (i, (column, value)) in columns.columns.iter().zip(known).enumerate() {
            if let Some(value) = value {
                advanced |= self.advance_component(i, column, value, with_tolerance);
            }
        }
        advanced
    }

    fn advance_component(
        &mut self,
        i: usize,
        column: &WindowColumn,
        value: &Value,
        with_tolerance: bool,
    ) -> bool {
        let newest = &mut self.newest[i];
        if newest.as_ref().is_some_and(|n| compare(value, n, column.decreasing).is_le()) {
            return false;
        }
        *newest = Some(value.clone());
        self.bounds[i] = match with_tolerance {
            false => Some(value.clone()),
            true => retreat(value, &Value::Uint(column.tolerance), column.decreasing),
        };
        true
    }

    /// The greatest value of each ordered column so far; nothing before all have one.
    pub(crate) fn newest(&self) -> Option<Box<[Value]>> {
        self.newest.iter().cloned().collect()
    }

    /// Behind these, tuples are late and windows closed; by component, nothing where nothing is known.
    pub(crate) fn bounds(&self) -> &[Option<Value>] {
        &self.bounds
    }
}

/// The earlier of the bounds of several streams, by component: nothing where one of them knows nothing.
pub(crate) fn least_bounds<'a>(
    columns: &WindowColumns,
    mut streams: impl Iterator<Item = &'a Frontier>,
) -> Vec<Option<Value>> {
    let Some(first) = streams.next() else { return vec![None; columns.len()] };
    let mut least = first.bounds.to_vec();
    for stream in streams {
        for ((least, bound), column) in least.iter_mut().zip(&stream.bounds).zip(&columns.columns) {
            *least = match (least.take(), bound) {
                (Some(a), Some(b)) => {
                    Some(if compare(&a, b, column.decreasing).is_le() { a } else { b.clone() })
                }
                _ => None,
            };
        }
    }
    least
}

/// A punctuation over the keys that are window columns; nothing when no bound is known.
pub(crate) fn punctuation(
    columns: &WindowColumns,
    bounds: &[Option<Value>],
) -> Option<Vec<(u32, Value)>> {
    let known: Vec<_> = columns
        .columns
        .iter()
        .zip(bounds)
        .filter_map(|(column, bound)| Some((column.key as u32, bound.clone()?)))
        .collect();
    (!known.is_empty()).then_some(known)
}

/// What a lower bound of the packets' times says about the ordered columns of a selection.
pub(crate) fn bounds_at(
    interpreter: &mut Interpreter,
    outputs: &[NodeId],
    ordered: &[OrderedColumn],
    time_ns: u64,
) -> Option<Message> {
    let mut bounds = Vec::new();
    for column in ordered.iter().filter(|column| column.from_time) {
        let node = outputs[column.column as usize];
        let Ok(value) = interpreter.eval_at(time_ns, node) else { continue };
        let by = Value::Uint(column.band);
        if let Some(value) = retreat(value, &by, column.decreasing) {
            bounds.push((column.column, value));
        }
    }
    (!bounds.is_empty()).then_some(Message::Punctuation(bounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(column: u32, decreasing: bool, band: u64) -> OrderedColumn {
        OrderedColumn { column, decreasing, band, from_time: true }
    }

    fn uints(values: &[u64]) -> Vec<Value> {
        values.iter().map(|&v| Value::Uint(v)).collect()
    }

    #[test]
    fn tolerance_and_band_keep_windows_open() {
        let columns = WindowColumns::new(&[column(0, false, 1)], 1);
        let mut frontier = Frontier::new(&columns);
        assert_eq!(frontier.judge(&columns, &uints(&[5])), Judgement::Beyond);
        assert!(frontier.advance(&columns, &uints(&[5])));
        assert!(!frontier.advance(&columns, &uints(&[4])));
        assert_eq!(frontier.judge(&columns, &uints(&[5])), Judgement::Within);
        assert_eq!(frontier.judge(&columns, &uints(&[3])), Judgement::Within);
        assert_eq!(frontier.judge(&columns, &uints(&[2])), Judgement::Late);
        assert_eq!(frontier.bounds(), [Some(Value::Uint(3))]);
    }

    #[test]
    fn any_component_behind_is_late_and_any_beyond_advances() {
        let columns = WindowColumns::new(&[column(0, false, 0), column(2, true, 0)], 0);
        let mut frontier = Frontier::new(&columns);
        frontier.advance(&columns, &uints(&[5, 99, 10]));
        assert_eq!(frontier.judge(&columns, &uints(&[6, 0, 10])), Judgement::Beyond);
        assert_eq!(frontier.judge(&columns, &uints(&[5, 0, 9])), Judgement::Beyond);
        assert_eq!(frontier.judge(&columns, &uints(&[6, 0, 11])), Judgement::Late);
        assert_eq!(frontier.judge(&columns, &uints(&[4, 0, 9])), Judgement::Late);
    }

    #[test]
    fn bounds_stop_at_the_ends_of_the_range() {
        let three = Value::Uint(3);
        assert_eq!(retreat(&Value::Uint(1), &three, false), Some(Value::Uint(0)));
        assert_eq!(retreat(&Value::Time(u64::MAX), &three, true), Some(Value::Time(u64::MAX)));
        assert_eq!(retreat(&Value::Int(1), &three, false), Some(Value::Int(-2)));
        assert_eq!(retreat(&Value::Float(1.0), &three, false), Some(Value::Float(-2.0)));
        assert_eq!(retreat(&Value::bytes("a"), &three, false), None);
        assert_eq!(retreat(&Value::bytes("a"), &Value::Uint(0), false), Some(Value::bytes("a")));
    }

    #[test]
    fn least_bound_of_several_streams() {
        let columns = WindowColumns::new(&[column(0, false, 0)], 0);
        let mut a = Frontier::new(&columns);
        let b = Frontier::new(&columns);
        a.advance(&columns, &uints(&[5]));
        assert_eq!(least_bounds(&columns, [&a, &b].into_iter()), [None]);
        let mut b = b;
        b.advance(&columns, &uints(&[3]));
        assert_eq!(least_bounds(&columns, [&a, &b].into_iter()), [Some(Value::Uint(3))]);
    }
}
