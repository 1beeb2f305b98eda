//! What one piece of each kind of work costs: fitted from measurements (`wt-bench calibrate`), read from TOML.

use std::fmt::Write as _;

/// Declares the kinds of work: the name in tables, what one unit costs by rule of thumb, and what it is.
macro_rules! kinds {
    ($($kind:ident $name:literal $guess:literal $doc:literal,)*) => {
        /// A kind of work. Costs are per unit of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $doc] $kind,)*
        }

        impl Kind {
            /// All kinds, in the order of tables.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// Its name in tables.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// What one unit costs by rule of thumb, ns: a fit stays near it where measurements cannot tell kinds apart.
            pub fn guess_ns(self) -> f64 {
                match self { $(Kind::$kind => $guess,)* }
            }

            /// What one unit is.
            pub fn unit(self) -> &'static str {
                match self { $(Kind::$kind => $doc,)* }
            }
        }
    };
}

kinds! {
    Record "record" 12.0 "a record read and handed to the code",
    RecordByte "record_byte" 0.15 "a captured byte of a record",
    Header "header" 2.0 "a header walked",
    Op "op" 0.8 "a node of the program evaluated in compiled code",
    CheckedLoad "checked_load" 8.0 "a load at a computed place, or a comparison with what is captured",
    Totals "totals" 0.5 "a tuple added to totals without a group key",
    Call "call" 90.0 "a host function called from compiled code",
    Find "find" 70.0 "a search for a substring begun",
    FindByte "find_byte" 0.12 "a byte searched for a substring",
    Regex "regex" 20.0 "a regular expression begun",
    RegexByte "regex_byte" 0.1 "a byte given to a regular expression",
    Row "row" 2.0 "a row written for a qualified tuple",
    RowWord "row_word" 1.5 "a word of such a row, hashed and compared where it belongs to a key",
    Probe "probe" 12.0 "a row taken into a group of a table of words",
    CacheMiss "cache_miss" 12.0 "a group whose memory is not in the second-level cache",
    MemoryMiss "memory_miss" 60.0 "a group whose memory is in no cache",
    Group "group" 30.0 "a group of a table of words made and sent when its window closes",
    SlotRow "slot_row" 60.0 "a row taken into the direct-mapped table",
    SlotValue "slot_value" 20.0 "a key or operand of such a row",
    Tuple "tuple" 40.0 "a tuple made and sent to an operator",
    TupleValue "tuple_value" 40.0 "a column of such a tuple",
    BlockValue "block_value" 5.0 "a column of a tuple that came together with others, read by an operator or a result",
    Operator "operator" 15.0 "a tuple taken by an operator",
    Eval "eval" 8.0 "a node evaluated by an operator",
    EvalCall "eval_call" 110.0 "a function called by an operator",
    GroupRow "group_row" 60.0 "a tuple taken into a group of an operator",
    GroupMade "group_made" 600.0 "a group of an operator made and finished",
    State "state" 15.0 "an aggregate of a group updated by an operator",
    SortCompare "sort_compare" 15.0 "a comparison of rows while they are sorted",
    SortRow "sort_row" 700.0 "a row kept until it is sorted",
    OutputRow "output_row" 40.0 "a row of the result written as CSV",
    OutputValue "output_value" 35.0 "a number of such a row",
    OutputText "output_text" 170.0 "an address or text of such a row",
    OutputTime "output_time" 600.0 "a time of such a row that is written as a date",
}

/// How many kinds there are.
pub const KINDS: usize = Kind::ALL.len();

/// Amounts of work of each kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work([f64; KINDS]);

impl Default for Work {
    fn default() -> Self {
        Self([0.0; KINDS])
    }
}

impl Work {
    /// Adds work of one kind.
    pub fn add(&mut self, kind: Kind, amount: f64) {
        self.0[kind as usize] += amount;
    }

    /// Adds other work.
    pub fn add_all(&mut self, other: &Work) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// How much there is of a kind.
    pub fn of(&self, kind: Kind) -> f64 {
        self.0[kind as usize]
    }
}

/// What work costs on a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct CostTable {
    /// The machine, for messages.
    pub machine: String,
    /// What the fixed run of self-calibration takes there, ns per packet: it relates other machines to this one.
    pub yardstick_ns: f64,
    /// By kind, ns.
    ns: [f64; KINDS],
}

/// The table of the reference machine.
const REFERENCE: &str = include_str!("reference.toml");

/// No unit of work takes a millisecond: what is beyond is a mistake of units.
const NS_MAX: f64 = 1e6;

/// Why a text is no table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    /// Not TOML.
    #[error("it is not TOML: {0}")]
    Syntax(String),
    /// A name that must be there is not.
    #[error("`{0}` is missing; `wt-bench calibrate` writes whole tables")]
    Missing(&'static str),
    /// A name that has no meaning.
    #[error("`{0}` is no kind of work; known: {known}", known = names())]
    Unknown(String),
    /// A cost that cannot be.
    #[error("`{name}` is {given}; a cost is a number of nanoseconds from 0 to {NS_MAX}")]
    Cost {
        /// Its name.
        name: String,
        /// What is given.
        given: String,
    },
    /// A yardstick that cannot be.
    #[error("`yardstick_ns` is {0}; it is a number of nanoseconds above 0 and up to {NS_MAX}")]
    Yardstick(String),
    /// Nothing costs anything.
    #[error("a packet costs nothing in it: `record` and `record_byte` are 0")]
    Free,
}

fn names() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

impl CostTable {
    /// The table that is shipped.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn reference() -> Self {
        Self::parse(REFERENCE).expect("a test reads the shipped table")
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`TableError`]: not a table, a cost that is missing, unknown, negative, not finite, or absurd.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let top: toml::Table =
            toml::from_str(text).map_err(|error| TableError::Syntax(error.message().to_owned()))?;
        let costs = match top.get("ns") {
            Some(toml::Value::Table(costs)) => costs,
            _ => return Err(TableError::Missing("[ns]")),
        };
        if let Some(name) = top.keys().find(|k| !["machine", "yardstick_ns", "ns"].contains(&&***k))
        {
            return Err(TableError::Unknown(name.clone()));
        }
        if let Some(name) = costs.keys().find(|k| Kind::ALL.iter().all(|kind| kind.name() != **k)) {
            return Err(TableError::Unknown(name.clone()));
        }
        let mut ns = [0.0; KINDS];
        for kind in Kind::ALL {
            let value = costs.get(kind.name()).ok_or(TableError::Missing(kind.name()))?;
            let cost = number(value).filter(|ns| (0.0..=NS_MAX).contains(ns));
            ns[*kind as usize] = cost.ok_or_else(|| TableError::Cost {
                name: kind.name().to_owned(),
                given: value.to_string(),
            })?;
        }
        if ns[Kind::Record as usize] == 0.0 && ns[Kind::RecordByte as usize] == 0.0 {
            return Err(TableError::Free);
        }
        let yardstick = top.get("yardstick_ns").ok_or(TableError::Missing("yardstick_ns"))?;
        let yardstick_ns = number(yardstick)
            .filter(|ns| *ns > 0.0 && *ns <= NS_MAX)
            .ok_or_else(|| TableError::Yardstick(yardstick.to_string()))?;
        let machine = match top.get("machine") {
            Some(toml::Value::String(machine)) => machine.clone(),
            _ => return Err(TableError::Missing("machine")),
        };
        Ok(Self { machine, yardstick_ns, ns })
    }

    /// What one unit of a kind costs, ns.
    pub fn ns(&self, kind: Kind) -> f64 {
        self.ns[kind as usize]
    }

    /// The same table with every cost multiplied: for a machine that takes so many times as long.
    pub fn scaled(&self, factor: f64) -> Self {
        let ns = self.ns.map(|ns| ns * factor);
        Self { ns, yardstick_ns: self.yardstick_ns * factor, machine: self.machine.clone() }
    }

    /// What work costs, ns.
    pub fn cost_ns(&self, work: &Work) -> f64 {
        self.ns.iter().zip(work.0).map(|(ns, amount)| ns * amount).sum()
    }

    /// The kinds with their names, costs and units, for listings.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for kind in Kind::ALL {
            let _ = writeln!(text, "{:<20} {:>9.3}  {}", kind.name(), self.ns(*kind), kind.unit());
        }
        text
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    match value {
        toml::Value::Float(float) => Some(*float),
        toml::Value::Integer(integer) => Some(*integer as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl Fn(&str) -> String) -> Result<CostTable, TableError> {
        CostTable::parse(&change(REFERENCE))
    }

    #[test]
    fn the_shipped_table_is_one() {
        let table = CostTable::reference();
        assert!(table.ns(Kind::Record) > 0.0 && !table.machine.is_empty());
        assert_eq!(table.listing().lines().count(), KINDS);
    }

    #[test]
    fn what_cannot_be_a_cost_is_refused_by_name() {
        let set_in = |text: &str, name: &str, value: &str| -> String {
            let line = |line: &str| match line.split_once(" = ") {
                Some((n, _)) if n == name => format!("{name} = {value}\n"),
                _ => format!("{line}\n"),
            };
            text.lines().map(line).collect()
        };
        let set = |name: &str, value: &str| with(|text| set_in(text, name, value));
        for bad in ["-1", "nan", "inf", "1e9", "'much'", "true"] {
            let error = set("header", bad).unwrap_err();
            assert!(matches!(&error, TableError::Cost { name, .. } if name == "header"), "{error}");
            assert!(matches!(set("yardstick_ns", bad), Err(TableError::Yardstick(_))), "{bad}");
        }
        assert!(set("record", "0").is_ok() && set("record_byte", "0").is_ok());
        let free = with(|text| set_in(&set_in(text, "record", "0"), "record_byte", "0"));
        assert_eq!(free, Err(TableError::Free));
        assert!(matches!(set("yardstick_ns", "0"), Err(TableError::Yardstick(_))));
        assert!(set("header", "7").is_ok());
    }

    #[test]
    fn a_table_is_whole_and_has_nothing_else() {
        assert_eq!(
            with(|text| text.replace("\nheader =", "\nheaders =")),
            Err(TableError::Unknown("headers".into()))
        );
        let without = |text: &str| {
            text.lines().filter(|l| !l.starts_with("header =")).map(|l| format!("{l}\n")).collect()
        };
        assert_eq!(with(without), Err(TableError::Missing("header")));
        assert_eq!(CostTable::parse(""), Err(TableError::Missing("[ns]")));
        assert!(matches!(CostTable::parse("record = = 1"), Err(TableError::Syntax(_))));
        assert_eq!(with(|t| format!("x = 1\n{t}")), Err(TableError::Unknown("x".into())));
    }

    #[test]
    fn costs_add_up() {
        let table = CostTable::reference();
        let mut work = Work::default();
        work.add(Kind::Header, 3.0);
        let mut more = Work::default();
        more.add(Kind::Record, 1.0);
        more.add(Kind::Header, 1.0);
        work.add_all(&more);
        let expected = 4.0 * table.ns(Kind::Header) + table.ns(Kind::Record);
        assert!((table.cost_ns(&work) - expected).abs() < 1e-9);
        assert!((table.scaled(2.0).cost_ns(&work) - 2.0 * expected).abs() < 1e-9);
    }
}
