//! What of the packets is recorded: `--filter` and `--where`, judged by the code that is made of a query.

use std::path::PathBuf;

use wt_catalog::Value;
use wt_engine::{EngineError, PacketBatch, PacketFilter, index_wanted};
use wt_plan::Compiled;
use wt_plan::physical::PhysicalPlan;
use wt_trace::index::Wanted;
use wt_trace::record::Feed;
use wt_wire::RecordRef;
use wt_xdp::packet_socket;

use crate::cli::record::ConditionArgs;
use crate::failure::Failure;
use crate::session::{self, CompileOptions, DEFAULT_INTERFACE, NamedText, Traces};

/// A condition on packets.
pub struct Condition {
    compiled: Compiled,
    /// The tcpdump expression, which the kernel can judge too.
    pub(super) expression: Option<String>,
}

impl Condition {
    /// The condition that the arguments give, if there is one: a tcpdump expression, a condition on the fields of a protocol.
    pub fn of(args: &ConditionArgs) -> Result<Option<Self>, Failure> {
        let mut parts = Vec::new();
        if let Some(expression) = &args.filter {
            parts.push(format!("pcap_filter('{}')", expression.replace('\'', "''")));
        }
        parts.extend(args.condition.as_ref().map(|condition| format!("({condition})")));
        if parts.is_empty() {
            return Ok(None);
        }
        let text = format!("SELECT len FROM {} WHERE {}", args.protocol, parts.join(" AND "));
        Ok(Some(Self {
            compiled: compile(&text, &args.protocols)?,
            expression: args.filter.clone(),
        }))
    }

    /// The condition that every packet meets.
    pub(super) fn everything() -> Result<Self, Failure> {
        Ok(Self { compiled: compile("SELECT len FROM packet", &[])?, expression: None })
    }

    /// Its plan: one query on one interface.
    pub(super) fn plan(&self) -> &PhysicalPlan {
        &self.compiled.physical
    }

    /// What an index can be asked of it.
    pub fn wanted(&self) -> Wanted {
        let needs = wt_plan::wanted::wanted(&self.compiled.physical, true);
        needs.first().map_or(Wanted::Any, |need| index_wanted(&need.condition))
    }

    /// Bytes of a packet that it can look at.
    pub(super) fn snap_bytes(&self) -> u32 {
        let programs = self.compiled.physical.interfaces.iter();
        programs.map(|i| packet_socket::snap_bytes(&i.program)).max().unwrap_or(0)
    }
}

fn compile(text: &str, protocols: &[PathBuf]) -> Result<Compiled, Failure> {
    let catalog = session::catalog(protocols)?;
    let interface = Traces {
        interface: DEFAULT_INTERFACE.to_owned(),
        files: Vec::new(),
        properties: Vec::new(),
    };
    let options =
        CompileOptions { params: &[], watchlists: &[], sets: &[], library: None, finite: true };
    let interfaces = [interface.interface_info()];
    session::compile(&catalog, &NamedText::inline(text), &interfaces, &options)
}

/// Tells packets that are wanted.
pub struct Judge<'a> {
    condition: Option<&'a Condition>,
    /// Made when it is known what packets begin with.
    filter: Option<PacketFilter>,
    passing: Vec<RecordRef>,
}

impl<'a> Judge<'a> {
    pub fn new(condition: Option<&'a Condition>) -> Self {
        Self { condition, filter: None, passing: Vec::new() }
    }

    /// Gives packets to the feed, as those of one of its interfaces, and counts the others.
    pub(super) fn give(
        &mut self,
        feed: &mut Feed,
        interface: u32,
        batch: &PacketBatch<'_>,
    ) -> Result<(), EngineError> {
        let passing = self.passing(batch)?;
        feed.filtered((batch.records.len() - passing.len()) as u64);
        feed.packets(interface, batch.data, passing);
        Ok(())
    }

    /// The packets of a batch that are wanted.
    ///
    /// # Errors
    /// An argument of the condition that cannot be registered.
    pub fn passing<'b>(
        &'b mut self,
        batch: &PacketBatch<'b>,
    ) -> Result<&'b [RecordRef], EngineError> {
        let Some(condition) = self.condition else { return Ok(batch.records) };
        if self.filter.is_none() {
            self.filter = Some(PacketFilter::new(&condition.compiled.physical, batch.link_type)?);
        }
        self.passing.clear();
        if let Some(filter) = &mut self.filter {
            filter.passing(batch, &mut self.passing)?;
        }
        Ok(&self.passing)
    }
}

/// The name of an interface as conditions see it.
pub fn name(of: Option<&str>) -> Value {
    Value::bytes(of.unwrap_or(DEFAULT_INTERFACE))
}
