//! Concatenation: in place where the producer can, else copies or requantizing lookups.

use quantc_ir::{Graph, NodeId};
use quantc_runtime::Slot;
use quantc_runtime::steps::{CopyStep, Loop, Pattern, RowOp, RowOperand, RowsStep};
use quantc_tensor::Value;

use crate::attrs::AttrView;
use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::quantized::{all_codes, is_code};
use crate::view::{channels_last, row_major};

/// The axis of a concatenation, and whether each input's codes are stored as the result is. `None` if the call is none.
pub(crate) fn as_is(graph: &Graph, id: NodeId) -> Option<(usize, Vec<bool>)> {
    let node = graph.node(id);
    let (op, attrs) = node.call().filter(|(op, _)| matches!(op.name(), "cat" | "quantized.cat"))?;
    let dim = AttrView::new(op.signature(), attrs).int("dim").ok()?;
    let tables = tables(graph, id).ok()?;
    Some((axis(dim, node.types().first()?.shape.rank()), tables.iter().map(Option::is_none).collect()))
}

/// The axis that `dim` names, which may count from the end.
fn axis(dim: i64, rank: usize) -> usize {
    (if dim < 0 { dim + rank as i64 } else { dim }) as usize
}

/// For each input the result's code for each of its codes; `None` where they are the same, as in every plain `cat`.
fn tables(graph: &Graph, id: NodeId) -> Result<Vec<Option<Box<[u8; 256]>>>, NodeError> {
    let node = graph.node(id);
    let Some((op, attrs)) = node.call().filter(|(op, _)| op.name() == "quantized.cat") else {
        return Ok(vec![None; node.inputs().len()]);
    };
    // The operator itself says what becomes of each code, given all of them.
    let inputs: Vec<Option<Value>> =
        node.inputs().iter().flatten().map(|v| Some(Value::Dense(all_codes(graph.ty(*v).dtype)))).collect();
    let results = op.eval(&inputs, &attrs.clone().with("dim", 0i64))?;
    let result =
        results.first().map(Value::to_tensor).ok_or_else(|| NodeError::Other("it gives no value".to_owned()))?;
    let mut stored = vec![0; result.byte_len()];
    if result.dtype().size() != 1 {
        return Err(NodeError::Other(format!("it gives {}", result.dtype())));
    }
    quantc_runtime::store(&result, &mut stored).map_err(|e| NodeError::Other(e.to_string()))?;
    let table = |codes: &[u8; 256]| (0..=255u8).zip(codes).any(|(a, b)| a != *b).then(|| Box::new(*codes));
    Ok(stored.as_chunks::<256>().0.iter().map(table).collect())
}

/// `cat` and `quantized.cat`.
pub(crate) fn cat(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (dtype, shape) = lw.ty(call.out());
    let rank = shape.len();
    let axis = axis(call.attrs.int("dim")?, rank);
    let codes = is_code(dtype) && call.inputs().all(|v| is_code(lw.dtype(v)));
    if !codes && (call.op.name() != "cat" || call.inputs().any(|v| lw.dtype(v) != dtype)) {
        return Ok(false);
    }
    let tables = tables(lw.graph, call.id)?;
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
    for (value, table) in call.inputs().zip(tables) {
        let length = lw.shape(value)[axis] * inner;
        if !lw.is_written_in(value, call.out()) && length > 0 && outer > 0 {
            let operand = lw.operand(value, Some(&order))?;
            let span = (outer - 1) * row + length;
            let out = Slot { buffer: whole.buffer, offset: whole.offset + start, len: span };
            if let Some(table) = table {
                let pattern = Pattern { stride: length, repeat: 1, splat: false };
                let a = RowOperand { source: operand.source, pattern };
                let op = RowOp::Lookup { kernel: lw.kernels.elementwise, table };
                let step = RowsStep { op, rows: outer, columns: length, a, b: None, out, out_stride: row };
                lw.push_in(call, &order, step);
            } else {
                let loops = vec![Loop { count: outer, from: length as isize, to: row }];
                let x = operand.source;
                let step = CopyStep { x, start: 0, loops, block: length, out, out_start: 0, fill: None };
                lw.push_in(call, &order, step);
            }
        }
        start += length;
    }
    Ok(true)
}
