//! The built-in functions (gsql.md §11, §14, §20.3, §20.4, §21; protocols.md, "Functions added"), one family per file.
//!
//! A predicate that the manual marks † has a second entry, a uint function giving 1 or 0, whose symbol ends in `_uint`.

mod aggregates;
mod network;
mod numeric;
mod sampling;
mod strings;

use crate::function::{Cost, Function, FunctionKind, Param, ParamType, PassBy, ResultType, Split};
use crate::ordering::Basic;
use crate::types::Type;

pub(crate) use numeric::cast_of;

/// Every overload of every built-in function.
pub fn all() -> Vec<Function> {
    let mut list = Vec::with_capacity(256);
    aggregates::add(&mut list);
    numeric::add(&mut list);
    strings::add(&mut list);
    network::add(&mut list);
    sampling::add(&mut list);
    list
}

/// A parameter that is passed per tuple.
const fn p(name: &'static str, ty: ParamType) -> Param {
    Param { name, ty, pass: PassBy::Value, optional: false, range: None }
}

const fn bytes(name: &'static str) -> Param {
    p(name, ParamType::AnyBytes)
}

const fn uint(name: &'static str) -> Param {
    p(name, ParamType::Exact(Type::Uint))
}

const fn number(name: &'static str) -> Param {
    p(name, ParamType::AnyNumeric)
}

const fn integer(name: &'static str) -> Param {
    p(name, ParamType::AnyInteger)
}

const fn exact(name: &'static str, ty: Type) -> Param {
    p(name, ParamType::Exact(ty))
}

/// The same, registered once.
const fn handle(param: Param) -> Param {
    Param { pass: PassBy::Handle, ..param }
}

/// The same, a constant expression.
const fn constant(param: Param) -> Param {
    Param { pass: PassBy::Const, ..param }
}

/// The same, a constant from `low` to `high`, both included.
const fn constant_in(param: Param, low: f64, high: f64) -> Param {
    Param { pass: PassBy::Const, range: Some((low, high)), ..param }
}

impl Function {
    /// A scalar function that runs anywhere on the host, never fails and is cheap.
    fn scalar(name: &'static str, symbol: &'static str, params: &[Param], result: Type) -> Self {
        Function {
            name,
            symbol,
            kind: FunctionKind::Scalar,
            params: params.to_vec(),
            variadic: false,
            result: ResultType::Exact(result),
            cost: Cost::Low,
            lfta_legal: true,
            portable: false,
            partial: false,
            ordering: None,
            implicit_fields: &[],
            ignores_repeats: false,
            state_bytes: 0,
            available: true,
            doc: "",
            example: "",
        }
    }

    fn predicate(name: &'static str, symbol: &'static str, params: &[Param]) -> Self {
        Function { kind: FunctionKind::Predicate, ..Self::scalar(name, symbol, params, Type::Bool) }
    }

    /// An aggregate; its operand is the first parameter, constants follow.
    fn aggregate(name: &'static str, split: Split, params: &[Param], result: ResultType) -> Self {
        Function {
            kind: FunctionKind::Aggregate(split),
            result,
            lfta_legal: !matches!(split, Split::HostOnly),
            portable: !matches!(split, Split::HostOnly),
            state_bytes: 32,
            ..Self::scalar(name, name, params, Type::Uint)
        }
    }

    fn running(name: &'static str, symbol: &'static str, params: &[Param], result: Type) -> Self {
        Function {
            kind: FunctionKind::RunningAggregate,
            lfta_legal: false,
            available: false,
            state_bytes: 64,
            ..Self::scalar(name, symbol, params, result)
        }
    }

    fn about(mut self, doc: &'static str, example: &'static str) -> Self {
        self.doc = doc;
        self.example = example;
        self
    }

    fn named(mut self, symbol: &'static str) -> Self {
        self.symbol = symbol;
        self
    }

    fn giving(mut self, result: ResultType) -> Self {
        self.result = result;
        self
    }

    fn at_cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// May fail; see gsql.md §20.2.
    fn failing(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Needs no call in any backend.
    fn everywhere(mut self) -> Self {
        self.portable = true;
        self
    }

    fn ordered(mut self, ordering: fn(Basic) -> Basic) -> Self {
        self.ordering = Some(ordering);
        self
    }

    fn holding(mut self, state_bytes: u32) -> Self {
        self.state_bytes = state_bytes;
        self
    }

    /// Type-checked, and refused by the planner by name.
    fn later(mut self) -> Self {
        self.available = false;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn symbols_are_unique_and_everything_is_documented() {
        let mut symbols = HashSet::new();
        for f in all() {
            assert!(symbols.insert(f.symbol), "{} twice", f.symbol);
            assert!(!f.doc.is_empty(), "{} has no description", f.symbol);
            assert!(f.doc.ends_with('.'), "{}: {}", f.symbol, f.doc);
            assert!(f.example.contains(f.name), "{}: {}", f.symbol, f.example);
            let first_optional = f.params.iter().position(|p| p.optional).unwrap_or(f.params.len());
            assert!(f.params[first_optional..].iter().all(|p| p.optional), "{}", f.symbol);
            let aggregate =
                matches!(f.kind, FunctionKind::Aggregate(_) | FunctionKind::RunningAggregate);
            let of_window = f.kind == FunctionKind::Aggregate(Split::OfWindow);
            assert_eq!(f.state_bytes > 0, aggregate && !of_window, "{}", f.symbol);
        }
    }

    #[test]
    fn examples_parse() {
        for f in all() {
            let parsed = wt_lang::parse_expr(f.example);
            assert!(parsed.tree.is_some(), "{}: {:?}", f.example, parsed.diagnostics);
        }
    }

    #[test]
    fn every_name_of_the_manual_is_there() {
        let names: HashSet<&str> = all().iter().map(|f| f.name).collect();
        let manual = "count sum min max avg and_aggr or_aggr xor_aggr str_exists_substr str_compare \
            str_match_offset byte_match_offset byte_match_reverse_offset net_word_match_offset \
            little_endian_word_match_offset str_regex_match str_partial_regex_match str_file_regex_match \
            str_match_start str_extract_regex str_extract_regex_null str_truncate str_suffix get_suffix \
            get_int get_bool STRID get_list_entry sum_uint_in_list to_hex_string string_hash string_hash_long \
            int_to_string_map strtoi strtoip strtoi_c strtoip_c to_llong getlpmid getv6lpmid INT UINT ULLONG \
            FLOAT LLONG TIMESTAMPTOSEC TIMESTAMPTOMSEC LLMIN LLMAX UMIN UMAX ULLMIN ULLMAX LMIN LMAX FMIN FMAX \
            EQ GEQ LEQ GE LE IF non_temporal PACK sqrt pow sin cos tan asin acos atan log log2 log10 ceil floor \
            fmod trunc endian_swap_ui moving_sum moving_sum_exp moving_avg POSAVG extr_avg approx_hh \
            running_first running_last count_diff CAT_aggr CAT_aggr_diff running_array_aggr time_avg running_sum \
            running_sum_max quantile_of median_of approx_count_distinct running_approx_count_distinct \
            set_local_trigger check_local_trigger ssample ssdo_clean ssclean_with ssfinal_clean ssthreshold \
            nssample flow_ssample flow_ssdo_clean flow_ssclean_with flow_ssfinal_clean pcap_filter in_subnet \
            prefix lpm port_name proto_name flag_string hash5 community_id entropy bytes_at u8 u16 u32 \
            reassemble count_distinct approx_top quantile stddev variance rate first last bool_or bool_and hist \
            window_completeness";
        for name in manual.split_whitespace() {
            assert!(names.contains(name), "{name}");
        }
    }
}
