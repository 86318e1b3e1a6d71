//! Transposed convolution of f32.

use quantc_ops::float::conv::Channels;
use quantc_ops::window::{Grid, Window, spatial};
use quantc_runtime::steps::ConvTransposeStep;
use quantc_runtime::{Constant, Source};
use quantc_tensor::DType;

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::view::channels_last;

/// Weights `[input, group_out, taps]` as `[input, taps, group_out]`.
fn pack(w: &[f32], group_out: usize, taps: usize) -> Vec<f32> {
    let filters = w.chunks_exact((group_out * taps).max(1));
    filters.flat_map(|f| (0..taps).flat_map(move |t| f[t..].iter().step_by(taps).copied())).collect()
}

/// `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d` with constant weights.
pub(crate) fn conv_transpose(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    let floats = call.inputs().all(|v| lw.dtype(v) == DType::F32);
    let Some(w) = lw.constant(weight).filter(|_| floats) else { return Ok(false) };
    let (shape, out) = (lw.shape(x), lw.shape(call.out()));
    if shape.contains(&0) || out.contains(&0) {
        return Ok(false);
    }
    let kernel = &w.shape()[2..];
    let rank = kernel.len();
    let (stride, padding, dilation) =
        (call.attrs.ints("stride")?, call.attrs.ints("padding")?, call.attrs.ints("dilation")?);
    let window = Window::new(kernel, &stride, &vec![1; rank], &padding, &dilation)?;
    let grid = Grid { window, input: spatial(&out, rank), output: spatial(&shape, rank) };
    let groups = usize::try_from(call.attrs.int("groups")?).unwrap_or(1);
    let channels = Channels { input: shape[1], output: out[1], groups };
    let make = || -> Result<Constant, NodeError> {
        Ok(Constant::new(bytemuck::cast_slice(&pack(w.slice()?, channels.group_out(), window.taps()))))
    };
    let weights = Source::Const(match lw.param(weight) {
        Some(param) => lw.cache.constant(param, "conv_transpose", make)?,
        None => make()?,
    });
    let bias = call.opt(2).map(|b| lw.row_major(b).map(|b| b.source)).transpose()?;
    let x = lw.channels_last(x)?.source;
    let order = channels_last(out.len());
    let work = lw.temporary(ConvTransposeStep::work_len(channels, &grid));
    let slot = lw.define(call.out(), order.clone()).slot();
    let step = ConvTransposeStep { n: shape[0], channels, grid, weights, bias, x, work, out: slot };
    lw.push_in(call, &order, step);
    Ok(true)
}
