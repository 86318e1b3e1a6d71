//! Dequantizing as late as possible: where a q/dq graph moves dequantized values about, it moves the codes instead.
//!
//! Three exact steps, all by the numeric contract (docs/numerics.md), on what the rewrite rules leave because several calls, or a
//! value with other users, lie between the two ends:
//!
//! - movement acts on the integers of a dequantized value, so it comes before the dequantization;
//! - quantizing a dequantized value is `quantized.requantize`;
//! - a product of a dequantized value and a constant dequantized weight, used as reals only, is the quantized product with an f32
//!   result.

use std::collections::HashSet;

use quantc_ir::{Graph, IrError, NodeId, ValueRef};
use quantc_ops::{Attr, Attrs, OpClass, OpRef};
use quantc_tensor::{DType, Tensor};

use crate::attrs::AttrView;

/// Movement that the contract defines on the integers.
const MOVEMENT: &[&str] = &[
    "reshape",
    "flatten",
    "flatten2d",
    "squeeze",
    "unsqueeze",
    "permute",
    "slice",
    "gather",
    "split",
    "expand",
    "pad",
    "cat",
];

/// The quantized form of a product, and its weight's axis of output channels.
const PRODUCTS: &[(&str, &str)] =
    &[("conv1d", "quantized.conv1d"), ("conv2d", "quantized.conv2d"), ("linear", "quantized.linear")];

/// The call that gives a value, its operator and attributes.
fn call_of(graph: &Graph, value: ValueRef) -> Option<(OpRef, &Attrs)> {
    graph.node(value.node).call()
}

/// The codes behind a dequantized value of u8 or i8, and the parameters.
fn codes(graph: &Graph, value: ValueRef) -> Option<(ValueRef, &Attrs)> {
    let (op, attrs) = call_of(graph, value)?;
    let source = graph.node(value.node).inputs().first().copied().flatten()?;
    let is_code = matches!(graph.ty(source).dtype, DType::U8 | DType::I8);
    (op.name() == "dequantize_per_tensor" && is_code).then_some((source, attrs))
}

/// Whether every user of a value sees the real tensor it stands for, whatever its form.
fn used_as_reals(graph: &Graph, value: ValueRef) -> bool {
    let (mut seen, mut waiting) = (HashSet::from([value]), vec![value]);
    while let Some(value) = waiting.pop() {
        for (user, _) in graph.users(value) {
            let node = graph.node(user);
            let Some((op, _)) = node.call() else {
                // Only outputs use values and are no calls.
                continue;
            };
            let hands_on = match op.class() {
                OpClass::Movement => true,
                OpClass::Unary => matches!(op.name(), "relu" | "relu6" | "clamp" | "identity" | "dropout"),
                OpClass::Elementwise if op.name() != "mul" => false,
                _ => return false,
            };
            let outputs = (0..node.types().len() as u32).map(|output| ValueRef { node: user, output });
            waiting.extend(outputs.filter(|&v| hands_on && seen.insert(v)));
        }
    }
    true
}

/// Applies the steps to every call, in order.
///
/// # Errors
/// If a call that is made does not type: the graph contradicts itself.
pub(crate) fn sink_dequantize(graph: &mut Graph) -> Result<(), IrError> {
    let order: Vec<NodeId> = graph.calls().collect();
    for id in order {
        let Some((op, attrs)) = graph.node(id).call().map(|(op, attrs)| (op, attrs.clone())) else { continue };
        if MOVEMENT.contains(&op.name()) {
            movement(graph, id, op, attrs)?;
        } else if op.name() == "quantize_per_tensor" {
            requantize(graph, id, attrs)?;
        } else if let Some((_, quantized)) = PRODUCTS.iter().find(|p| p.0 == op.name()) {
            product(graph, id, attrs, quantized)?;
        }
    }
    graph.eliminate_dead();
    Ok(())
}

/// Adds a call in the place of `id`, with its origins and a name like its.
fn insert(
    graph: &mut Graph,
    id: NodeId,
    op: &str,
    inputs: &[Option<ValueRef>],
    attrs: Attrs,
) -> Result<Option<NodeId>, IrError> {
    let Some(op) = quantc_ops::lookup(op) else { return Ok(None) };
    let (name, origins) = (graph.fresh_name(graph.node(id).name()), graph.node(id).origins().to_vec());
    graph.call_before(Some(id), &name, op, inputs, attrs, &origins).map(Some)
}

/// `movement(dequantize(q))` becomes `dequantize(movement(q))`.
fn movement(graph: &mut Graph, id: NodeId, op: OpRef, mut attrs: Attrs) -> Result<(), IrError> {
    let mut inputs: Vec<Option<ValueRef>> = graph.node(id).inputs().to_vec();
    let mut params: Option<(Attrs, DType)> = None;
    // Of a pad the value is an input too; it is looked at below.
    let data = if op.name() == "cat" { inputs.len() } else { 1 };
    for input in inputs.iter_mut().take(data) {
        let Some((source, dequantize)) = input.and_then(|v| codes(graph, v)) else { return Ok(()) };
        let these = (dequantize.clone(), graph.ty(source).dtype);
        if params.get_or_insert_with(|| these.clone()) != &these {
            return Ok(());
        }
        *input = Some(source);
    }
    let Some((dequantize, dtype)) = params else { return Ok(()) };
    let Some(sig) = quantc_ops::lookup("dequantize_per_tensor").map(OpRef::signature) else { return Ok(()) };
    if op.name() == "pad" {
        // Zeros of the real tensor are zero points among the codes.
        let Ok(zero_point) = AttrView::new(sig, &dequantize).int("zero_point") else { return Ok(()) };
        let zero = match inputs.get(2).copied().flatten() {
            Some(value) => graph.constant(value).and_then(Tensor::as_scalar_f32) == Some(0.0),
            None => AttrView::new(op.signature(), &attrs).float("value").is_ok_and(|v| v == 0.0),
        };
        let (lo, hi) = dtype.quantized_range().unwrap_or((0, 0));
        if !zero || !(i64::from(lo)..=i64::from(hi)).contains(&zero_point) {
            return Ok(());
        }
        inputs.truncate(2);
        attrs.set("value", zero_point as f32);
    }
    let Some(moved) = insert(graph, id, op.name(), &inputs, attrs)? else { return Ok(()) };
    for output in 0..graph.node(id).types().len() as u32 {
        let real =
            insert(graph, id, "dequantize_per_tensor", &[Some(ValueRef { node: moved, output })], dequantize.clone())?;
        if let Some(real) = real {
            graph.replace_uses(ValueRef { node: id, output }, real.into(), &[]);
        }
    }
    Ok(())
}

/// `quantize(dequantize(q))` becomes `quantized.requantize(q)`.
fn requantize(graph: &mut Graph, id: NodeId, mut attrs: Attrs) -> Result<(), IrError> {
    let Some((source, dequantize)) = graph.node(id).inputs().first().copied().flatten().and_then(|v| codes(graph, v))
    else {
        return Ok(());
    };
    for (from, to) in [("scale", "x_scale"), ("zero_point", "x_zero_point")] {
        if let Some(value) = dequantize.get(from) {
            attrs.set(to, value.clone());
        }
    }
    if let Some(new) = insert(graph, id, "quantized.requantize", &[Some(source)], attrs)? {
        graph.replace_uses(id.into(), new.into(), &[]);
    }
    Ok(())
}

/// A constant i8 weight quantized with zero points of 0 along axis 0, and its scales.
fn weight(graph: &mut Graph, value: ValueRef) -> Option<(ValueRef, ValueRef)> {
    let (op, attrs) = call_of(graph, value)?;
    let inputs = graph.node(value.node).inputs().to_vec();
    let given = |i: usize| inputs.get(i).copied().flatten();
    let w = given(0)?;
    let view = AttrView::new(op.signature(), attrs);
    let i8_constant = graph.constant(w).is_some_and(|t| t.dtype() == DType::I8);
    match op.name() {
        "dequantize_per_channel" if i8_constant && view.int("axis").ok()? == 0 => {
            let zero = |v: ValueRef| graph.constant(v).is_some_and(|t| t.to_i64_vec().iter().all(|&z| z == 0));
            let scales = given(1).filter(|s| graph.constant(*s).is_some())?;
            given(2).is_none_or(zero).then_some((w, scales))
        }
        "dequantize_per_tensor" if i8_constant && view.int("zero_point").ok()? == 0 => {
            let scale = Tensor::vector(vec![view.float("scale").ok()?]);
            let name = graph.fresh_param_name(&format!("{}.scale", graph.node(value.node).name()));
            Some((w, graph.param(&name, scale).into()))
        }
        _ => None,
    }
}

/// `product(dequantize(x), dequantize(w), bias)` that is used as reals becomes the quantized product with an f32 result.
fn product(graph: &mut Graph, id: NodeId, mut attrs: Attrs, quantized: &str) -> Result<(), IrError> {
    let inputs = graph.node(id).inputs().to_vec();
    let given = |i: usize| inputs.get(i).copied().flatten();
    let (Some(x), Some(w), bias) = (given(0), given(1), given(2)) else { return Ok(()) };
    let Some((x, dequantize)) = codes(graph, x) else { return Ok(()) };
    let dequantize = dequantize.clone();
    if !used_as_reals(graph, id.into()) {
        return Ok(());
    }
    let Some((w, scales)) = weight(graph, w) else { return Ok(()) };
    attrs.set("dtype", Attr::DType(DType::F32));
    for (from, to) in [("scale", "x_scale"), ("zero_point", "x_zero_point")] {
        if let Some(value) = dequantize.get(from) {
            attrs.set(to, value.clone());
        }
    }
    if let Some(new) = insert(graph, id, quantized, &[Some(x), Some(w), Some(scales), bias], attrs)? {
        graph.replace_uses(id.into(), new.into(), &[]);
    }
    Ok(())
}
