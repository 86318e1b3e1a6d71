//! Which integers a quantized value can hold: what the calls that give it tell.

use quantc_ops::quantize::range_of;
use quantc_ops::{Attr, OpClass};

use crate::matcher::Host;

/// Calls that are looked through: observers stand close to each other, and where classes of an e-graph form circles the search ends.
const DEPTH: usize = 4;

/// Whether every integer of a value surely lies in `low..=high`: by its element type, because a call that gives it clamps to its
/// `quant_min` and `quant_max`, or because a call that gives it only moves elements that lie there.
pub(crate) fn in_range<H: Host>(host: &H, value: H::Value, low: i64, high: i64) -> bool {
    search(host, value, low, high, DEPTH)
}

fn search<H: Host>(host: &H, value: H::Value, low: i64, high: i64, depth: usize) -> bool {
    let inside = |(lo, hi): (i32, i32)| low <= i64::from(lo) && i64::from(hi) <= high;
    if host.ty(value).and_then(|ty| ty.dtype.quantized_range()).is_some_and(inside) {
        return true;
    }
    let definitions = host.definitions(value);
    // Before any call is looked through: mostly that is the answer.
    if definitions.iter().any(|node| clamped_to(host, *node).is_some_and(inside)) {
        return true;
    }
    if depth == 0 {
        return false;
    }
    // Elements may come of every input of the type; indices are of another.
    let dtype = |value| host.ty(value).map(|ty| ty.dtype);
    let other_type = |v: H::Value| dtype(v).zip(dtype(value)).is_some_and(|(input, result)| input != result);
    let input_is = |v: H::Value| other_type(v) || search(host, v, low, high, depth - 1);
    let moves = |node| {
        moves_elements(host, node) && (0..host.input_count(node)).all(|i| host.input(node, i).is_none_or(input_is))
    };
    definitions.into_iter().any(moves)
        || host.projections(value).into_iter().any(|(_, whole)| host.definitions(whole).into_iter().any(moves))
}

/// The range that a call which quantizes its result clamps it to.
fn clamped_to<H: Host>(host: &H, node: H::Node) -> Option<(i32, i32)> {
    let (op, attrs) = host.call(node);
    let sig = op.signature();
    if sig.name != "quantize_per_tensor"
        && !(sig.name.starts_with("quantized.") && sig.attr_name("quant_min").is_some())
    {
        return None;
    }
    let bound = |name: &str| match sig.attr(attrs, name) {
        Some(Attr::Int(bound)) => Some(bound),
        _ => None,
    };
    let Some(Attr::DType(dtype)) = sig.attr(attrs, "dtype") else { return None };
    // A result in f32 has no range.
    let range = range_of(dtype, bound("quant_min"), bound("quant_max")).ok()?;
    Some((range.qmin, range.qmax))
}

/// Whether every element of a call's result is one of its inputs'.
fn moves_elements<H: Host>(host: &H, node: H::Node) -> bool {
    let (op, attrs) = host.call(node);
    let sig = op.signature();
    let list = |name: &str| match sig.attr(attrs, name) {
        Some(Attr::Ints(list)) => list,
        _ => Vec::new(),
    };
    match sig.name {
        // A window that lies in the padding has the lowest integer of the type. None does if its elements are adjacent and the padding
        // is smaller than it.
        "max_pool1d" | "max_pool2d" | "max_pool3d" => {
            let (kernel, padding) = (list("kernel_size"), list("padding"));
            let smallest = kernel.iter().min();
            list("dilation").iter().all(|d| *d == 1) && padding.iter().all(|p| smallest.is_some_and(|k| p < k))
        }
        // What is filled in comes from elsewhere.
        "pad" => false,
        "interpolate" => sig.attr(attrs, "mode") == Some(Attr::from("nearest")),
        _ => sig.class == OpClass::Movement,
    }
}
