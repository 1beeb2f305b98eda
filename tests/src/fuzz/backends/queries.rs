//! Random queries over the built-in protocols. Types are met more often than not; what the planner refuses is left out.

use std::sync::OnceLock;

use wt_catalog::function::{FunctionKind, Param, ParamType, PassBy, ResultType};
use wt_catalog::{Catalog, Function, Type, builtin};

use crate::rng::Rng;

/// Words in names of functions that open files.
const OPEN_FILES: [&str; 4] = ["file", "lpm", "strtoi_c", "int_to_string"];

const FILTERS: [&str; 14] = [
    "tcp",
    "udp port 53",
    "ip6 and not tcp",
    "vlan and ip",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[2:2] > 100",
    "net 10.0.0.0/8",
    "src host 192.0.2.80 or dst port 443",
    "icmp or icmp6",
    "ether broadcast or multicast",
    "less 100",
    "ip proto 47 or ip[6:2] & 0x1fff != 0",
    "mpls or pppoes",
    "tcp[12:1] >> 4 > 5 and tcp[(tcp[12:1] & 0xf0) >> 2] = 22",
];

/// A field that can be named in a query over a protocol.
struct Field {
    text: String,
    ty: Type,
}

/// Writes expressions over one protocol.
struct Writer<'a> {
    rng: &'a mut Rng,
    fields: Vec<Field>,
    protocols: Vec<&'static str>,
}

fn catalog() -> &'static Catalog {
    super::super::catalog()
}

/// Protocols that stand in packets.
fn protocols() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let of_packets = catalog().protocols.iter().filter(|p| p.record.is_none());
        of_packets.map(|p| p.name.as_str()).collect()
    })
}

/// A query with its name.
pub fn query(rng: &mut Rng, name: &str) -> String {
    let names = protocols();
    let common = ["packet", "eth", "ip", "ipv4", "ipv6", "tcp", "udp", "vlan", "icmp"];
    let from = if rng.one_in(2) { *rng.pick(&common) } else { *rng.pick(names) };
    let above = *rng.pick(&["vxlan", "gre", "vlan", "ip", "geneve", "mpls"]);
    let source = if rng.one_in(10) { format!("{above}.{from}") } else { from.to_owned() };
    let mut writer = Writer { fields: fields(rng, from), rng, protocols: names.to_vec() };
    let condition = match writer.rng.below(4) {
        0 => String::new(),
        _ => format!(" WHERE {}", writer.truth(2)),
    };
    let body = if writer.rng.one_in(2) {
        let count = 1 + writer.rng.below(4);
        let items: Vec<String> = (0..count).map(|i| format!("{} AS c{i}", writer.any(2))).collect();
        format!("SELECT {} FROM {source}{condition}", items.join(", "))
    } else {
        writer.grouping(&source, &condition)
    };
    let options = match rng.below(5) {
        0 => format!("max_lfta_disorder {};", 1 + rng.below(3)),
        1 => format!("aggregate_slots {};", 1 << rng.below(4)),
        2 if rng.one_in(2) => "real_time 1;".to_owned(),
        _ => String::new(),
    };
    format!("DEFINE {{ query_name '{name}'; {options} }} {body}")
}

/// A query with its name that counts, and perhaps sums, what passes a filter of short fields: many of them are asked together.
pub fn filter(rng: &mut Rng, name: &str) -> String {
    let common = ["packet", "eth", "ip", "ipv4", "ipv6", "tcp", "udp", "icmp"];
    let from = *rng.pick(&common);
    let mut writer = Writer { fields: fields(rng, from), rng, protocols: protocols().to_vec() };
    let conditions: Vec<String> = (0..writer.rng.below(3)).map(|_| writer.comparison(2)).collect();
    let condition = match &conditions[..] {
        [] => String::new(),
        conditions => format!(" WHERE {}", conditions.join(" AND ")),
    };
    let sum = match writer.rng.below(4) {
        0 => String::new(),
        1 => {
            writer.field(Type::is_integer).map_or_else(String::new, |f| format!(", sum({f}) AS s"))
        }
        _ => ", sum(len) AS s".to_owned(),
    };
    format!("DEFINE {{ query_name '{name}'; }} SELECT count(*) AS n{sum} FROM {from}{condition}")
}

/// Fields in the scope of a protocol, and some occurrences of headers by number.
fn fields(rng: &mut Rng, from: &str) -> Vec<Field> {
    let catalog = catalog();
    let Some(protocol) = catalog.protocol(from) else { return Vec::new() };
    let mut fields: Vec<Field> = catalog
        .fields_of(protocol.id)
        .map(|(_, _, field)| Field { text: field.name.clone(), ty: field.ty })
        .collect();
    let mut headers = vec![protocol.id];
    headers.extend(&protocol.ancestors);
    for id in headers {
        let Some(header) = catalog.protocol_by_id(id).filter(|p| p.name != "packet") else {
            continue;
        };
        for field in &header.fields {
            let place = match rng.below(4) {
                0 => "[last]",
                1 => "[1]",
                2 => "[0]",
                _ => "",
            };
            let text = format!("{}{place}.{}", header.name, field.name);
            fields.push(Field { text, ty: field.ty });
        }
    }
    fields
}

impl Writer<'_> {
    fn field(&mut self, wanted: impl Fn(Type) -> bool) -> Option<String> {
        let fits: Vec<&Field> = self.fields.iter().filter(|f| wanted(f.ty)).collect();
        (!fits.is_empty()).then(|| self.rng.pick(&fits).text.clone())
    }

    fn any(&mut self, depth: usize) -> String {
        match self.rng.below(10) {
            0..=3 => self.integer(depth),
            4 => self.truth(depth),
            5 => self.text(depth),
            6 => self.address(depth),
            7 => self.time(depth),
            8 => self.field(|_| true).unwrap_or_else(|| "len".to_owned()),
            _ => self.float(depth),
        }
    }

    /// A field compared with constants, or two such joined.
    fn comparison(&mut self, depth: usize) -> String {
        if depth > 0 && self.rng.one_in(3) {
            let (a, b) = (self.comparison(depth - 1), self.comparison(depth - 1));
            return match self.rng.below(5) {
                0 | 1 => format!("({a} AND {b})"),
                2 | 3 => format!("({a} OR {b})"),
                _ => format!("(NOT {a})"),
            };
        }
        let field = self.field(Type::is_integer).unwrap_or_else(|| "len".to_owned());
        // Of what packets of the traffic have, and of what arrays hold.
        let numbers =
            [0, 1, 4, 6, 17, 53, 64, 80, 443, 1000, 0x7fff, 0x8000, 0xfffe, 0xffff, 70_000];
        let mut number = || *self.rng.pick(&numbers);
        let (a, b) = (number(), number());
        match self.rng.below(8) {
            0 => format!("({field} IN [{a}, {b}])"),
            1 => format!("({field} BETWEEN {} AND {})", a.min(b), a.max(b)),
            2 => {
                let list = *self.rng.pick(&["'10.0.0.0/8'", "'10.0.1.0/24', '192.0.2.80'"]);
                let address =
                    self.field(Type::is_address).unwrap_or_else(|| "ipv4.srcIP".to_owned());
                format!("({address} IN [{list}])")
            }
            3 | 4 => self.field(|ty| ty == Type::Bool).unwrap_or_else(|| "tcp.syn".to_owned()),
            _ => {
                let op = *self.rng.pick(&["=", "<>", "<", "<=", ">", ">="]);
                format!("({field} {op} {a})")
            }
        }
    }

    fn literal(&mut self) -> String {
        let n = super::nodes::number(self.rng);
        match self.rng.below(4) {
            0 => format!("{n}ULL"),
            1 => format!("{}", n & 0xffff_ffff),
            _ => format!("{}", n & 0xff),
        }
    }

    fn integer(&mut self, depth: usize) -> String {
        if depth == 0 || self.rng.one_in(4) {
            return match self.rng.below(6) {
                0 => self.literal(),
                1 => format!("depth({})", self.protocol()),
                _ => self.field(Type::is_integer).unwrap_or_else(|| "len".to_owned()),
            };
        }
        let depth = depth - 1;
        match self.rng.below(12) {
            0..=3 => {
                let op = *self.rng.pick(&["+", "-", "*", "/", "%", "&", "|"]);
                let (a, b) = (self.integer(depth), self.integer(depth));
                format!("({a} {op} {b})")
            }
            4 => {
                let op = *self.rng.pick(&["<<", ">>"]);
                let (a, count) = (self.integer(depth), self.rng.below(70));
                if self.rng.one_in(3) {
                    let count = self.integer(0);
                    return format!("({a} {op} UINT({count}))");
                }
                format!("({a} {op} {count})")
            }
            5 => {
                let op = *self.rng.pick(&["-", "~", "!", "+"]);
                format!("({op} {})", self.integer(depth))
            }
            6 | 7 => {
                let to = *self.rng.pick(&["INT", "UINT", "LLONG", "ULLONG"]);
                let of = if self.rng.one_in(6) { self.float(depth) } else { self.integer(depth) };
                format!("{to}({of})")
            }
            8 | 9 => {
                let (cond, a, b) = (self.truth(depth), self.integer(depth), self.integer(depth));
                format!("CASE WHEN {cond} THEN {a} ELSE {b} END")
            }
            10 => {
                let span = *self.rng.pick(&["1s", "1m", "250ms", "3ns"]);
                format!("({} / {span})", self.time(depth))
            }
            _ => self.call(depth, Type::is_integer).unwrap_or_else(|| "len".to_owned()),
        }
    }

    fn float(&mut self, depth: usize) -> String {
        if depth == 0 {
            return "1.5".to_owned();
        }
        match self.rng.below(3) {
            0 => format!("FLOAT({})", self.integer(depth - 1)),
            1 => format!("({} / 3.0)", self.integer(depth - 1)),
            _ => self.call(depth - 1, |ty| ty == Type::Float).unwrap_or_else(|| "0.5".to_owned()),
        }
    }

    fn time(&mut self, depth: usize) -> String {
        match self.rng.below(4) {
            0 if depth > 0 => format!("({} + 90s)", self.time(depth - 1)),
            1 if depth > 0 => format!("({} - 1500ms)", self.time(depth - 1)),
            _ => "timestamp".to_owned(),
        }
    }

    fn text(&mut self, depth: usize) -> String {
        if depth > 0 && self.rng.one_in(3) {
            let found = self.call(depth - 1, Type::is_bytes);
            return found.unwrap_or_else(|| "'x'".to_owned());
        }
        self.field(Type::is_bytes).unwrap_or_else(|| "interface".to_owned())
    }

    fn address(&mut self, depth: usize) -> String {
        let Some(field) = self.field(Type::is_address) else {
            return "IP_VAL'10.0.0.1'".to_owned();
        };
        match self.rng.below(5) {
            0 => format!("({field} & IP_VAL'255.255.240.0')"),
            1 => format!("({field} | IP_VAL'0.0.0.255')"),
            2 if depth > 0 => self.call(depth - 1, Type::is_address).unwrap_or(field),
            _ => field,
        }
    }

    fn protocol(&mut self) -> &'static str {
        let common = ["ip", "vlan", "tcp", "udp", "ipv4", "ipv6", "eth", "gre"];
        let from = if self.rng.one_in(2) { &common[..] } else { &self.protocols[..] };
        from[self.rng.below(from.len())]
    }

    fn truth(&mut self, depth: usize) -> String {
        if depth > 0 && self.rng.one_in(2) {
            let depth = depth - 1;
            let (a, b) = (self.truth(depth), self.truth(depth));
            return match self.rng.below(5) {
                0 | 1 => format!("({a} AND {b})"),
                2 | 3 => format!("({a} OR {b})"),
                _ => format!("(NOT {a})"),
            };
        }
        let depth = depth.saturating_sub(1);
        let op = *self.rng.pick(&["=", "<>", "<", "<=", ">", ">="]);
        match self.rng.below(14) {
            0..=3 => {
                let a = self.integer(depth);
                let b = if self.rng.one_in(2) { self.literal() } else { self.integer(depth) };
                format!("({a} {op} {b})")
            }
            4 => {
                let (a, b) = (self.address(depth), self.address(depth));
                format!("({a} {op} {b})")
            }
            5 => {
                let list = *self.rng.pick(&[
                    "'10.0.0.0/8', '2001:db8::/32'",
                    "'0.0.0.0/0'",
                    "'::/0'",
                    "'10.0.1.2', '192.0.2.0/25', '::1'",
                ]);
                format!("({} IN [{list}])", self.address(depth))
            }
            6 => {
                let list: Vec<String> =
                    (0..1 + self.rng.below(5)).map(|_| self.literal()).collect();
                format!("({} IN [{}])", self.integer(depth), list.join(", "))
            }
            7 => {
                let (a, b) = (self.literal(), self.literal());
                format!("({} BETWEEN {a} AND {b})", self.integer(depth))
            }
            8 => format!("present({})", self.protocol()),
            9 => format!("pcap_filter('{}')", self.rng.pick(&FILTERS)),
            10 => self.field(|ty| ty == Type::Bool).unwrap_or_else(|| "(len > 100)".to_owned()),
            11 => {
                let text = self.text(depth);
                if self.rng.one_in(2) {
                    return format!("({text} LIKE '%a_%')");
                }
                format!("str_regex_match[{text}, '^(GET|[0-9a-f]+|SSH)']")
            }
            12 => {
                let (a, b) = (self.time(depth), self.time(depth));
                format!("({a} {op} {b})")
            }
            _ => self.call(depth, |ty| ty == Type::Bool).unwrap_or_else(|| "(len < 9)".to_owned()),
        }
    }

    /// A call of some function whose result is wanted.
    fn call(&mut self, depth: usize, wanted: impl Fn(Type) -> bool) -> Option<String> {
        let fits: Vec<&'static Function> =
            functions().iter().filter(|f| result(f).is_some_and(&wanted)).collect();
        if fits.is_empty() {
            return None;
        }
        let function = *self.rng.pick(&fits);
        let mut args: Vec<String> = Vec::new();
        for param in &function.params {
            if param.optional && self.rng.one_in(2) {
                break;
            }
            let arg = self.argument(param, &args, depth);
            args.push(arg);
        }
        let brackets =
            if function.kind == FunctionKind::Predicate { ('[', ']') } else { ('(', ')') };
        Some(format!("{}{}{}{}", function.name, brackets.0, args.join(", "), brackets.1))
    }

    fn argument(&mut self, param: &Param, before: &[String], depth: usize) -> String {
        if param.pass != PassBy::Value {
            let n = param.range.map_or(2, |(least, _)| least.max(1.0) as u64);
            return match param.ty {
                ParamType::Exact(Type::Prefix) => "'10.0.0.0/8'".to_owned(),
                ParamType::Exact(Type::String) | ParamType::AnyBytes => "'[a-z]+'".to_owned(),
                ParamType::Exact(Type::Float) => "1.0".to_owned(),
                _ => n.to_string(),
            };
        }
        match param.ty {
            ParamType::SameAs(i) => before.get(i).cloned().unwrap_or_else(|| "len".to_owned()),
            ParamType::AnyInteger | ParamType::AnyNumeric => self.integer(depth),
            ParamType::AnyBytes => self.text(depth),
            ParamType::AnyAddress => self.address(depth),
            ParamType::Any => self.integer(depth),
            ParamType::Exact(ty) => match ty {
                Type::Bool => self.truth(depth),
                Type::Uint => format!("UINT({})", self.integer(depth)),
                Type::Int => format!("INT({})", self.integer(depth)),
                Type::Ullong => format!("ULLONG({})", self.integer(depth)),
                Type::Llong => format!("LLONG({})", self.integer(depth)),
                Type::Float => self.float(depth.max(1)),
                Type::Prefix => "'192.0.2.0/24'".to_owned(),
                Type::Time => self.time(depth),
                ty if ty.is_address() => self.address(depth),
                _ => self.text(depth),
            },
        }
    }

    fn grouping(&mut self, source: &str, condition: &str) -> String {
        let windows = [
            "time/1",
            "time/60",
            "timestamp/1s",
            "timestamp/500ms",
            "time",
            "timestamp + 3s",
            "INT(time/2)",
        ];
        let mut keys: Vec<String> = Vec::new();
        if self.rng.below(3) > 0 {
            keys.push((*self.rng.pick(&windows)).to_owned());
        }
        for _ in 0..self.rng.below(4) {
            keys.push(self.any(1));
        }
        let mut aggs = Vec::new();
        for _ in 0..1 + self.rng.below(4) {
            let of = self.integer(1);
            aggs.push(match self.rng.below(10) {
                0 => "count(*)".to_owned(),
                1 | 2 => format!("sum({of})"),
                3 => format!("min({of})"),
                4 => format!("max({of})"),
                5 => format!("avg({of})"),
                6 => {
                    let name = *self.rng.pick(&["or_aggr", "and_aggr", "xor_aggr"]);
                    format!("{name}({of})")
                }
                7 => format!("count(DISTINCT {of})"),
                8 => {
                    let name = *self.rng.pick(&["min", "max"]);
                    format!("{name}({})", self.any(1))
                }
                _ => format!("sum({})", self.truth(1)),
            });
        }
        let names: Vec<String> = (0..keys.len()).map(|i| format!("k{i}")).collect();
        let aggs = aggs.into_iter().enumerate().map(|(i, agg)| format!("{agg} AS a{i}"));
        let items: Vec<String> = names.iter().cloned().chain(aggs).collect();
        let group: Vec<String> =
            keys.iter().zip(&names).map(|(key, name)| format!("{key} AS {name}")).collect();
        let group = if group.is_empty() {
            String::new()
        } else {
            format!(" GROUP BY {}", group.join(", "))
        };
        format!("SELECT {} FROM {source}{condition}{group}", items.join(", "))
    }
}

fn result(function: &Function) -> Option<Type> {
    match function.result {
        ResultType::Exact(ty) => Some(ty),
        ResultType::SameAs(_) | ResultType::Promoted | ResultType::WideSum(_) => Some(Type::Uint),
    }
}

/// Functions that may be called in an LFTA and open no file.
fn functions() -> &'static [Function] {
    static FUNCTIONS: OnceLock<Vec<Function>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let mut all = builtin::functions::all();
        all.retain(|f| {
            f.available
                && matches!(f.kind, FunctionKind::Scalar | FunctionKind::Predicate)
                && !OPEN_FILES.iter().any(|word| f.name.contains(word))
                && f.symbol != "pcap_filter"
        });
        all
    })
}
