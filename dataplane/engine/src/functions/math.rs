//! The numeric function library (gsql.md §20.3): IEEE doubles in, IEEE doubles out; outside a function's domain NaN.

use wt_catalog::Value;

use super::ScalarFn;
use super::args::float;

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    macro_rules! of_one {
        ($function:expr) => {
            |args, _| Some(Value::Float($function(float(args, 0)?)))
        };
    }
    Some(match symbol {
        "sqrt" => of_one!(f64::sqrt),
        "sin" => of_one!(f64::sin),
        "cos" => of_one!(f64::cos),
        "tan" => of_one!(f64::tan),
        "asin" => of_one!(f64::asin),
        "acos" => of_one!(f64::acos),
        "atan" => of_one!(f64::atan),
        "log" => of_one!(f64::ln),
        "log2" => of_one!(f64::log2),
        "log10" => of_one!(f64::log10),
        "ceil" => of_one!(f64::ceil),
        "floor" => of_one!(f64::floor),
        "trunc" => of_one!(f64::trunc),
        "pow" => |args, _| Some(Value::Float(float(args, 0)?.powf(float(args, 1)?))),
        "fmod" => |args, _| Some(Value::Float(float(args, 0)? % float(args, 1)?)),
        _ => return None,
    })
}
