//! Recurrent layers, dynamically quantized. The states that are quantized inside one have no node of their own, so conversion writes the
//! quantized operator itself, not its parts.

use std::ops::Range;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{OpRef, lookup};
use quantc_tensor::{DType, Tensor};

use crate::error::QuantError;
use crate::group::Group;
use crate::qconfig::{ObserverSpec, QConfig};

/// The quantized form of a recurrent operator, which is one with a weight of its state.
fn quantized_form(op: OpRef) -> Option<OpRef> {
    op.signature().inputs.iter().any(|i| i.name == "r").then(|| lookup(&format!("quantized.{op}_dynamic")))?
}

/// Whether a group is one recurrent layer.
pub(crate) fn is_recurrent(graph: &Graph, group: &Group) -> bool {
    graph.node(group.root).call().is_some_and(|(op, _)| quantized_form(op).is_some())
}

/// Replaces a recurrent layer by its dynamically quantized form (torch.ao.nn.quantized.dynamic.LSTM, GRU, RNNCell, ...): integer weights,
/// observed direction by direction.
///
/// # Errors
/// If a weight cannot be quantized (NaN, infinite).
pub(crate) fn quantize_recurrent(graph: &mut Graph, group: &Group, qconfig: &QConfig) -> Result<(), QuantError> {
    let old = group.root;
    let Some((op, attrs)) = graph.node(old).call().map(|(op, attrs)| (op, attrs.clone())) else { return Ok(()) };
    let Some(form) = quantized_form(op) else { return Ok(()) };
    let given = |graph: &Graph, name: &str| {
        let at = op.signature().inputs.iter().position(|i| i.name == name)?;
        graph.node(old).inputs().get(at).copied().flatten()
    };
    let (Some(w), Some(r)) = (given(graph, "w"), given(graph, "r")) else { return Ok(()) };
    let (w, w_scale) = quantize_gates(graph, w, &qconfig.weight)?;
    let (r, r_scale) = quantize_gates(graph, r, &qconfig.weight)?;
    let inputs: Vec<Option<ValueRef>> = form
        .signature()
        .inputs
        .iter()
        .map(|spec| match spec.name {
            "w" => Some(w),
            "r" => Some(r),
            "w_scale" => Some(w_scale),
            "r_scale" => Some(r_scale),
            other => given(graph, other),
        })
        .collect();
    let mut attrs = attrs;
    if qconfig.activation.reduce_range {
        attrs.set("reduce_range", true);
    }
    replace(graph, old, form, &inputs, attrs)
}

/// Puts another call in the place of one, under its name.
fn replace(
    graph: &mut Graph,
    old: NodeId,
    op: OpRef,
    inputs: &[Option<ValueRef>],
    attrs: quantc_ops::Attrs,
) -> Result<(), QuantError> {
    let (name, origins) = (graph.node(old).name().to_owned(), graph.node(old).origins().to_vec());
    let aside = graph.fresh_name(&format!("{name}.float"));
    graph.rename(old, &aside);
    let new = graph.call_before(Some(old), &name, op, inputs, attrs, &origins)?;
    for output in 0..graph.node(old).types().len() as u32 {
        graph.replace_uses(ValueRef { node: old, output }, ValueRef { node: new, output }, &[]);
    }
    graph.remove(old)?;
    Ok(())
}

/// The integers of a weight `[directions, rows, depth]` and their scales, `[directions, rows]` or `[directions, 1]`: each direction is
/// observed as a weight of its own.
fn quantize_gates(
    graph: &mut Graph,
    value: ValueRef,
    config: &ObserverSpec,
) -> Result<(ValueRef, ValueRef), QuantError> {
    let (Some(name), Some(weight)) = (graph.node(value.node).param().cloned(), graph.constant(value).cloned()) else {
        return Err(QuantError::Weight {
            name: graph.node(value.node).name().to_owned(),
            message: "it is not a constant".to_owned(),
        });
    };
    let fail = |message: String| QuantError::Weight { name: name.to_string(), message };
    let [dirs, rows, depth] = *weight.shape() else {
        return Err(fail(format!("it is {}, it must be [directions, rows, depth]", weight.ty())));
    };
    let data: &[f32] = weight.slice().map_err(|e| fail(e.to_string()))?;
    if let Some(at) = data.iter().position(|v| !v.is_finite()) {
        return Err(fail(format!("element {at} is {}", data[at])));
    }
    let (mut ints, mut scales) = (Vec::with_capacity(data.len()), Vec::new());
    for d in 0..dirs {
        let range: Range<usize> = d * rows * depth..(d + 1) * rows * depth;
        let slice = &data[range];
        let mut observer = config.build().map_err(|e| fail(e.to_string()))?;
        observer.observe(slice, &[rows, depth]).map_err(|e| fail(e.to_string()))?;
        let q = observer.calculate_qparams().map_err(|e| fail(e.to_string()))?.qparams;
        let per_row = q.scale.len() > 1;
        ints.extend(slice.iter().enumerate().map(|(i, &v)| q.quantize(v, if per_row { i / depth.max(1) } else { 0 })));
        scales.extend(q.scale);
    }
    let ints = Tensor::from_vec(weight.shape(), ints).map_err(|e| fail(e.to_string()))?.cast(DType::I8);
    let per_direction = scales.len().checked_div(dirs).unwrap_or(1);
    let scales = Tensor::from_vec(&[dirs, per_direction], scales).map_err(|e| fail(e.to_string()))?;
    let int_name = graph.fresh_param_name(&format!("{name}.int_repr"));
    let ints = graph.param(&int_name, ints);
    let scale_name = graph.fresh_param_name(&format!("{name}.scale"));
    let scales = graph.param(&scale_name, scales);
    Ok((ints.into(), scales.into()))
}
