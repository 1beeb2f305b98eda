//! What is asked of the server, as its description (`/openapi.json`) has it.

use serde::Serialize;
use serde_json::Value;

/// A call that makes or changes something.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "call", rename_all = "camelCase")]
pub enum Call {
    /// Makes a schema.
    CreateSchema {
        /// Its name.
        schema: String,
    },
    /// Makes a table of typed columns, whose changes are logged.
    CreateTable {
        /// Where.
        schema: String,
        /// Its name.
        table: String,
        /// In order; without a primary key it gets a column `id`.
        columns: Vec<Column>,
    },
    /// Makes a procedure, or a new version of it.
    CreateStoredProcedure(Procedure),
    /// Has a procedure called when rows of a table change.
    CreateTrigger(Trigger),
    /// Removes a trigger.
    DropTrigger {
        /// Of its table.
        schema: String,
        /// Its table.
        table: String,
        /// Its name.
        name: String,
    },
    /// Has a boolean procedure checked before transactions with commands to devices commit.
    CreateAssertion {
        /// Of the procedure.
        schema: String,
        /// Its name.
        name: String,
    },
    /// Calls a procedure.
    CallProcedure {
        /// As `schema.name`.
        procedure: String,
        /// By name: an object.
        args: Value,
    },
}

/// A column of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as Postgres calls it.
    #[serde(rename = "type")]
    pub ty: String,
    /// Part of the primary key.
    pub primary_key: bool,
    /// Never NULL.
    pub not_null: bool,
    /// No value twice.
    pub unique: bool,
    /// Text, number or truth value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What holds of it; [`Condition::column`] is not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<Condition>,
}

impl Column {
    /// A column that is NULL where nothing is said.
    pub fn new(name: &str, ty: &str) -> Self {
        Self { name: name.to_owned(), ty: ty.to_owned(), ..Self::default() }
    }
}

/// A comparison with a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Condition {
    /// What is compared; nothing in a check, which is of its column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// One of = <> < <= > >=, and <<= >>= for addresses within blocks.
    pub op: String,
    /// Text, number or truth value.
    pub value: Value,
}

/// A parameter of a procedure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, as Postgres calls it.
    #[serde(rename = "type")]
    pub ty: String,
}

/// A procedure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Procedure {
    /// Where.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// In order.
    pub params: Vec<Parameter>,
    /// PL/pgSQL, `BEGIN … END`.
    pub body: String,
    /// What it returns; `void` for nothing.
    pub returns: String,
}

/// A trigger: a procedure called once per statement, with the rows that meet the condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trigger {
    /// Of the table.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// After what.
    pub events: Vec<Event>,
    /// As `schema.name`; it takes `new_rows`, or `new_rows` and `old_rows`, both jsonb.
    pub procedure: String,
    /// All of them hold of a row; none: every row.
    pub condition: Vec<Condition>,
}

/// A change of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// They are new.
    Insert,
    /// They are others now.
    Update,
    /// They are gone.
    Delete,
}

/// What is read of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Where.
    pub schema: String,
    /// Which.
    pub table: String,
    /// All of them hold of a row.
    #[serde(rename = "where", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Columns; one that begins with `-` is from the greatest down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// At most so many rows; nothing: as many as the server gives unasked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl Table {
    /// All of a table, in no order.
    pub fn new(schema: &str, table: &str) -> Self {
        Self { schema: schema.to_owned(), table: table.to_owned(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_are_written_as_the_server_reads_them() {
        let column = Column { primary_key: true, ..Column::new("site", "text") };
        let call = Call::CreateTable {
            schema: "lab".into(),
            table: "rates".into(),
            columns: vec![column],
        };
        assert_eq!(
            json!(call),
            json!({ "call": "createTable", "schema": "lab", "table": "rates", "columns": [
                { "name": "site", "type": "text", "primaryKey": true, "notNull": false, "unique": false }] })
        );
        let trigger = Trigger {
            schema: "lab".into(),
            table: "rates".into(),
            name: "hot".into(),
            events: vec![Event::Insert, Event::Update],
            procedure: "lab.cool".into(),
            condition: vec![Condition {
                column: Some("rate".into()),
                op: ">=".into(),
                value: json!(9),
            }],
        };
        let written = json!(Call::CreateTrigger(trigger));
        assert_eq!(written["call"], "createTrigger");
        assert_eq!(written["events"], json!(["insert", "update"]));
        assert_eq!(written["condition"], json!([{ "column": "rate", "op": ">=", "value": 9 }]));
        let read = json!(Table { limit: Some(3), ..Table::new("lab", "rates") });
        assert_eq!(read, json!({ "schema": "lab", "table": "rates", "limit": 3 }));
    }
}
