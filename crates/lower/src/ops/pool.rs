//! Pooling of codes.

use std::sync::Arc;

use quantc_kernels::PoolGeometry;
use quantc_ops::window::Window;
use quantc_runtime::steps::{PoolOp, QPoolStep};
use quantc_tensor::DType;
use quantc_tensor::scaled::requantize_multiplier;

use crate::attrs::AttrView;
use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::conv::{Window2, image};
use crate::ops::quantized::{Quantized, is_code, stored_zero_point};
use crate::view::{channels_last, row_major};

/// The geometry of a pooling call from its input's and result's sizes; `None` beyond two spatial dimensions.
pub(crate) fn geometry(
    attrs: &AttrView<'_>,
    x: &[usize],
    out: &[usize],
    dilated: bool,
) -> Result<Option<PoolGeometry>, NodeError> {
    let (Some([n, c, h, w]), Some([_, _, oh, ow])) = (image(x), image(out)) else { return Ok(None) };
    let spatial = x.len() - 2;
    let kernel: Vec<usize> =
        attrs.ints("kernel_size")?.iter().map(|&k| usize::try_from(k).unwrap_or_default()).collect();
    let kernel = if kernel.len() == 1 { vec![kernel[0]; spatial] } else { kernel };
    let dilation = if dilated { attrs.ints("dilation")? } else { Vec::new() };
    let window = Window::new(&kernel, &attrs.ints("stride")?, &kernel, &attrs.ints("padding")?, &dilation)?;
    let Window2 { kernel, stride, dilation, pad } = Window2::from(&window);
    Ok(Some(PoolGeometry { n, h, w, c, oh, ow, kernel, stride, dilation, pad }))
}

fn push(lw: &mut Lowering<'_>, call: &Call<'_>, geometry: PoolGeometry, op: PoolOp) -> Result<bool, NodeError> {
    let x = lw.channels_last(call.input(0)?)?.source;
    let order = channels_last(lw.shape(call.out()).len());
    let (out, out_stride) = lw.destination(call.out());
    lw.push_in(call, &order, QPoolStep { kernel: lw.kernels.qpool, geometry, op, x, out, out_stride });
    Ok(true)
}

/// `max_pool1d`, `max_pool2d` of codes or f32.
pub(crate) fn max_pool(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = call.input(0)?;
    let Some(geometry) = geometry(&call.attrs, &lw.shape(x), &lw.shape(call.out()), true)? else { return Ok(false) };
    if is_code(lw.dtype(x)) {
        return push(lw, call, geometry, PoolOp::Max);
    }
    Ok(false)
}

/// The parameters of an average over windows that all count the same number of elements.
fn average(lw: &Lowering<'_>, call: &Call<'_>, count: usize, area: usize) -> Result<Option<PoolOp>, NodeError> {
    let dtype = lw.dtype(call.input(0)?);
    let Some(x_zero_point) = stored_zero_point(&call.attrs, "x_zero_point", dtype)?.filter(|_| is_code(dtype)) else {
        return Ok(None);
    };
    if call.attrs.dtype("dtype")? == DType::F32 {
        return Ok(None);
    }
    let Some(out) = Quantized::of(&call.attrs, (f32::NEG_INFINITY, f32::INFINITY))? else { return Ok(None) };
    let multiplier = requantize_multiplier(call.attrs.float("x_scale")? / count as f32, out.scale);
    Ok(Some(PoolOp::Average {
        x_zero_point,
        count_include_pad: true,
        multiplier: Arc::from(vec![multiplier; area + 1]),
        zero_point: out.stored_zero_point,
        clamp: out.clamp,
    }))
}

/// `quantized.avg_pool1d`, `quantized.avg_pool2d` where every window counts the same number of elements.
pub(crate) fn quantized_avg_pool(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = call.input(0)?;
    let Some(geometry) = geometry(&call.attrs, &lw.shape(x), &lw.shape(call.out()), false)? else { return Ok(false) };
    let include_pad = call.attrs.bool("count_include_pad")?;
    let counted = |axis: usize, out: usize| {
        let taps = (0..out).map(|o| if axis == 0 { geometry.vertical(o) } else { geometry.horizontal(o) });
        let mut counts = taps.map(|t| if include_pad { t.padded } else { t.count });
        let first = counts.next().unwrap_or(0);
        counts.all(|n| n == first).then_some(first)
    };
    let (Some(vertical), Some(horizontal)) = (counted(0, geometry.oh), counted(1, geometry.ow)) else {
        return Ok(false);
    };
    let area = geometry.kernel[0] * geometry.kernel[1];
    let Some(op) = average(lw, call, vertical * horizontal, area)? else { return Ok(false) };
    push(lw, call, geometry, op)
}

/// `quantized.adaptive_avg_pool1d`, `quantized.adaptive_avg_pool2d` to one pixel, or to windows that divide the input evenly.
pub(crate) fn quantized_adaptive(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, out) = (lw.shape(call.input(0)?), lw.shape(call.out()));
    let (Some([n, c, h, w]), Some([_, _, oh, ow])) = (image(&x), image(&out)) else { return Ok(false) };
    if oh == 0 || ow == 0 || h % oh != 0 || w % ow != 0 || h == 0 || w == 0 {
        return Ok(false);
    }
    let kernel = [h / oh, w / ow];
    let geometry = PoolGeometry { n, h, w, c, oh, ow, kernel, stride: kernel, dilation: [1, 1], pad: [0; 4] };
    let area = kernel[0] * kernel[1];
    let Some(op) = average(lw, call, area, area)? else { return Ok(false) };
    push(lw, call, geometry, op)
}

/// `quantized.mean` over all pixels of images.
pub(crate) fn quantized_mean(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = lw.shape(call.input(0)?);
    let rank = x.len() as i64;
    let mut dims: Vec<i64> = call.attrs.ints("dims")?.iter().map(|&d| if d < 0 { d + rank } else { d }).collect();
    dims.sort_unstable();
    let Some([n, c, h, w]) = image(&x) else { return Ok(false) };
    if !dims.iter().copied().eq(2..rank) || h * w == 0 {
        return Ok(false);
    }
    let geometry = PoolGeometry::global(n, h, w, c);
    let Some(op) = average(lw, call, h * w, h * w)? else { return Ok(false) };
    let x = lw.channels_last(call.input(0)?)?.source;
    // One pixel for each image: its channels are contiguous, with or without the axes of size 1.
    let order = row_major(lw.shape(call.out()).len());
    let out = lw.define(call.out(), order.clone()).slot();
    lw.push_in(call, &order, QPoolStep { kernel: lw.kernels.qpool, geometry, op, x, out, out_stride: c });
    Ok(true)
}
