//! What may run in an LFTA, and what it ships when not everything may (gsql.md §22).
//!
//! On the host an LFTA could call anything; it is kept cheap as in the paper (§2.3, §3): payload scans and other expensive functions run in the
//! HFTA, fed with the columns they need. So do look-ups in tables, but for those that give a number, as `getlpmid` does: they take no longer than a
//! tuple takes to the HFTA.

use wt_catalog::function::{Cost, PassBy};
use wt_catalog::{Function, Ordering, Type, Value};

use crate::logical::{Expr, ExprKind, Item};
use crate::lower::InterfaceEnv;
use crate::walk;

/// Why an expression is not LFTA-safe; `None` when it is.
pub fn unsafe_reason(e: &Expr) -> Option<String> {
    let own = match &e.kind {
        ExprKind::Call { function, args } => {
            if !function.lfta_legal {
                Some(format!("`{}` is not allowed in an LFTA", function.name))
            } else if function.cost >= Cost::Expensive {
                Some(format!("`{}` is {}", function.name, cost_word(function.cost)))
            } else if !looks_up_numbers(function, args, e.ty) {
                Some(format!("`{}` looks up a table", function.name))
            } else {
                None
            }
        }
        _ => None,
    };
    own.or_else(|| walk::children(e).into_iter().find_map(unsafe_reason))
}

/// Whether all that a function looks up are numbers, in tables that stay while a query runs.
fn looks_up_numbers(function: &Function, args: &[Expr], ty: Type) -> bool {
    let handles = function.params.iter().zip(args).filter(|(p, _)| p.pass == PassBy::Handle);
    let stays = |arg: &Expr| matches!(arg.kind, ExprKind::Const(_));
    handles.into_iter().all(|(_, arg)| ty.is_integer() && stays(arg))
}

/// The class as the language writes it.
pub fn cost_word(cost: Cost) -> &'static str {
    match cost {
        Cost::Free => "FREE",
        Cost::Low => "LOW",
        Cost::High => "HIGH",
        Cost::Expensive => "EXPENSIVE",
        Cost::Top => "TOP",
    }
}

/// True when an expression may run in an LFTA.
pub fn is_safe(e: &Expr) -> bool {
    unsafe_reason(e).is_none()
}

/// A column that an LFTA ships to its HFTA.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// Its value.
    pub expr: Expr,
    /// Its name.
    pub name: String,
    /// Its ordering property.
    pub ordering: Ordering,
    /// It names a window.
    pub window: bool,
}

/// Collects the maximal safe subexpressions of what runs above.
pub struct Shipper<'a> {
    /// Interfaces that the packets come from.
    envs: Vec<&'a InterfaceEnv>,
    /// Columns so far.
    pub columns: Vec<Shipped>,
}

impl<'a> Shipper<'a> {
    /// A shipper for packets of these interfaces.
    pub fn new(envs: Vec<&'a InterfaceEnv>) -> Self {
        Self { envs, columns: Vec::new() }
    }

    /// An item's expression over the shipped columns. A safe one becomes one column, which keeps name and ordering.
    pub fn item(&mut self, item: &Item) -> Expr {
        self.ship(&item.expr, Some(item))
    }

    /// An expression over the shipped columns.
    pub fn expr(&mut self, e: &Expr) -> Expr {
        self.ship(e, None)
    }

    fn ship(&mut self, e: &Expr, item: Option<&Item>) -> Expr {
        if let Some(inline) = self.inline(e) {
            return inline;
        }
        if is_safe(e) {
            let column = self.column(e, item);
            return Expr { kind: ExprKind::Column(column), ty: e.ty, span: e.span };
        }
        let rebuilt: Result<Expr, std::convert::Infallible> =
            walk::map_children(e, |c| Ok(self.ship(c, None)));
        let Ok(rebuilt) = rebuilt;
        rebuilt
    }

    /// What needs no column: it is the same for every tuple.
    fn inline(&self, e: &Expr) -> Option<Expr> {
        match &e.kind {
            ExprKind::Const(_) | ExprKind::Param(_) => Some(e.clone()),
            ExprKind::InterfaceProperty(name) => {
                let (first, rest) = self.envs.split_first()?;
                let value = first.property(name)?;
                if rest.iter().any(|env| env.property(name) != Some(value)) {
                    return None;
                }
                let kind = ExprKind::Const(Value::bytes(value));
                Some(Expr { kind, ty: Type::String, span: e.span })
            }
            _ => None,
        }
    }

    fn column(&mut self, e: &Expr, item: Option<&Item>) -> usize {
        let known = self.columns.iter().position(|c| walk::same(&c.expr, e));
        let index = known.unwrap_or(self.columns.len());
        if known.is_none() {
            self.columns.push(Shipped {
                expr: e.clone(),
                name: String::new(),
                ordering: Ordering::Varying,
                window: false,
            });
        }
        if let Some(item) = item {
            let column = &mut self.columns[index];
            column.name.clone_from(&item.name);
            column.ordering = item.ordering.clone();
            column.window |= item.window;
        }
        index
    }

    /// Names the columns that no item named: by `text`, else by number.
    pub fn name_columns(&mut self, text: impl Fn(&Expr) -> String) {
        for i in 0..self.columns.len() {
            if !self.columns[i].name.is_empty() {
                continue;
            }
            let text = text(&self.columns[i].expr);
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let taken = self.columns.iter().any(|c| c.name == text);
            self.columns[i].name = if plain && !taken { text } else { format!("_c{i}") };
        }
    }
}
