//! Which packets a plan can need: what an index of a recorded capture may leave out without changing a row.
//!
//! A packet that every query of an interface filters, and that moves no window, changes nothing above the LFTAs. So each query needs
//! only packets for which its quals can hold, a batch those that one of its queries needs. Of that this module keeps what an
//! index can answer for many packets at once: time stamps, addresses, ports, IP protocols, VLANs. The rest is [`Condition::Any`], and a
//! condition is always true of at least the packets that are needed.

mod expression;
mod facts;
mod time;

use std::fmt;
use std::net::IpAddr;

use wt_catalog::Value;
use wt_catalog::protocol::Meta;
use wt_lang::ast::CmpOp;

use crate::ir::{Exprs, LftaAction, LftaProgram, LftaQuery, NodeId, Op};
use crate::physical::{HftaOp, InterfacePlan, ParamSpec, PhysicalPlan};

pub use expression::of_expression;
pub use facts::KNOWN_PROTOCOLS;

/// Nodes that are looked at for one qual.
const NODES_MAX: u32 = 2048;
/// Operators that may stand on each other in what is looked at.
const DEPTH_MAX: u32 = 64;

/// Something that a packet has in one of its headers, whichever it is: an outer or an inner one, source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// An address.
    Address(IpAddr),
    /// An address of a network: its first address and the length of its prefix.
    Network(IpAddr, u8),
    /// A port of TCP, UDP or SCTP.
    Port(u16),
    /// A protocol number of IP.
    Protocol(u8),
    /// A VLAN.
    Vlan(u16),
}

/// What must be true of a packet that is needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Nothing.
    Any,
    /// No packet is needed.
    Never,
    /// Its stamp lies between these, both included, ns since the epoch.
    Between(u64, u64),
    /// It has this.
    Has(Fact),
    /// All of these hold.
    All(Vec<Condition>),
    /// One of these holds.
    OneOf(Vec<Condition>),
}

/// What an interface's queries need of its packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Name of the interface.
    pub interface: String,
    /// What must be true of a packet that one of them needs.
    pub condition: Condition,
    /// The predicates that it follows from, in the order of the queries, each once.
    pub predicates: Vec<String>,
    /// Why all packets are needed, when they are.
    pub why_all: Option<String>,
}

impl Wanted {
    fn all(interface: &InterfacePlan, why: String) -> Self {
        Self {
            interface: interface.name.clone(),
            condition: Condition::Any,
            predicates: Vec::new(),
            why_all: Some(why),
        }
    }
}

impl Condition {
    /// The conjunction: what is implied goes, times that do not meet leave no packet.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let (mut from, mut to) = (0, u64::MAX);
        let mut rest: Vec<Self> = Vec::new();
        let mut pending: Vec<Self> = parts.into_iter().collect();
        pending.reverse();
        while let Some(part) = pending.pop() {
            match part {
                Self::Any => {}
                Self::Never => return Self::Never,
                Self::Between(a, b) => (from, to) = (from.max(a), to.min(b)),
                Self::All(parts) => pending.extend(parts.into_iter().rev()),
                part if rest.contains(&part) => {}
                part => rest.push(part),
            }
        }
        if from > to {
            return Self::Never;
        }
        if (from, to) != (0, u64::MAX) {
            rest.insert(0, Self::Between(from, to));
        }
        match rest.len() {
            0 => Self::Any,
            1 => rest.swap_remove(0),
            _ => Self::All(rest),
        }
    }

    /// The disjunction.
    #[must_use]
    pub fn one_of(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut rest: Vec<Self> = Vec::new();
        for part in parts {
            match part {
                Self::Any => return Self::Any,
                Self::Never => {}
                Self::OneOf(parts) => {
                    rest.extend(parts);
                }
                part => rest.push(part),
            }
        }
        let mut once: Vec<Self> = Vec::with_capacity(rest.len());
        for part in rest {
            if !once.contains(&part) {
                once.push(part);
            }
        }
        match once.len() {
            0 => Self::Never,
            1 => once.swap_remove(0),
            _ => Self::OneOf(once),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "host {address}"),
            Self::Network(address, len) => write!(f, "net {address}/{len}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Protocol(protocol) => write!(f, "proto {protocol}"),
            Self::Vlan(vlan) => write!(f, "vlan {vlan}"),
        }
    }
}

/// What each interface of a plan needs of its packets, in the plan's order. `params_stay` tells that no parameter changes while the plan runs: then
/// their values count as literals do.
pub fn wanted(plan: &PhysicalPlan, params_stay: bool) -> Vec<Wanted> {
    // Interfaces are numbered in the order in which their packets appear, over all captures.
    let numbers = |interface: &InterfacePlan| {
        let nodes = &interface.program.exprs.nodes;
        nodes.iter().any(|node| node.op == Op::Meta(Meta::IfIndex))
    };
    if plan.interfaces.iter().any(numbers) {
        let why = "`ifindex` numbers interfaces in the order in which their packets come";
        return plan.interfaces.iter().map(|i| Wanted::all(i, why.to_owned())).collect();
    }
    let params: &[ParamSpec] = &plan.params;
    let of = |interface: &InterfacePlan| of_interface(interface, params, params_stay);
    plan.interfaces.iter().map(of).collect()
}

/// Whether the order of packets of several captures, and when captures end, can show in the rows of a plan: an operator reads several streams.
pub fn depends_on_arrival(plan: &PhysicalPlan) -> bool {
    plan.nodes.iter().any(|node| node.inputs.len() > 1 || matches!(node.op, HftaOp::Merge { .. }))
}

fn of_interface(interface: &InterfacePlan, params: &[ParamSpec], params_stay: bool) -> Wanted {
    let program = &interface.program;
    let mut conditions = Vec::with_capacity(program.queries.len());
    let mut predicates: Vec<String> = Vec::new();
    for query in &program.queries {
        if matches!(query.action, LftaAction::Aggregate { real_time: true, .. }) {
            let why = format!("every packet moves the windows of {}", name_of(query));
            return Wanted::all(interface, why);
        }
        let (condition, texts) = of_query(query, program, params, params_stay);
        if condition == Condition::Any {
            let why = format!("no predicate of {} is one that an index answers", name_of(query));
            return Wanted::all(interface, why);
        }
        conditions.push(condition);
        for text in texts {
            if !predicates.contains(&text) {
                predicates.push(text);
            }
        }
    }
    if conditions.is_empty() {
        return Wanted::all(interface, "no query reads it".to_owned());
    }
    let condition = Condition::one_of(conditions);
    Wanted { interface: interface.name.clone(), condition, predicates, why_all: None }
}

/// The name of the query that an LFTA is of.
fn name_of(lfta: &LftaQuery) -> &str {
    lfta.name.strip_prefix("_fta_").unwrap_or(&lfta.name)
}

/// What a query needs, and the texts of the predicates that say so.
fn of_query(
    query: &LftaQuery,
    program: &LftaProgram,
    params: &[ParamSpec],
    params_stay: bool,
) -> (Condition, Vec<String>) {
    let mut parts = Vec::new();
    let mut texts = Vec::new();
    // Headers of protocols that are declared elsewhere may stand where no summary looks.
    let has_facts = facts::are_known(&program.parse);
    if has_facts {
        for layer in &query.requires {
            if let Some((condition, name)) = facts::of_layer(program, *layer) {
                parts.push(condition);
                texts.push(format!("FROM {name}"));
            }
        }
    }
    for qual in &query.quals {
        let mut reader = Reader { program, params, params_stay, has_facts, nodes_left: NODES_MAX };
        let condition = reader.condition(qual.node, DEPTH_MAX);
        if condition != Condition::Any {
            parts.push(condition);
            texts.push(qual.text.clone());
        }
    }
    (Condition::all(parts), texts)
}

/// Reads what quals say.
struct Reader<'a> {
    program: &'a LftaProgram,
    params: &'a [ParamSpec],
    params_stay: bool,
    has_facts: bool,
    nodes_left: u32,
}

impl<'a> Reader<'a> {
    fn exprs(&self) -> &'a Exprs {
        &self.program.exprs
    }

    fn op(&self, node: NodeId) -> &'a Op {
        &self.exprs().nodes[node.0 as usize].op
    }

    /// What is true of packets for which a bool node is TRUE.
    fn condition(&mut self, node: NodeId, depth: u32) -> Condition {
        let (Some(depth), Some(left)) = (depth.checked_sub(1), self.nodes_left.checked_sub(1))
        else {
            return Condition::Any;
        };
        self.nodes_left = left;
        // A translated packet filter is large, and its text says more.
        if let Some((_, text)) = self.exprs().filters.iter().find(|(filter, _)| *filter == node) {
            return of_expression(text);
        }
        match self.op(node) {
            Op::Const(Value::Bool(false)) => Condition::Never,
            Op::And(a, b) => {
                let (a, b) = (*a, *b);
                Condition::all([self.condition(a, depth), self.condition(b, depth)])
            }
            Op::Or(a, b) => {
                let (a, b) = (*a, *b);
                Condition::one_of([self.condition(a, depth), self.condition(b, depth)])
            }
            Op::Select { cond, then, otherwise } => {
                let (cond, then, otherwise) = (*cond, *then, *otherwise);
                let first = [self.condition(cond, depth), self.condition(then, depth)];
                Condition::one_of([Condition::all(first), self.condition(otherwise, depth)])
            }
            Op::Present(layer) if self.has_facts => {
                facts::of_layer(self.program, *layer).map_or(Condition::Any, |(has, _)| has)
            }
            Op::Compare(op, a, b) => match (self.value(*a), self.value(*b)) {
                (None, Some(value)) => self.compared(*op, *a, value, depth),
                (Some(value), None) => self.compared(mirrored(*op), *b, value, depth),
                _ => Condition::Any,
            },
            Op::In(a, values) => {
                let each = values.iter().map(|value| self.equal(*a, value, depth));
                Condition::one_of(each.collect::<Vec<_>>())
            }
            _ => Condition::Any,
        }
    }

    /// The value of a node that has the same for all packets.
    fn value(&self, node: NodeId) -> Option<&'a Value> {
        match self.op(node) {
            Op::Const(value) => Some(value),
            Op::Param(id) => {
                let param = self.params.get(id.0 as usize)?;
                (self.params_stay || param.frozen).then_some(&param.value)
            }
            _ => None,
        }
    }

    fn compared(&mut self, op: CmpOp, node: NodeId, value: &Value, depth: u32) -> Condition {
        let Some(limits) = time::limits(op, value) else {
            return match op {
                CmpOp::Eq => self.equal(node, value, depth),
                _ => Condition::Any,
            };
        };
        match time::stamps(self, node, limits, value, depth) {
            Some(stamps) => stamps,
            None if op == CmpOp::Eq => self.equal(node, value, depth),
            None => Condition::Any,
        }
    }

    /// What is true of packets for which a node equals a value, or lies in it.
    fn equal(&mut self, node: NodeId, value: &Value, depth: u32) -> Condition {
        if let Some(limits) = time::limits(CmpOp::Eq, value)
            && let Some(stamps) = time::stamps(self, node, limits, value, depth)
        {
            return stamps;
        }
        let kind = facts::kind(self, node, None, depth).filter(|_| self.has_facts);
        let fact = kind.and_then(|kind| facts::fact(kind, value));
        fact.map_or(Condition::Any, Condition::Has)
    }
}

fn mirrored(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::Le => CmpOp::Ge,
        CmpOp::Gt => CmpOp::Lt,
        CmpOp::Ge => CmpOp::Le,
        same => same,
    }
}

#[cfg(test)]
mod tests;
