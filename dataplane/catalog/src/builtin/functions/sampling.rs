//! Stateful functions of the sampling operator (gsql.md §14), local triggers (§21) and functions of the ledger.

use super::{exact, number, p, uint};
use crate::function::{Cost, Function, FunctionKind, Param, ParamType};
use crate::types::Type;

fn stateful(
    name: &'static str,
    params: &[Param],
    result: Type,
    doc: &'static str,
    example: &'static str,
) -> Function {
    Function {
        kind: FunctionKind::Stateful,
        lfta_legal: false,
        available: false,
        ..Function::scalar(name, name, params, result)
    }
    .about(doc, example)
}

pub(super) fn add(list: &mut Vec<Function>) {
    let samples = || uint("samples");
    let flow =
        || [exact("closed", Type::Bool), uint("idle_s"), p("last_seen", ParamType::AnyInteger)];
    let with_sum = |sum: Param| {
        let [a, b, c] = flow();
        [a, b, c, sum]
    };
    list.extend([
        stateful(
            "ssample",
            &[number("x"), samples()],
            Type::Bool,
            "Subset-sum sampling: whether the tuple is admitted.",
            "ssample(len, 100)",
        ),
        stateful(
            "ssdo_clean",
            &[],
            Type::Bool,
            "Whether too many groups are held.",
            "ssdo_clean()",
        ),
        stateful(
            "ssclean_with",
            &[number("x")],
            Type::Bool,
            "Whether a group survives cleaning.",
            "ssclean_with(sum(len))",
        ),
        stateful(
            "ssfinal_clean",
            &[number("x")],
            Type::Bool,
            "Whether a group survives the end of the window.",
            "ssfinal_clean(sum(len))",
        ),
        stateful("ssthreshold", &[], Type::Float, "The present threshold z.", "ssthreshold()"),
        stateful(
            "nssample",
            &[number("x"), uint("z")],
            Type::Bool,
            "Subset-sum sampling with a fixed threshold.",
            "nssample(len, 100)",
        ),
        stateful(
            "flow_ssample",
            &[samples()],
            Type::Bool,
            "Flow sampling: admits every tuple.",
            "flow_ssample(100)",
        ),
        stateful(
            "flow_ssdo_clean",
            &[p("now", ParamType::AnyInteger)],
            Type::Bool,
            "Once per second, to count closed flows and to clean.",
            "flow_ssdo_clean(max$(time))",
        ),
        stateful(
            "flow_ssclean_with",
            &with_sum(number("x")),
            Type::Bool,
            "Whether a flow survives cleaning.",
            "flow_ssclean_with(bool_or(fin), 30, max(time), sum(len))",
        ),
        stateful(
            "flow_ssfinal_clean",
            &with_sum(number("x")),
            Type::Bool,
            "Whether a flow survives the end of the window.",
            "flow_ssfinal_clean(bool_or(fin), 30, max(time), sum(len))",
        ),
    ]);
    triggers(list);
}

fn triggers(list: &mut Vec<Function>) {
    let set = [uint("id"), uint("n")];
    let check = [uint("id")];
    list.extend([
        Function::predicate("set_local_trigger", "set_local_trigger", &set)
            .at_cost(Cost::Top)
            .later()
            .about("Stores n for the trigger; TRUE.", "set_local_trigger(1, 1000)"),
        Function::predicate("check_local_trigger", "check_local_trigger", &check)
            .at_cost(Cost::High)
            .later()
            .about(
                "Whether the trigger's count is positive; counts it down.",
                "check_local_trigger[1]",
            ),
    ]);
}
