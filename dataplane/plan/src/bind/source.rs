//! What the sources of FROM are (gsql.md §8, §9; ddl.md): interfaces, sets, protocol paths, queries.

use wt_catalog::ProtocolId;
use wt_lang::ast::{Source, SourcePath};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident, Span};

use super::diags::{Bound, Reported, all, did_you_mean};
use super::find::{Found, find, position};
use super::packet_scope;
use super::refuse;
use super::shared::Shared;
use super::units::path_span;
use crate::logical::ProtocolSource;

/// Near names in a hint.
const NEAR_MAX: usize = 4;

impl Shared<'_> {
    /// Whether a protocol has the name, exactly or ignoring case.
    pub(crate) fn is_protocol(&self, name: &str) -> bool {
        self.protocol_named(name).is_some()
    }

    fn protocol_named(&self, name: &str) -> Option<ProtocolId> {
        let names = self.catalog().protocols.iter().map(|p| p.name.as_str());
        position(name, names).map(|i| ProtocolId(i as u32))
    }

    fn interface_named(&self, name: &str) -> Option<usize> {
        position(name, self.input.interfaces.iter().map(|i| i.name.as_str()))
    }

    /// All interfaces, or those of the set `default`.
    fn default_interfaces(&self) -> Vec<usize> {
        match self.input.interface_sets.iter().find(|(name, _)| name == "default") {
            Some((_, members)) => self.known(members),
            None => (0..self.input.interfaces.len()).collect(),
        }
    }

    /// The members of a set that are interfaces of the session.
    fn known(&self, members: &[usize]) -> Vec<usize> {
        members.iter().copied().filter(|&i| i < self.input.interfaces.len()).collect()
    }

    /// A path that names no query: `tcp`, `eth0.tcp`, `host.eth0.tcp`, `vxlan.tcp`. `queries` are offered as near names.
    pub(crate) fn packets(&self, path: &SourcePath, queries: &[&str]) -> Bound<ProtocolSource> {
        let source = self.packets_of(path, queries)?;
        self.note_stores(&source, path_span(path));
        Ok(source)
    }

    fn note_stores(&self, source: &ProtocolSource, span: Span) {
        let stores = source.interfaces.iter().filter(|&&i| self.input.interfaces[i].is_store());
        stores.for_each(|&store| self.read_alone(store, span));
    }

    /// `store.tcp THEN eth0.tcp`: the store, followed.
    pub(crate) fn past_and_present(
        &self,
        past: &Source,
        present: &Source,
        span: Span,
    ) -> Bound<ProtocolSource> {
        let (Source::Path(past), Source::Path(present)) = (past, present) else {
            return Err(self.diags.report(refuse::then(span)));
        };
        let past = self.packets_of(past, &[])?;
        let present = self.packets_of(present, &[])?;
        let is_store = |interface: usize| self.input.interfaces[interface].is_store();
        match (&past.interfaces[..], &present.interfaces[..]) {
            (&[store], &[interface])
                if is_store(store) && !is_store(interface) && past.chain == present.chain =>
            {
                self.follow(store, interface, span);
                Ok(past)
            }
            _ => Err(self.diags.report(refuse::then(span))),
        }
    }

    fn packets_of(&self, path: &SourcePath, queries: &[&str]) -> Bound<ProtocolSource> {
        let span = path_span(path);
        let parts = &path.parts[..];
        let Some(first) = parts.first() else { return Err(Reported) };
        if first.text.eq_ignore_ascii_case("store") && self.interface_named(&first.text).is_none() {
            return Err(self.diags.report(refuse::store(span)));
        }
        let (interfaces, chain) = match parts {
            [_] => (self.default_interfaces(), parts),
            [_, rest @ ..] => match self.interface_named(&first.text) {
                Some(i) => (vec![i], rest),
                None => match self.of_host(first, rest)? {
                    Some((i, rest)) => (vec![i], rest),
                    None => (self.default_interfaces(), parts),
                },
            },
            [] => return Err(Reported),
        };
        let chain = self.chain(chain, parts, queries)?;
        self.source(interfaces, chain, span)
    }

    /// `[set].tcp`
    pub(crate) fn packets_of_set(
        &self,
        set: &Ident,
        protocol: &[Ident],
        span: Span,
    ) -> Bound<ProtocolSource> {
        let sets = self.input.interface_sets;
        let members = match position(&set.text, sets.iter().map(|(n, _)| n.as_str())) {
            Some(i) => self.known(&sets[i].1),
            None if set.text.eq_ignore_ascii_case("default") => self.default_interfaces(),
            None => {
                let known = sets.iter().map(|(n, _)| n.as_str()).chain(["default"]);
                let diagnostic = Diagnostic::error(
                    "unknown-set",
                    set.span,
                    format!("there is no interface set `{set}`"),
                );
                let diagnostic = if self.interface_named(&set.text).is_some() {
                    diagnostic.hint(format!(
                        "`{set}` is an interface: write {set}.{}, without brackets.",
                        protocol.first().map_or("tcp", |p| &p.text)
                    ))
                } else {
                    did_you_mean(diagnostic, &nearest(&set.text, known, NEAR_MAX))
                };
                return Err(self.diags.report(diagnostic));
            }
        };
        let chain = self.chain(protocol, protocol, &[])?;
        let source = self.source(members, chain, span)?;
        self.note_stores(&source, span);
        Ok(source)
    }

    /// `host.eth0.tcp`: the interface of that name on that host.
    fn of_host<'p>(&self, host: &Ident, rest: &'p [Ident]) -> Bound<Option<(usize, &'p [Ident])>> {
        let [interface, protocols @ ..] = rest else { return Ok(None) };
        let of_host: Vec<usize> = (0..self.input.interfaces.len())
            .filter(|&i| {
                let properties = &self.input.interfaces[i].properties;
                properties.iter().any(|(k, v)| k == "Host" && *v == host.text)
            })
            .collect();
        if of_host.is_empty() || protocols.is_empty() {
            return Ok(None);
        }
        let names = of_host.iter().map(|&i| self.input.interfaces[i].name.as_str());
        match position(&interface.text, names.clone()) {
            Some(at) => Ok(of_host.get(at).map(|&i| (i, protocols))),
            None => Err(self.diags.report(did_you_mean(
                Diagnostic::error(
                    "unknown-interface",
                    interface.span,
                    format!("host `{host}` has no interface `{interface}`"),
                ),
                &nearest(&interface.text, names, NEAR_MAX),
            ))),
        }
    }

    /// The protocols of a path, each reachable below the one before.
    fn chain(&self, names: &[Ident], whole: &[Ident], queries: &[&str]) -> Bound<Vec<ProtocolId>> {
        let catalog = self.catalog();
        let mut chain = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let Some(p) = self.protocol_named(&name.text) else {
                return Err(self.unknown_source(name, i, names, whole, queries));
            };
            chain.push(p);
        }
        for (pair, name) in chain.windows(2).zip(names.iter().skip(1)) {
            let [outer, inner] = pair else { continue };
            if !self.headers.can_follow(*outer, *inner) {
                let (o, i) =
                    (packet_scope::name(catalog, *outer), packet_scope::name(catalog, *inner));
                return Err(self.diags.report(
                    Diagnostic::error("not-on-path", name.span, format!("{i} never follows {o}"))
                        .label(format!("no {i} below {o}"))
                        .hint(format!("Read FROM {i}; headers above it are in scope.")),
                ));
            }
        }
        Ok(chain)
    }

    fn unknown_source(
        &self,
        name: &Ident,
        at: usize,
        chain: &[Ident],
        whole: &[Ident],
        queries: &[&str],
    ) -> Reported {
        let protocols = self.catalog().protocols.iter().map(|p| p.name.as_str());
        let interfaces = self.input.interfaces.iter().map(|i| i.name.as_str());
        let last = at + 1 == chain.len();
        if last && let Found::One(_) = find(&name.text, interfaces.clone()) {
            return self.diags.report(
                Diagnostic::error(
                    "unknown-source",
                    name.span,
                    format!("`{name}` is an interface; which of its records are read?"),
                )
                .hint(format!("Name a protocol: {name}.packet, {name}.ip, {name}.tcp.")),
            );
        }
        if whole.len() > 1 && queries.contains(&name.text.as_str()) {
            return self.diags.report(
                Diagnostic::error(
                    "unknown-source",
                    name.span,
                    format!("`{name}` is a query: it is not read from an interface"),
                )
                .hint(format!("Write FROM {name}.")),
            );
        }
        let (what, near) = if last {
            let all = protocols.chain(interfaces).chain(queries.iter().copied());
            let what =
                if whole.len() > 1 { "a protocol" } else { "a protocol, an interface or a query" };
            (what, nearest(&name.text, all, NEAR_MAX))
        } else {
            (
                "an interface or a protocol",
                nearest(&name.text, interfaces.chain(protocols), NEAR_MAX),
            )
        };
        let mut diagnostic =
            Diagnostic::error("unknown-source", name.span, format!("`{name}` is not {what}"));
        if near.is_empty() {
            let known: Vec<&str> = self.input.interfaces.iter().map(|i| i.name.as_str()).collect();
            if !last && !known.is_empty() {
                diagnostic = diagnostic.hint(format!("The interfaces are {}.", all(&known)));
            } else {
                diagnostic = diagnostic.hint("`wiretable schema` lists all protocols.");
            }
        }
        self.diags.report(did_you_mean(diagnostic, &near))
    }

    fn source(
        &self,
        interfaces: Vec<usize>,
        chain: Vec<ProtocolId>,
        span: Span,
    ) -> Bound<ProtocolSource> {
        if interfaces.is_empty() {
            return Err(self.diags.report(
                Diagnostic::error("no-interface", span, "there is no interface to read").hint(
                    "Name traces with `-r FILE` or `-r eth0=FILE`, or a set that is not empty.",
                ),
            ));
        }
        let catalog = self.catalog();
        if let Some(p) = chain.last().and_then(|&p| packet_scope::protocol(catalog, p)) {
            if p.record.is_some() {
                return Err(self.diags.report(refuse::record(&p.name, span)));
            }
            let stands = p.header.is_some()
                || packet_scope::packet_id(catalog) == Some(p.id)
                || self.headers.group(p.id).len() > 1;
            if !stands {
                return Err(self.diags.report(
                    Diagnostic::error(
                        "unknown-source",
                        span,
                        format!("`{}` has no header: no packet carries it", p.name),
                    )
                    .hint("Read a protocol that inherits it."),
                ));
            }
        }
        Ok(ProtocolSource { interfaces, chain })
    }
}
