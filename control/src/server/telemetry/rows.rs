//! Rows as the database takes them: an array for each column, resources and scopes once each.

use std::collections::HashMap;

use bytes::BytesMut;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::value;

/// A signal: what puts its rows into the database, and their columns.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) procedure: &'static str,
    pub(super) columns: &'static [Kind],
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bytes,
    Big,
    Small,
    Text,
    Real,
    Bool,
}

/// A column's values, NULL where there is none.
#[derive(Debug)]
pub(super) enum Column {
    Bytes(Vec<Option<Vec<u8>>>),
    Big(Vec<Option<i64>>),
    Small(Vec<Option<i16>>),
    Text(Vec<Option<String>>),
    Real(Vec<Option<f64>>),
    Bool(Vec<Option<bool>>),
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bytes => Self::Bytes(Vec::new()),
            Kind::Big => Self::Big(Vec::new()),
            Kind::Small => Self::Small(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
            Kind::Real => Self::Real(Vec::new()),
            Kind::Bool => Self::Bool(Vec::new()),
        }
    }

    fn append(&mut self, other: &Self) {
        match (self, other) {
            (Self::Bytes(to), Self::Bytes(from)) => to.extend_from_slice(from),
            (Self::Big(to), Self::Big(from)) => to.extend_from_slice(from),
            (Self::Small(to), Self::Small(from)) => to.extend_from_slice(from),
            (Self::Text(to), Self::Text(from)) => to.extend_from_slice(from),
            (Self::Real(to), Self::Real(from)) => to.extend_from_slice(from),
            (Self::Bool(to), Self::Bool(from)) => to.extend_from_slice(from),
            _ => unreachable!("rows of a signal have the columns of the signal"),
        }
    }
}

impl ToSql for Column {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Bytes(values) => values.to_sql(ty, out),
            Self::Big(values) => values.to_sql(ty, out),
            Self::Small(values) => values.to_sql(ty, out),
            Self::Text(values) => values.to_sql(ty, out),
            Self::Real(values) => values.to_sql(ty, out),
            Self::Bool(values) => values.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [
            Type::BYTEA_ARRAY,
            Type::INT8_ARRAY,
            Type::INT2_ARRAY,
            Type::TEXT_ARRAY,
            Type::FLOAT8_ARRAY,
            Type::BOOL_ARRAY,
        ]
        .contains(ty)
    }

    to_sql_checked!();
}

/// Where rows come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    resource: i32,
    scope: i32,
    /// Of all that resource and scope say.
    pub(super) digest: [u8; 32],
}

/// Texts, each once, numbered from 1 as arrays of Postgres are.
#[derive(Debug)]
struct Distinct<const N: usize> {
    columns: [Vec<String>; N],
    numbers: HashMap<[String; N], i32>,
}

impl<const N: usize> Distinct<N> {
    fn new() -> Self {
        Self { columns: std::array::from_fn(|_| Vec::new()), numbers: HashMap::new() }
    }

    fn number(&mut self, key: [String; N]) -> i32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        for (column, text) in self.columns.iter_mut().zip(&key) {
            column.push(text.clone());
        }
        // A request has fewer bytes than an i32 counts.
        let number = i32::try_from(self.numbers.len() + 1).unwrap_or(i32::MAX);
        self.numbers.insert(key, number);
        number
    }

    fn keys(&self) -> impl Iterator<Item = [String; N]> {
        let count = self.columns.first().map_or(0, Vec::len);
        (0..count).map(|i| std::array::from_fn(|column| self.columns[column][i].clone()))
    }
}

/// Rows, growing.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) signal: &'static Signal,
    /// Tenant and attributes.
    resources: Distinct<2>,
    /// Name, version and attributes.
    scopes: Distinct<3>,
    /// By row: its request, resource and scope.
    parcel: Vec<i32>,
    resource: Vec<i32>,
    scope: Vec<i32>,
    columns: Vec<Column>,
    /// Rows that no table takes.
    pub(super) invalid: i64,
}

/// A row, growing.
pub(super) struct Row<'r> {
    left: std::slice::IterMut<'r, Column>,
}

impl Rows {
    pub(super) fn new(signal: &'static Signal) -> Self {
        Self {
            signal,
            resources: Distinct::new(),
            scopes: Distinct::new(),
            parcel: Vec::new(),
            resource: Vec::new(),
            scope: Vec::new(),
            columns: signal.columns.iter().map(|kind| Column::new(*kind)).collect(),
            invalid: 0,
        }
    }

    /// Where the rows of a resource and a scope of it come from.
    pub(super) fn origin(
        &mut self,
        tenant: &str,
        resource: Option<&Resource>,
        scope: Option<&InstrumentationScope>,
    ) -> Origin {
        let attributes = value::object(resource.map_or(&[], |resource| &resource.attributes));
        let resource = [tenant.to_owned(), attributes.to_string()];
        let none = InstrumentationScope::default();
        let scope = scope.unwrap_or(&none);
        let attributes = value::object(&scope.attributes).to_string();
        let [name, version] = [&scope.name, &scope.version].map(|t| value::plain(t).into_owned());
        let scope = [name, version, attributes];
        let mut digest = Sha256::new();
        for text in resource.iter().chain(&scope) {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        let (resource, scope) = (self.resources.number(resource), self.scopes.number(scope));
        Origin { resource, scope, digest: digest.finalize().into() }
    }

    /// A row, all of whose columns follow in order.
    pub(super) fn add(&mut self, origin: &Origin, fill: impl FnOnce(&mut Row<'_>)) {
        self.parcel.push(0);
        self.resource.push(origin.resource);
        self.scope.push(origin.scope);
        let mut row = Row { left: self.columns.iter_mut() };
        fill(&mut row);
        debug_assert!(row.left.next().is_none(), "a row has all columns");
    }

    /// A row that no table takes.
    pub(super) fn reject(&mut self) {
        self.invalid += 1;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.parcel.len()
    }

    /// Adds those of a request, which are known by its number.
    pub(super) fn append(&mut self, number: i32, other: &Self) {
        let resources: Vec<i32> =
            other.resources.keys().map(|key| self.resources.number(key)).collect();
        let scopes: Vec<i32> = other.scopes.keys().map(|key| self.scopes.number(key)).collect();
        let renumbered = |numbers: &[i32], of: &i32| numbers[*of as usize - 1];
        self.parcel.extend(std::iter::repeat_n(number, other.len()));
        self.resource.extend(other.resource.iter().map(|of| renumbered(&resources, of)));
        self.scope.extend(other.scope.iter().map(|of| renumbered(&scopes, of)));
        for (to, from) in self.columns.iter_mut().zip(&other.columns) {
            to.append(from);
        }
    }

    /// The statement that puts them into the database, and says of each request how many were rejected for their time.
    pub(super) fn statement(&self) -> String {
        let count = self.parameters().len();
        let places: Vec<String> = (1..=count).map(|place| format!("${place}")).collect();
        format!("SELECT parcel, rejected FROM {}({})", self.signal.procedure, places.join(", "))
    }

    /// Its parameters.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut all: Vec<&(dyn ToSql + Sync)> = Vec::new();
        all.extend(self.resources.columns.iter().map(|c| c as &(dyn ToSql + Sync)));
        all.extend(self.scopes.columns.iter().map(|c| c as &(dyn ToSql + Sync)));
        all.extend([&self.parcel, &self.resource, &self.scope].map(|c| c as &(dyn ToSql + Sync)));
        all.extend(self.columns.iter().map(|c| c as &(dyn ToSql + Sync)));
        all
    }
}

impl Row<'_> {
    fn next(&mut self) -> &mut Column {
        self.left.next().expect("a row has no more columns than its signal")
    }

    pub(super) fn null(&mut self) -> &mut Self {
        match self.next() {
            Column::Bytes(values) => values.push(None),
            Column::Big(values) => values.push(None),
            Column::Small(values) => values.push(None),
            Column::Text(values) => values.push(None),
            Column::Real(values) => values.push(None),
            Column::Bool(values) => values.push(None),
        }
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        match self.next() {
            Column::Text(values) => values.push(Some(value::plain(text).into_owned())),
            other => unreachable!("{other:?} is no column of texts"),
        }
        self
    }

    /// A text, or NULL for none.
    pub(super) fn text_if_any(&mut self, text: &str) -> &mut Self {
        if text.is_empty() { self.null() } else { self.text(text) }
    }

    /// A small or a big integer, as the column has it.
    pub(super) fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        let number = number.into();
        match self.next() {
            Column::Big(values) => values.push(Some(number)),
            // Those that get there are codes with a range of their own.
            Column::Small(values) => values.push(i16::try_from(number).ok()),
            other => unreachable!("{other:?} is no column of integers"),
        }
        self
    }

    pub(super) fn real(&mut self, number: f64) -> &mut Self {
        match self.next() {
            Column::Real(values) => values.push(Some(number)),
            other => unreachable!("{other:?} is no column of numbers"),
        }
        self
    }

    pub(super) fn bool(&mut self, is: bool) -> &mut Self {
        match self.next() {
            Column::Bool(values) => values.push(Some(is)),
            other => unreachable!("{other:?} is no column of truth values"),
        }
        self
    }

    /// Bytes, or NULL for none.
    pub(super) fn bytes_if_any(&mut self, bytes: &[u8]) -> &mut Self {
        match self.next() {
            Column::Bytes(values) => {
                values.push(if bytes.is_empty() { None } else { Some(bytes.to_vec()) });
            }
            other => unreachable!("{other:?} is no column of bytes"),
        }
        self
    }

    pub(super) fn json(&mut self, value: &Value) -> &mut Self {
        self.text(&value.to_string())
    }
}

#[cfg(test)]
impl Rows {
    /// The values of a column, as text.
    pub(super) fn shown(&self, column: usize) -> Vec<String> {
        fn all<T: std::fmt::Debug>(values: &[Option<T>]) -> Vec<String> {
            let text = |value: &Option<T>| match value {
                Some(value) => format!("{value:?}"),
                None => "NULL".to_owned(),
            };
            values.iter().map(text).collect()
        }
        match &self.columns[column] {
            Column::Bytes(values) => all(values),
            Column::Big(values) => all(values),
            Column::Small(values) => all(values),
            Column::Text(values) => {
                values.iter().map(|v| v.clone().unwrap_or_else(|| "NULL".to_owned())).collect()
            }
            Column::Real(values) => all(values),
            Column::Bool(values) => all(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static SIGNAL: Signal = Signal {
        procedure: "otel.put",
        columns: &[Kind::Text, Kind::Big, Kind::Small, Kind::Real, Kind::Bool, Kind::Bytes],
    };

    fn rows(tenant: &str, texts: &[&str]) -> Rows {
        let mut rows = Rows::new(&SIGNAL);
        let origin = rows.origin(tenant, None, None);
        for text in texts {
            rows.add(&origin, |row| {
                row.text(text).number(7).number(-1).real(f64::NAN).bool(true).bytes_if_any(b"");
            });
        }
        rows
    }

    #[test]
    fn values_lie_in_their_columns() {
        let mut rows = rows("red", &["a\0b"]);
        let origin = rows.origin("red", None, None);
        rows.add(&origin, |row| {
            row.json(&json!({ "k": 1 })).null().null().null().null().bytes_if_any(&[1, 2]);
        });
        rows.reject();
        assert_eq!(rows.shown(0), ["a\u{fffd}b", "{\"k\":1}"]);
        assert_eq!(rows.shown(1), ["7", "NULL"]);
        assert_eq!(rows.shown(2), ["-1", "NULL"]);
        assert_eq!(rows.shown(5), ["NULL", "[1, 2]"]);
        assert_eq!((rows.len(), rows.invalid), (2, 1));
        assert_eq!(rows.parameters().len(), 2 + 3 + 3 + SIGNAL.columns.len());
    }

    #[test]
    fn rows_of_several_requests_keep_their_origins() {
        let mut all = Rows::new(&SIGNAL);
        all.append(0, &rows("red", &["a"]));
        all.append(1, &rows("blue", &["b", "c"]));
        all.append(2, &rows("red", &["d"]));
        assert_eq!(all.shown(0), ["a", "b", "c", "d"]);
        assert_eq!(all.parcel, [0, 1, 1, 2]);
        assert_eq!(all.resource, [1, 2, 2, 1]);
        assert_eq!(all.scope, [1, 1, 1, 1]);
        assert_eq!(all.resources.columns[0], ["red", "blue"]);
        let digest = |tenant| Rows::new(&SIGNAL).origin(tenant, None, None).digest;
        assert_ne!(digest("red"), digest("blue"));
    }
}
