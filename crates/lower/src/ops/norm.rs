//! Normalisations of codes.

use quantc_ir::ValueRef;
use quantc_kernels::{AffineParams, DequantizeParams, QuantizeParams};
use quantc_ops::dims::axis;
use quantc_ops::norm::batch_norm_affine;
use quantc_runtime::steps::{NormParameters, Pattern, QNormStep, RowOp, RowOperand, RowsStep};
use quantc_tensor::{DType, Tensor};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::quantized::{Quantized, is_code, stored_zero_point};
use crate::ops::rows::{UNCLAMPED, gcd};
use crate::view::{channels_last, row_major};

/// Pixels whose channels are taken as one row, at most: rows of a few elements would not fill a vector.
const PIXELS: usize = 64;
/// Channels from which on a pixel is a row.
const CHANNELS: usize = 64;

/// `quantized.batch_norm` with constant parameters: a factor and a term for each channel.
pub(crate) fn quantized_batch_norm(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let value = call.input(0)?;
    let dtype = lw.dtype(value);
    let zero_point = stored_zero_point(&call.attrs, "x_zero_point", dtype)?.filter(|_| is_code(dtype));
    let (Some(x_zero_point), Some(out)) = (zero_point, Quantized::of(&call.attrs, UNCLAMPED)?) else {
        return Ok(false);
    };
    let parameters =
        (1..5).map(|i| Ok(lw.constant(call.input(i)?))).collect::<Result<Option<Vec<Tensor>>, NodeError>>()?;
    let Some([weight, bias, mean, var]) = parameters.as_deref() else { return Ok(false) };
    let eps = call.attrs.float("eps")?;
    let (factor, term) = batch_norm_affine(weight.slice()?, bias.slice()?, mean.slice()?, var.slice()?, eps);
    let shape = lw.shape(value);
    let (Some(&channels), elements) = (shape.get(1), shape.iter().product::<usize>()) else { return Ok(false) };
    if factor.len() != channels || term.len() != channels || channels == 0 {
        return Ok(false);
    }
    let pixels = if channels < CHANNELS { gcd(elements / channels, PIXELS).max(1) } else { 1 };
    let columns = channels * pixels;
    let params = AffineParams {
        x_zero_point,
        x_scale: call.attrs.float("x_scale")?,
        factor: factor.repeat(pixels).into(),
        term: term.repeat(pixels).into(),
        inverse_scale: 1.0 / out.scale,
        zero_point: out.stored_zero_point,
        clamp: out.clamp,
    };
    let order = channels_last(shape.len());
    let source = lw.channels_last(value)?.source;
    let a = RowOperand { source, pattern: Pattern { stride: columns, repeat: 1, splat: false } };
    let out = lw.define(call.out(), order.clone()).slot();
    let op = RowOp::Affine { kernel: lw.kernels.elementwise, params };
    lw.push_in(call, &order, RowsStep { op, rows: elements / columns, columns, a, b: None, out, out_stride: columns });
    Ok(true)
}

/// `quantized.layer_norm`, `quantized.group_norm` and `quantized.instance_norm`: each block is normalised by its own statistics.
pub(crate) fn quantized_own_norm(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let value = call.input(0)?;
    let (dtype, shape) = lw.ty(value);
    let zero_point = stored_zero_point(&call.attrs, "x_zero_point", dtype)?.filter(|_| is_code(dtype));
    let (Some(zero_point), Some(out)) = (zero_point, Quantized::of(&call.attrs, UNCLAMPED)?) else { return Ok(false) };
    let elements: usize = shape.iter().product();
    let (len, parameters, count) = if call.op.name() == "quantized.layer_norm" {
        let Ok(axis) = axis(call.attrs.int("axis")?, shape.len()) else { return Ok(false) };
        let len = shape[axis..].iter().product();
        (len, NormParameters::Element, len)
    } else {
        let (Some(&channels), inner) = (shape.get(1), shape.iter().skip(2).product::<usize>()) else {
            return Ok(false);
        };
        let groups = if call.op.name() == "quantized.instance_norm" {
            channels
        } else {
            usize::try_from(call.attrs.int("num_groups")?).unwrap_or(0)
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Ok(false);
        }
        (channels / groups * inner, NormParameters::Plane { len: inner, channels }, channels)
    };
    let fits = |v: ValueRef| lw.dtype(v) == DType::F32 && lw.shape(v).iter().product::<usize>() == count;
    if len == 0 || !(1..3).all(|i| call.opt(i).is_none_or(fits)) {
        return Ok(false);
    }
    let mut parameter = |i: usize| call.opt(i).map(|v| lw.row_major(v).map(|p| p.source)).transpose();
    let (gamma, beta) = (parameter(1)?, parameter(2)?);
    let order = row_major(shape.len());
    let x = lw.row_major(value)?.source;
    let step = QNormStep {
        float: lw.kernels.float,
        quantize: lw.kernels.quantize,
        blocks: elements / len,
        len,
        x_params: DequantizeParams { scale: call.attrs.float("x_scale")?, zero_point },
        out_params: QuantizeParams {
            inverse_scale: 1.0 / out.scale,
            zero_point: out.stored_zero_point,
            clamp: out.clamp,
        },
        parameters,
        gamma,
        beta,
        eps: call.attrs.float("eps")?,
        x,
        out: lw.define(call.out(), order.clone()).slot(),
    };
    lw.push_in(call, &order, step);
    Ok(true)
}
