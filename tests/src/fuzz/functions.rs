//! Functions: every one of the registry on arguments of its types, with any pattern or table behind its handle, gives a value of
//! its type or fails as partial functions do; every aggregate answers, and merged halves stay within its declared memory.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use wt_catalog::function::{FunctionKind, Param, ParamType, PassBy, ResultType, Split};
use wt_catalog::{Function, Type, Value};
use wt_engine::functions::{Handle, aggregator, prepare, scalar};

use super::Input;

/// Headers and spare capacity of the allocations of one state, bytes.
const HEADERS_BYTES: usize = 2048;

/// The input chooses the function, then its arguments.
pub(super) fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let functions = &super::catalog().functions;
    let at = usize::from(input.byte()) << 8 | usize::from(input.byte());
    let function = &functions[at % functions.len()];
    let called = match function.kind {
        _ if !function.available => None,
        FunctionKind::Scalar | FunctionKind::Predicate => scalar_function(function, &mut input),
        FunctionKind::Aggregate(_) => aggregate(function, &mut input),
        FunctionKind::RunningAggregate | FunctionKind::Stateful => None,
    };
    called.is_some()
}

/// Nothing when the function has no code of its own, or there are no arguments for it.
fn scalar_function(function: &Function, input: &mut Input<'_>) -> Option<()> {
    // Casts and the like are operators of the IR; they have no code of their own.
    let code = scalar(function.symbol)?;
    let (args, types, handle) = arguments(function, input)?;
    let handle = match handle {
        None => None,
        Some(argument) => match prepare(function.symbol, &argument) {
            Ok(handle) => Some(handle),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return None;
            }
        },
    };
    let first = code(&args, handle.as_ref());
    if let Some(value) = &first {
        has_type(value, result_type(function.result, &types), function);
    }
    // A file that is watched may change between calls; all else gives the same again.
    if !matches!(handle, Some(Handle::FileRegex(_))) {
        let again = code(&args, handle.as_ref());
        assert_eq!(format!("{first:?}"), format!("{again:?}"), "{}", function.signature());
    }
    Some(())
}

fn aggregate(function: &Function, input: &mut Input<'_>) -> Option<()> {
    let (_, types, _) = arguments(function, &mut Input(input.0))?;
    let given = function.params.iter().zip(&types);
    let operands: Vec<Type> =
        given.filter(|(p, _)| p.pass == PassBy::Value).map(|(_, ty)| *ty).collect();
    let consts: Vec<Value> = function
        .params
        .iter()
        .zip(&types)
        .filter(|(p, _)| p.pass == PassBy::Const)
        .map(|(_, ty)| value(input, *ty))
        .collect();
    let ty = result_type(function.result, &types)?;
    let new = || aggregator(function.symbol, &consts, ty);
    let (mut whole, mut left, mut right) = (new()?, new()?, new()?);
    let mut tuples = Vec::new();
    while !input.0.is_empty() && tuples.len() < 512 {
        let mut tuple: Vec<Value> = operands.iter().map(|ty| value(input, *ty)).collect();
        tuple.extend(function.implicit_fields.iter().map(|name| implicit(name, input)));
        tuples.push(tuple);
    }
    let half = tuples.len() / 2;
    for (i, tuple) in tuples.iter().enumerate() {
        whole.update(tuple);
        if i < half { left.update(tuple) } else { right.update(tuple) }
    }
    left.merge(right.as_ref());
    for state in [&whole, &left] {
        if let Some(value) = state.output() {
            has_type(&value, Some(ty), function);
        }
        // A basic aggregate keeps one value, however long; the others state what they keep, headers of allocations aside.
        if function.kind == FunctionKind::Aggregate(Split::HostOnly) {
            let bytes = state.memory_bytes();
            assert!(
                bytes <= function.state_bytes as usize + HEADERS_BYTES,
                "{}: {bytes} of {} bytes after {} tuples",
                function.name,
                function.state_bytes,
                tuples.len()
            );
        }
    }
    assert_eq!(whole.output().is_some(), left.output().is_some(), "{}", function.name);
    Some(())
}

/// Tuple arguments, all their types, and the handle's argument.
type Arguments = (Vec<Value>, Vec<Type>, Option<Value>);

fn arguments(function: &Function, input: &mut Input<'_>) -> Option<Arguments> {
    let (mut args, mut types, mut handle) = (Vec::new(), Vec::new(), None);
    for param in &function.params {
        if param.optional && input.byte() & 1 == 0 {
            break;
        }
        let ty = argument_type(param, &types, input)?;
        types.push(ty);
        match param.pass {
            PassBy::Handle => handle = Some(handle_argument(function, input)),
            PassBy::Value | PassBy::Const => args.push(value(input, ty)),
        }
    }
    args.extend(function.implicit_fields.iter().map(|name| implicit(name, input)));
    Some((args, types, handle))
}

fn argument_type(param: &Param, before: &[Type], input: &mut Input<'_>) -> Option<Type> {
    const INTEGERS: [Type; 5] = [Type::Ushort, Type::Uint, Type::Int, Type::Ullong, Type::Llong];
    const ADDRESSES: [Type; 3] = [Type::Ip, Type::Ipv6, Type::Inet];
    Some(match param.ty {
        ParamType::Exact(ty) => ty,
        ParamType::AnyInteger => INTEGERS[input.below(INTEGERS.len())],
        ParamType::AnyNumeric => match input.below(INTEGERS.len() + 1) {
            5 => Type::Float,
            i => INTEGERS[i],
        },
        ParamType::AnyBytes => [Type::String, Type::Bytes][input.below(2)],
        ParamType::AnyAddress => ADDRESSES[input.below(ADDRESSES.len())],
        ParamType::Any => Type::ALL[input.below(Type::ALL.len())],
        ParamType::SameAs(i) => *before.get(i)?,
    })
}

fn value(input: &mut Input<'_>, ty: Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(input.byte() & 1 == 1),
        Type::Ushort => Value::Uint(u64::from(input.u32() as u16)),
        Type::Uint => Value::Uint(u64::from(small_or_any(input))),
        Type::Int => Value::Int(i64::from(small_or_any(input) as i32)),
        Type::Ullong => Value::Uint(input.u64()),
        Type::Llong => Value::Int(input.u64() as i64),
        Type::Float => Value::Float(f64::from_bits(input.u64())),
        Type::Ip => Value::Ip(Ipv4Addr::from(input.u32())),
        Type::Ipv6 => Value::Ipv6(ipv6(input)),
        Type::Inet => Value::Inet(address(input)),
        Type::Prefix => {
            let address = address(input);
            let bits = if address.is_ipv4() { 33 } else { 129 };
            let len = input.below(bits) as u8;
            let network = wt_catalog::arith::network(address, len).unwrap_or(address);
            Value::Prefix(network, len)
        }
        Type::Mac => {
            let mut mac = [0; 6];
            mac.fill_with(|| input.byte());
            Value::Mac(mac)
        }
        Type::String | Type::Bytes => {
            let len = input.byte();
            Value::bytes(input.bytes(usize::from(len)))
        }
        Type::TimeVal => Value::TimeVal(input.u64()),
        Type::Time => Value::Time(input.u64()),
        Type::Duration => Value::Duration(input.u64() as i64),
    }
}

/// Small numbers are the interesting ones as often as not.
fn small_or_any(input: &mut Input<'_>) -> u32 {
    if input.byte() & 1 == 0 { u32::from(input.byte()) } else { input.u32() }
}

fn address(input: &mut Input<'_>) -> IpAddr {
    if input.byte() & 1 == 0 {
        IpAddr::V4(Ipv4Addr::from(input.u32()))
    } else {
        IpAddr::V6(ipv6(input))
    }
}

fn ipv6(input: &mut Input<'_>) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(input.u64()) << 64 | u128::from(input.u64()))
}

fn implicit(name: &str, input: &mut Input<'_>) -> Value {
    match name {
        "timestamp" => value(input, Type::Time),
        name if name.contains("IP") => value(input, Type::Inet),
        name if name.contains("Port") => value(input, Type::Ushort),
        _ => Value::Uint(u64::from(input.byte())),
    }
}

/// What the handle is made of: a pattern or number as it stands; where a file is named, one that holds the input.
fn handle_argument(function: &Function, input: &mut Input<'_>) -> Value {
    let len = input.byte();
    let content = input.bytes(usize::from(len));
    let names_a_file = ["lpm", "file", "int_to_string"].iter().any(|w| function.symbol.contains(w));
    if !names_a_file {
        return Value::bytes(content);
    }
    let (file, path) = table();
    let written = file.set_len(0).and_then(|()| file.write_all_at(content, 0));
    written.expect("the table is written");
    Value::bytes(path.as_os_str().as_encoded_bytes())
}

/// One file per process, in memory where the system has such a folder, and the path by which this process has it. It has no name, so that nothing is left
/// of it, however the process ends.
fn table() -> &'static (File, PathBuf) {
    static TABLE: OnceLock<(File, PathBuf)> = OnceLock::new();
    TABLE.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let name = folder.join(format!("wiretable-fuzz-{}", std::process::id()));
        let file = File::create(&name).expect("there is room for a table");
        std::fs::remove_file(&name).expect("the table's name can be removed");
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        (file, path)
    })
}

fn result_type(result: ResultType, types: &[Type]) -> Option<Type> {
    match result {
        ResultType::Exact(ty) => Some(ty),
        ResultType::SameAs(i) => types.get(i).copied(),
        ResultType::Promoted | ResultType::WideSum(_) => None,
    }
}

/// A value of a type is of that type's kind and within its range.
fn has_type(value: &Value, ty: Option<Type>, function: &Function) {
    let Some(ty) = ty else { return };
    let fits = match (ty, value) {
        (Type::Bool, Value::Bool(_))
        | (Type::Ullong, Value::Uint(_))
        | (Type::Llong, Value::Int(_))
        | (Type::Float, Value::Float(_))
        | (Type::Ip, Value::Ip(_))
        | (Type::Ipv6, Value::Ipv6(_))
        | (Type::Inet, Value::Inet(_))
        | (Type::Mac, Value::Mac(_))
        | (Type::String | Type::Bytes, Value::Bytes(_))
        | (Type::TimeVal, Value::TimeVal(_))
        | (Type::Time, Value::Time(_))
        | (Type::Duration, Value::Duration(_)) => true,
        (Type::Ushort, Value::Uint(n)) => *n <= u64::from(u16::MAX),
        (Type::Uint, Value::Uint(n)) => *n <= u64::from(u32::MAX),
        (Type::Int, Value::Int(n)) => i32::try_from(*n).is_ok(),
        (Type::Prefix, Value::Prefix(address, len)) => {
            *len <= if address.is_ipv4() { 32 } else { 128 }
        }
        _ => false,
    };
    assert!(fits, "{} gives {value:?}", function.signature());
}
