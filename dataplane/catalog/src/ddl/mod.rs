//! The protocol DDL (ddl.md): from its syntax tree to [`Protocol`]s and [`Enumeration`](crate::Enumeration)s.
//!
//! Decisions where ddl.md leaves room:
//!
//! - **Same header or carrier.** A protocol that states no HEADER LENGTH is *abstract*. A protocol is the same header as an
//!   abstract parent when it REFINEs one of its fields, or has no OVER path below it (`ipv4` and `ip`); every other
//!   parent carries it (`tcp` and `ip`). `packet` is the root: present in every packet, the same header as none. A
//!   protocol without parents inherits `packet`, unless it describes text records.
//! - **Link types.** `OVER packet WHEN linktype = 1` (or `IN [1, 6]`) says which frames start with the header.
//! - **First match.** OVER clauses are tried in file order; those of a later file come after those of earlier ones.
//! - **Continuing headers.** A field with the attribute `continues f` stands for field `f` of the header that is
//!   followed: what may follow that header by a condition on `f` may follow this one by the same condition on
//!   the field. IPv6 extension headers continue `protocol`, so `OVER ip WHEN protocol = 6` finds TCP behind them. The
//!   attribute without a name only says that runs of headers go on ([`Protocol::continues`]).
//! - **Headers below.** In a declaration `p[0].f`, `p[last].f`, `depth(p)` and `present(p)` speak of the run of headers
//!   directly below; a plain `p.f` speaks of the nearest `p` above; `offset(p)` is where a header starts.
//! - **Enumerators** are found by the enumeration of the field they are compared with; beside a plain integer a name must
//!   have one value in all enumerations.
//! - **Comments** behind a field on its line, and above a protocol, become its description.

mod attrs;
mod declare;
mod dispatch;
mod docs;
mod expr;
mod fields;
mod kinship;
mod places;
mod scope;

use std::collections::HashMap;
use std::rc::Rc;

use wt_lang::ast::{DdlItem, ProtocolDecl};
use wt_lang::{Diagnostic, ERRORS_MAX, Severity};

use self::scope::{Names, Scope};

use crate::Catalog;
use crate::protocol::{Protocol, ProtocolId};

/// Most protocols of a catalog.
pub const PROTOCOLS_MAX: usize = 512;

/// Most enumerations of a catalog.
pub const ENUMERATIONS_MAX: usize = 256;

/// Most own fields of a protocol.
pub const FIELDS_MAX: usize = 512;

/// Most protocols that one inherits, directly and indirectly.
pub const ANCESTORS_MAX: usize = 16;

/// Most OVER clauses of a catalog.
pub const OVER_MAX: usize = 4096;

/// Most entries of [`Protocol::children`] of a catalog.
pub const CHILDREN_MAX: usize = 32_768;

// Every protocol may follow several headers.
const _: () = assert!(OVER_MAX >= 4 * PROTOCOLS_MAX);

/// Most nodes of an expression with the derived fields that it reads written out.
pub const EXPRESSION_NODES_MAX: u32 = 4096;

/// The protocol at the root of every packet.
pub(crate) const ROOT: &str = "packet";

/// One file on its way into a catalog.
struct Elaborator<'t> {
    catalog: Catalog,
    text: &'t str,
    file: &'t str,
    diagnostics: Vec<Diagnostic>,
    /// Protocols of this file, in file order.
    new: Vec<(ProtocolId, &'t ProtocolDecl)>,
    /// Names declared by UNPACK_FCNS of this file.
    unpack: Vec<&'t str>,
    /// For scopes, once fields and kinship are known.
    names: Names,
    /// Scopes that have been built.
    scopes: HashMap<ProtocolId, Rc<Scope>>,
}

impl Catalog {
    /// Adds the protocols and enumerations of a DDL file. They may refer to what the catalog has already; names must be new.
    ///
    /// ```
    /// use wt_catalog::{Catalog, Type};
    ///
    /// let mut catalog = Catalog::builtin();
    /// let text = "
    ///     ENUM HeartbeatKind : uint { PING = 1, PONG = 2 }
    ///     -- Liveness probes of the storage cluster.
    ///     PROTOCOL heartbeat (udp) OVER udp WHEN destPort = 7400 {
    ///         HEADER LENGTH 12;
    ///         CHECK magic = 0x4842;
    ///         ushort        magic     AT 0;
    ///         HeartbeatKind beat_kind AT 2 LENGTH 1;   -- PING or PONG.
    ///         bool          degraded  AT 3 BITS 7:1;
    ///         ullong        beat      AT 4 LITTLE (increasing);
    ///     }";
    /// let warnings = catalog.add_ddl(text, "heartbeat.ddl").expect("no errors");
    /// assert!(warnings.is_empty());
    /// let id = catalog.resolve_protocol("Heartbeat").unwrap();
    /// let (owner, index) = catalog.resolve_field(id, "beat_kind").unwrap();
    /// assert_eq!(catalog.field(owner, index).unwrap().ty, Type::Uint);
    /// assert!(catalog.is_a(id, catalog.resolve_protocol("ip").unwrap()));
    /// ```
    ///
    /// # Errors
    /// All messages, warnings included, when any is an error; the catalog is then unchanged. `name` is what
    /// [`Protocol::declared_in`] will say; spans are places in `text`.
    pub fn add_ddl(&mut self, text: &str, name: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let parsed = wt_lang::parse_ddl(text);
        let Some(file) = parsed.tree else { return Err(parsed.diagnostics) };
        let mut elaborator = Elaborator {
            catalog: self.clone(),
            text,
            file: name,
            diagnostics: parsed.diagnostics,
            new: Vec::new(),
            unpack: Vec::new(),
            names: Names::default(),
            scopes: HashMap::new(),
        };
        elaborator.file(&file.items);
        let Elaborator { catalog, mut diagnostics, .. } = elaborator;
        diagnostics.sort_by_key(|d| (d.span.start, d.span.end));
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            return Err(diagnostics);
        }
        *self = catalog;
        Ok(diagnostics)
    }
}

impl<'t> Elaborator<'t> {
    fn file(&mut self, items: &'t [DdlItem]) {
        for item in items {
            match item {
                DdlItem::Enum(decl) => self.enumeration(decl),
                DdlItem::Protocol(decl) => self.declare(decl),
                DdlItem::Unpack(functions) => {
                    self.unpack.extend(functions.iter().map(|f| f.name.text.as_str()));
                }
                DdlItem::Stream(decl) => self.stream_schema(decl),
                DdlItem::OperatorView(view) => self.operator_view(view),
            }
        }
        self.inherit();
        self.declare_fields();
        self.relate();
        if self.has_errors() {
            // Without fields and kinship, every expression would be wrong for the same reason again.
            return;
        }
        self.names = Names::new(&self.catalog);
        self.elaborate_expressions();
        if self.has_errors() {
            return;
        }
        self.check_derived();
        self.warn_of_unplaced();
        self.link_types();
        if !self.has_errors() {
            self.flatten();
        }
    }

    fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// Adds a message; beyond [`ERRORS_MAX`] of a kind they only repeat one mistake.
    fn report(&mut self, diagnostic: Diagnostic) {
        if self.count(diagnostic.severity) < ERRORS_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// Whether there are enough errors to stop.
    fn is_full(&self) -> bool {
        self.count(Severity::Error) >= ERRORS_MAX
    }

    fn scope(&mut self, this: ProtocolId) -> Rc<Scope> {
        let scope = self
            .scopes
            .entry(this)
            .or_insert_with(|| Rc::new(Scope::new(&self.catalog, &self.names, this)));
        Rc::clone(scope)
    }

    fn protocol_mut(&mut self, id: ProtocolId) -> Option<&mut Protocol> {
        self.catalog.protocols.get_mut(id.0 as usize)
    }
}
