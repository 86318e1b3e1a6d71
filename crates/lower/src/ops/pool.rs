//! Pooling of codes and of f32.

use std::sync::Arc;

use quantc_kernels::{PoolGeometry, PoolWindow};
use quantc_ops::window::{Window, spatial};
use quantc_runtime::steps::{PoolOp, PoolStep};
use quantc_tensor::DType;
use quantc_tensor::scaled::requantize_multiplier;

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::quantized::{Quantized, is_code, stored_zero_point};
use crate::view::{channels_last, row_major};

/// The input's and the result's spatial sizes of a pooling call; `None` if one has no pixels.
fn sizes(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Option<[[usize; 3]; 2]>, NodeError> {
    let (x, out) = (lw.shape(call.input(0)?), lw.shape(call.out()));
    let rank = x.len().saturating_sub(2);
    if !(1..=3).contains(&rank) || x.contains(&0) || out.contains(&0) {
        return Ok(None);
    }
    Ok(Some([spatial(&x, rank), spatial(&out, rank)]))
}

/// The geometry of a pooling call of regular windows.
fn windows(lw: &Lowering<'_>, call: &Call<'_>, dilated: bool) -> Result<Option<PoolGeometry>, NodeError> {
    let (x, attrs) = (lw.shape(call.input(0)?), &call.attrs);
    let Some([input, output]) = sizes(lw, call)? else { return Ok(None) };
    let kernel: Vec<usize> =
        attrs.ints("kernel_size")?.iter().map(|&k| usize::try_from(k).unwrap_or_default()).collect();
    let kernel = if kernel.len() == 1 { vec![kernel[0]; x.len() - 2] } else { kernel };
    let dilation = if dilated { attrs.ints("dilation")? } else { Vec::new() };
    let Window { kernel, stride, dilation, pad_begin, pad_end } =
        Window::new(&kernel, &attrs.ints("stride")?, &kernel, &attrs.ints("padding")?, &dilation)?;
    let window = PoolWindow { kernel, stride, dilation, pad_begin, pad_end };
    Ok(Some(PoolGeometry::new(x[0], x[1], input, output, &window)))
}

/// The geometry of an adaptive pooling call.
fn adaptive(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Option<PoolGeometry>, NodeError> {
    let x = lw.shape(call.input(0)?);
    Ok(sizes(lw, call)?.map(|[input, output]| PoolGeometry::adaptive(x[0], x[1], input, output)))
}

fn push(lw: &mut Lowering<'_>, call: &Call<'_>, geometry: PoolGeometry, op: PoolOp) -> Result<bool, NodeError> {
    let x = lw.channels_last(call.input(0)?)?.source;
    let order = channels_last(lw.shape(call.out()).len());
    let (out, out_stride) = lw.destination(call.out(), order.clone());
    lw.push_in(call, &order, PoolStep { geometry, op, x, out, out_stride });
    Ok(true)
}

/// `max_pool1d`, `max_pool2d`, `max_pool3d` of codes or f32.
pub(crate) fn max_pool(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let dtype = lw.dtype(call.input(0)?);
    let op = if is_code(dtype) {
        PoolOp::Max { kernel: lw.kernels.qpool }
    } else if dtype == DType::F32 {
        PoolOp::FloatMax { kernel: lw.kernels.pool }
    } else {
        return Ok(false);
    };
    let Some(geometry) = windows(lw, call, true)? else { return Ok(false) };
    push(lw, call, geometry, op)
}

/// `avg_pool1d`, `avg_pool2d`, `avg_pool3d`.
pub(crate) fn avg_pool(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(geometry) = windows(lw, call, false)? else { return Ok(false) };
    let count_include_pad = call.attrs.bool("count_include_pad")?;
    let op = PoolOp::FloatAverage { kernel: lw.kernels.pool, count_include_pad };
    push(lw, call, geometry, op)
}

/// `adaptive_avg_pool1d`, `adaptive_avg_pool2d`, `adaptive_avg_pool3d`.
pub(crate) fn adaptive_avg_pool(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(geometry) = adaptive(lw, call)? else { return Ok(false) };
    let op = PoolOp::FloatAverage { kernel: lw.kernels.pool, count_include_pad: true };
    push(lw, call, geometry, op)
}

/// The average that a quantized call asks for; `None` if no kernel has it.
///
/// Where every window counts the same number of elements the sums stay integers and are requantized in one step; else each
/// average is a real number, which is quantized (docs/numerics.md).
fn average(
    lw: &Lowering<'_>,
    call: &Call<'_>,
    geometry: &PoolGeometry,
    count_include_pad: bool,
) -> Result<Option<PoolOp>, NodeError> {
    let dtype = lw.dtype(call.input(0)?);
    let Some(x_zero_point) = stored_zero_point(&call.attrs, "x_zero_point", dtype)?.filter(|_| is_code(dtype)) else {
        return Ok(None);
    };
    if call.attrs.dtype("dtype")? == DType::F32 {
        return Ok(None);
    }
    let Some(out) = Quantized::of(&call.attrs, (f32::NEG_INFINITY, f32::INFINITY))? else { return Ok(None) };
    let scale = call.attrs.float("x_scale")?;
    let even = (0..3).all(|axis| {
        let mut counts = geometry.along(axis).iter().map(|t| if count_include_pad { t.padded } else { t.count });
        let first = counts.next();
        counts.all(|n| Some(n) == first)
    });
    let multiplier = |n: usize| {
        let scale = scale / n as f32;
        if even { requantize_multiplier(scale, out.scale) } else { scale }
    };
    Ok(Some(PoolOp::Average {
        kernel: lw.kernels.qpool,
        x_zero_point,
        count_include_pad,
        multiplier: (0..=geometry.most_taps()).map(multiplier).collect::<Arc<[f32]>>(),
        rescale: if even { 1.0 } else { 1.0 / out.scale },
        zero_point: out.stored_zero_point,
        clamp: out.clamp,
    }))
}

/// `quantized.avg_pool1d`, `quantized.avg_pool2d`.
pub(crate) fn quantized_avg_pool(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(geometry) = windows(lw, call, false)? else { return Ok(false) };
    let include_pad = call.attrs.bool("count_include_pad")?;
    let Some(op) = average(lw, call, &geometry, include_pad)? else { return Ok(false) };
    push(lw, call, geometry, op)
}

/// `quantized.adaptive_avg_pool1d`, `quantized.adaptive_avg_pool2d`.
pub(crate) fn quantized_adaptive(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(geometry) = adaptive(lw, call)? else { return Ok(false) };
    let Some(op) = average(lw, call, &geometry, true)? else { return Ok(false) };
    push(lw, call, geometry, op)
}

/// `quantized.mean` over neighbouring axes: one window over them for each index of the axes before, the axes after as channels.
pub(crate) fn quantized_mean(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let value = call.input(0)?;
    let x = lw.shape(value);
    let rank = x.len();
    let dims = call.attrs.ints("dims")?;
    let mut dims: Vec<usize> = dims.iter().map(|&d| (if d < 0 { d + rank as i64 } else { d }) as usize).collect();
    dims.sort_unstable();
    if dims.is_empty() {
        dims = (0..rank).collect();
    }
    // The pixels of images lie together with their channels last.
    let order = if rank >= 3 && dims.iter().copied().eq(2..rank) { channels_last(rank) } else { row_major(rank) };
    let Some(first) = order.iter().position(|axis| dims.contains(axis)) else { return Ok(false) };
    let end = first + dims.len();
    let size = |axes: &[usize]| axes.iter().map(|&a| x[a]).product::<usize>();
    if x.contains(&0) || !order.get(first..end).is_some_and(|axes| axes.iter().all(|a| dims.contains(a))) {
        return Ok(false);
    }
    let (outer, window, inner) = (size(&order[..first]), size(&order[first..end]), size(&order[end..]));
    let geometry = PoolGeometry::global(outer, inner, [1, 1, window]);
    let Some(op) = average(lw, call, &geometry, true)? else { return Ok(false) };
    let x = lw.operand(value, Some(&order))?.source;
    // One pixel for each window: its channels are contiguous, with or without the axes of size 1.
    let order = row_major(lw.shape(call.out()).len());
    let out = lw.define(call.out(), order.clone()).slot();
    lw.push_in(call, &order, PoolStep { geometry, op, x, out, out_stride: inner });
    Ok(true)
}
