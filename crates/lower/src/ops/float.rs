//! What stays float: convolution, linear layers, softmax, layer normalisation.

use quantc_ir::ValueRef;
use quantc_ops::float::conv::{Channels, pack_weights_nhwc};
use quantc_ops::window::{Window, spatial};
use quantc_runtime::steps::{
    CastStep, FloatConvStep, GatherStep, MatrixOperand, Pattern, RowOp, RowOperand, RowsStep, SgemmStep,
};
use quantc_runtime::{Constant, Source};
use quantc_tensor::DType;

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::view::{View, channels_last, row_major};

fn all_f32(lw: &Lowering<'_>, call: &Call<'_>) -> bool {
    call.inputs().all(|v| lw.dtype(v) == DType::F32)
}

/// The bias operand, if there is one.
fn bias(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<Option<Source>, NodeError> {
    call.opt(2).map(|b| lw.row_major(b).map(|b| b.source)).transpose()
}

/// `conv1d`, `conv2d`, `conv3d` with constant weights.
pub(crate) fn conv(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    let Some(w) = lw.constant(weight).filter(|_| all_f32(lw, call)) else { return Ok(false) };
    let (shape, out) = (lw.shape(x), lw.shape(call.out()));
    let kernel = &w.shape()[2..];
    let (stride, padding, dilation) =
        (call.attrs.ints("stride")?, call.attrs.ints("padding")?, call.attrs.ints("dilation")?);
    let window = Window::new(kernel, &stride, &vec![1; kernel.len()], &padding, &dilation)?;
    let grid = window.over(spatial(&shape, kernel.len()), false)?;
    let groups = usize::try_from(call.attrs.int("groups")?).unwrap_or(1);
    let channels = Channels { input: shape[1], output: out[1], groups };
    let taps = window.taps();
    let pack = || -> Result<Constant, NodeError> {
        let packed = pack_weights_nhwc(w.slice()?, channels, taps);
        Ok(Constant::new(bytemuck::cast_slice(&packed)))
    };
    let weights = Source::Const(match lw.param(weight) {
        Some(param) => lw.cache.constant(param, &format!("conv groups={groups}"), pack)?,
        None => pack()?,
    });
    let bias = bias(lw, call)?;
    let x = lw.channels_last(x)?.source;
    let order = channels_last(out.len());
    let slot = lw.define(call.out(), order.clone()).slot();
    lw.push_in(call, &order, FloatConvStep { n: shape[0], channels, grid, weights, bias, x, out: slot });
    Ok(true)
}

/// `linear`.
pub(crate) fn linear(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    if !all_f32(lw, call) {
        return Ok(false);
    }
    let (shape, w) = (lw.shape(x), lw.shape(weight));
    let (n, k) = (w[0], w[1]);
    let m: usize = shape[..shape.len() - 1].iter().product();
    // The weights of one row are read once: column by column they lie in the order of the sums.
    let by_column = m == 1 && lw.constant(weight).is_some();
    let weight_order: &[usize] = if by_column { &[1, 0] } else { &[0, 1] };
    let b = lw.operand(weight, Some(weight_order))?.source;
    let (row_stride, col_stride) = if by_column { (n, 1) } else { (1, k) };
    let bias = bias(lw, call)?;
    let a = lw.row_major(x)?.source;
    let order = row_major(shape.len());
    let out = lw.define(call.out(), order.clone()).slot();
    let step = SgemmStep {
        m,
        n,
        k,
        a: MatrixOperand { source: a, row_stride: k, col_stride: 1 },
        b: MatrixOperand { source: b, row_stride, col_stride },
        batches: vec![[0; 3]],
        bias,
        out,
        out_stride: n,
    };
    lw.push_in(call, &order, step);
    Ok(true)
}

/// An operator on the rows along one axis: the axis is made the last in memory.
fn along_last(lw: &mut Lowering<'_>, call: &Call<'_>, axis: usize, op: RowOp) -> Result<(), NodeError> {
    let x = call.input(0)?;
    let shape = lw.shape(x);
    let rank = shape.len();
    let order = match lw.order(x) {
        Some(order) if order.last() == Some(&axis) => order,
        _ => (0..rank).filter(|&a| a != axis).chain([axis]).collect(),
    };
    let a = lw.operand(x, Some(&order))?;
    let columns = shape[axis];
    let rows = shape.iter().product::<usize>().checked_div(columns).unwrap_or(0);
    let out = lw.define(call.out(), order.clone()).slot();
    let pattern = Pattern { stride: columns, repeat: 1, splat: false };
    let a = RowOperand { source: a.source, pattern };
    lw.push_in(call, &order, RowsStep { op, rows, columns, a, b: None, out, out_stride: columns });
    Ok(())
}

fn axis_of(call: &Call<'_>, name: &str, rank: usize) -> Result<Option<usize>, NodeError> {
    let dim = call.attrs.int(name)?;
    let axis = if dim < 0 { dim + rank as i64 } else { dim };
    Ok(usize::try_from(axis).ok().filter(|&a| a < rank))
}

/// `softmax`.
pub(crate) fn softmax(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let shape = lw.shape(call.input(0)?);
    let Some(axis) = axis_of(call, "dim", shape.len())?.filter(|_| all_f32(lw, call)) else { return Ok(false) };
    along_last(lw, call, axis, RowOp::Softmax { kernel: lw.kernels.float })?;
    Ok(true)
}

/// `layer_norm` over the last axis.
pub(crate) fn layer_norm(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let shape = lw.shape(call.input(0)?);
    let Some(axis) = axis_of(call, "axis", shape.len())?.filter(|_| all_f32(lw, call)) else { return Ok(false) };
    if axis + 1 != shape.len() {
        return Ok(false);
    }
    let mut parameter = |i: usize| call.opt(i).map(|v| lw.row_major(v).map(|p| p.source)).transpose();
    let (gamma, beta) = (parameter(1)?, parameter(2)?);
    let eps = call.attrs.float("eps")?;
    along_last(lw, call, axis, RowOp::LayerNorm { kernel: lw.kernels.float, gamma, beta, eps })?;
    Ok(true)
}

/// `gather` along the first axis.
pub(crate) fn gather(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (table, indices) = (call.input(0)?, call.input(1)?);
    let (dtype, shape) = lw.ty(table);
    let index_dtype = lw.dtype(indices);
    let first = axis_of(call, "dim", shape.len())? == Some(0);
    if !first || !matches!(index_dtype, DType::I64 | DType::I32) {
        return Ok(false);
    }
    let (table, indices) = (lw.row_major(table)?.source, lw.row_major(indices)?.source);
    let order = row_major(lw.shape(call.out()).len());
    let out = lw.define(call.out(), order.clone()).slot();
    let row = shape[1..].iter().product::<usize>() * dtype.size();
    let node = call.node.name().to_owned();
    lw.push_in(call, &order, GatherStep { node, rows: shape[0], row, table, indices, index_dtype, out });
    Ok(true)
}

/// `to`: the same memory if the type is the same.
pub(crate) fn cast(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x: ValueRef = call.input(0)?;
    let (from, to) = (lw.dtype(x), lw.dtype(call.out()));
    let Some(view) = lw.view(x).cloned() else { return Ok(false) };
    if from == to {
        lw.alias(call.out(), view);
        return Ok(true);
    }
    let bytes = lw.shape(call.out()).iter().product::<usize>() * to.size();
    let out = View { buffer: lw.buffer(bytes), offset: 0, dtype: to, ..view.clone() };
    let Some(step) = CastStep::new(from, to, Source::Arena(view.slot()), out.slot()) else { return Ok(false) };
    lw.alias(call.out(), out);
    lw.push_in(call, &view.order, step);
    Ok(true)
}
