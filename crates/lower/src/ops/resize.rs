//! Resampling: `interpolate` to the nearest pixel, `quantized.interpolate` between neighbours.

use std::sync::Arc;

use quantc_kernels::{DequantizeParams, QuantizeParams};
use quantc_ops::resize::{Resampling, resampling};
use quantc_runtime::steps::{LinearAxis, NearestStep, QLinearResizeStep};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::movement;
use crate::ops::quantized::{Quantized, is_code, stored_zero_point};
use crate::ops::rows::UNCLAMPED;
use crate::view::channels_last;

/// What a call does to the spatial axes of its input.
fn axes(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Resampling, NodeError> {
    let attrs = &call.attrs;
    let words = [attrs.str("mode")?, attrs.str("coordinates")?, attrs.str("rounding")?];
    let shape = lw.shape(call.input(0)?);
    Ok(resampling(attrs.ints("size")?, attrs.floats("scale_factor")?, words.each_ref().map(String::as_str), &shape)?)
}

/// `interpolate` by copies.
pub(crate) fn interpolate(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (value, shape) = (call.input(0)?, lw.shape(call.input(0)?));
    let picked = match axes(lw, call)? {
        Resampling::Copy => return movement::identity(lw, call),
        Resampling::Linear(_) => return Ok(false),
        Resampling::Nearest(picked) => picked,
    };
    // Of each pixel of the result, the outermost axis first.
    let mut pixels: Vec<u32> = vec![0];
    for (axis, &size) in picked.iter().zip(&shape[2..]) {
        pixels = pixels.iter().flat_map(|p| axis.iter().map(move |i| p * size as u32 + *i as u32)).collect();
    }
    let order = channels_last(shape.len());
    let x = lw.channels_last(value)?.source;
    let step = NearestStep {
        images: shape[0],
        pixels: shape[2..].iter().product(),
        picked: Arc::from(pixels),
        bytes: shape[1] * lw.dtype(value).size(),
        x,
        out: lw.define(call.out(), order.clone()).slot(),
    };
    lw.push_in(call, &order, step);
    Ok(true)
}

/// `quantized.interpolate` between neighbours.
pub(crate) fn quantized_interpolate(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (value, shape) = (call.input(0)?, lw.shape(call.input(0)?));
    let dtype = lw.dtype(value);
    let zero_point = stored_zero_point(&call.attrs, "x_zero_point", dtype)?.filter(|_| is_code(dtype));
    let (Some(zero_point), Some(out)) = (zero_point, Quantized::of(&call.attrs, UNCLAMPED)?) else { return Ok(false) };
    let Resampling::Linear(neighbours) = axes(lw, call)? else { return Ok(false) };
    let axes = shape[2..].iter().zip(neighbours).map(|(&input, n)| LinearAxis { input, neighbours: Arc::from(n) });
    let axes: Vec<LinearAxis> = axes.collect();
    let order = channels_last(shape.len());
    let x = lw.channels_last(value)?.source;
    let step = QLinearResizeStep {
        quantize: lw.kernels.quantize,
        images: shape[0],
        axes,
        channels: shape[1],
        x_params: DequantizeParams { scale: call.attrs.float("x_scale")?, zero_point },
        out_params: QuantizeParams {
            inverse_scale: 1.0 / out.scale,
            zero_point: out.stored_zero_point,
            clamp: out.clamp,
        },
        x,
        out: lw.define(call.out(), order.clone()).slot(),
    };
    lw.push_in(call, &order, step);
    Ok(true)
}
