//! Concatenation: in place where the producer can, else copies or requantizing lookups.

use quantc_ir::{Graph, NodeId};
use quantc_runtime::Slot;
use quantc_runtime::steps::{CopyStep, Loop};

use crate::attrs::AttrView;
use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::view::{channels_last, row_major};

/// Whether each input is stored as the result is. `None` if the call concatenates no channels of images.
pub(crate) fn as_is(graph: &Graph, id: NodeId) -> Option<Vec<bool>> {
    let node = graph.node(id);
    let (op, attrs) = node.call()?;
    let attrs = AttrView::new(op.signature(), attrs);
    let rank = node.types().first()?.shape.rank() as i64;
    if rank < 3 || !matches!(op.name(), "cat" | "quantized.cat") || ![1, 1 - rank].contains(&attrs.int("dim").ok()?) {
        return None;
    }
    same_quantization(&attrs, op.name(), node.inputs().len()).ok()
}

/// Whether each input has the result's scale and zero point.
fn same_quantization(attrs: &AttrView<'_>, op: &str, inputs: usize) -> Result<Vec<bool>, NodeError> {
    if op != "quantized.cat" {
        return Ok(vec![true; inputs]);
    }
    let (scales, zero_points) = (attrs.floats("scales")?, attrs.ints("zero_points")?);
    let (scale, zero_point) = (attrs.float("scale")?, attrs.int("zero_point")?);
    let own = |i: usize| {
        scales.get(i).is_some_and(|s| s.to_bits() == scale.to_bits()) && zero_points.get(i) == Some(&zero_point)
    };
    Ok((0..inputs).map(own).collect())
}

/// `cat` and `quantized.cat`.
pub(crate) fn cat(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (dtype, shape) = lw.ty(call.out());
    let rank = shape.len();
    let dim = call.attrs.int("dim")?;
    let axis = (if dim < 0 { dim + rank as i64 } else { dim }) as usize;
    let same = same_quantization(&call.attrs, call.op.name(), call.node.inputs().len())?;
    if same.contains(&false) || call.inputs().any(|v| lw.dtype(v) != dtype) {
        return Ok(false);
    }
    let (last, plain) = (channels_last(rank), row_major(rank));
    // In place pieces have no memory of their own: the whole they belong to is there already.
    let whole = lw.view(call.out()).cloned();
    let order = match &whole {
        Some(view) => view.order.clone(),
        None if lw.preferences.channels_last(call.out()) => last,
        None if call.inputs().all(|v| lw.order(v).is_some_and(|order| order == last)) => last,
        None => plain,
    };
    let whole = whole.unwrap_or_else(|| lw.define(call.out(), order.clone()));
    let at = order.iter().position(|&a| a == axis).unwrap_or(axis);
    let physical = whole.physical();
    let inner: usize = physical[at + 1..].iter().product::<usize>() * dtype.size();
    let outer: usize = physical[..at].iter().product();
    let row = physical[at] * inner;
    let mut start = 0;
    for value in call.inputs() {
        let length = lw.shape(value)[axis] * inner;
        let in_place = lw.pieces.get(&value).is_some_and(|piece| piece.whole == call.out()) && lw.view(value).is_none();
        if !in_place && length > 0 && outer > 0 {
            let operand = lw.operand(value, Some(&order))?;
            let span = (outer - 1) * row + length;
            let step = CopyStep {
                x: operand.source,
                start: 0,
                loops: vec![Loop { count: outer, from: length as isize, to: row }],
                block: length,
                out: Slot { buffer: whole.buffer, offset: whole.offset + start, len: span },
                out_start: 0,
                fill: None,
            };
            lw.push_in(call, &order, step);
        }
        start += length;
    }
    Ok(true)
}
