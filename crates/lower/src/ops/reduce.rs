//! Reductions of f32 over any axes: the axes are made the last in memory, and each row gives one value.

use quantc_kernels::ReduceOp;
use quantc_runtime::steps::{Pattern, RowOp, RowOperand, RowsStep};
use quantc_tensor::DType;

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::movement::ints_or_input;
use crate::view::row_major;

/// `mean`, `sum`, `amax`, `amin`.
pub(crate) fn reduce(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let value = call.input(0)?;
    let op = match call.op.name() {
        "mean" => ReduceOp::Mean,
        "sum" => ReduceOp::Sum,
        "amax" => ReduceOp::Max,
        "amin" => ReduceOp::Min,
        _ => return Ok(false),
    };
    let (dtype, shape) = lw.ty(value);
    let Some(dims) = ints_or_input(lw, call, "dims", 1)? else { return Ok(false) };
    if dtype != DType::F32 || shape.contains(&0) {
        return Ok(false);
    }
    let rank = shape.len();
    let mut gone: Vec<usize> = dims.iter().map(|&d| (if d < 0 { d + rank as i64 } else { d }) as usize).collect();
    if gone.is_empty() {
        gone = (0..rank).collect();
    }
    gone.sort_unstable();
    let order: Vec<usize> = (0..rank).filter(|axis| !gone.contains(axis)).chain(gone.iter().copied()).collect();
    let columns = gone.iter().map(|&axis| shape[axis]).product();
    let rows = shape.iter().product::<usize>() / columns;
    let x = lw.operand(value, Some(&order))?.source;
    let out_order = row_major(lw.shape(call.out()).len());
    let out = lw.define(call.out(), out_order.clone()).slot();
    let a = RowOperand { source: x, pattern: Pattern { stride: columns, repeat: 1, splat: false } };
    let op = RowOp::Reduce { kernel: lw.kernels.float, op };
    lw.push_in(call, &out_order, RowsStep { op, rows, columns, a, b: None, out, out_stride: 1 });
    Ok(true)
}
