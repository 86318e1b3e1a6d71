//! Integer convolutions that are computed as another one, of two dimensions: sums of integers do not depend on the order.

use quantc_kernels::ConvGeometry;
use quantc_ops::window::{Window, spatial};
use quantc_runtime::Source;
use quantc_runtime::steps::{CopyStep, Loop};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::conv::{Form, Window2, image, input_zero_point, push_conv};

/// The window and groups of a call with a kernel of these sizes.
fn window(call: &Call<'_>, kernel: &[usize]) -> Result<(Window, usize), NodeError> {
    let ints = |name| call.attrs.ints(name);
    let (stride, padding, dilation) = (ints("stride")?, ints("padding")?, ints("dilation")?);
    let window = Window::new(kernel, &stride, &vec![1; kernel.len()], &padding, &dilation)?;
    Ok((window, usize::try_from(call.attrs.int("groups")?).unwrap_or(1).max(1)))
}

/// Weights `[c][group_oc][taps]` of a transposed convolution as `[oc][taps][group_c]`, the taps backwards.
fn turned(w: &[i8], groups: usize, group_c: usize, group_oc: usize, taps: usize) -> Vec<i8> {
    let at = |c: usize, o: usize, tap: usize| w.get((c * group_oc + o) * taps + tap).copied().unwrap_or(0);
    let mut out = Vec::with_capacity(w.len());
    for g in 0..groups {
        for o in 0..group_oc {
            for tap in (0..taps).rev() {
                out.extend((0..group_c).map(|c| at(g * group_c + c, o, tap)));
            }
        }
    }
    out
}

/// `quantized.conv_transpose1d`, `quantized.conv_transpose2d`: the convolution with the weights turned round, over the input with its
/// pixels `stride` apart and zero points between them.
pub(crate) fn quantized_conv_transpose(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let value = call.input(0)?;
    let (x, w, out) = (lw.shape(value), lw.shape(call.input(1)?), lw.shape(call.out()));
    let Some(x_zero_point) = input_zero_point(lw, call)? else { return Ok(false) };
    let (Some([n, c, h, width]), Some([_, oc, oh, ow])) = (image(&x), image(&out)) else { return Ok(false) };
    if x.contains(&0) || out.contains(&0) || w.len() != x.len() {
        return Ok(false);
    }
    let (window, groups) = window(call, &w[2..])?;
    let Window2 { kernel, stride, dilation, pad } = Window2::from(&window);
    let spread = [(h - 1) * stride[0] + 1, (width - 1) * stride[1] + 1];
    let size = [oh, ow];
    let mut pads = [0; 4];
    for d in 0..2 {
        let reach = dilation[d] * (kernel[d] - 1);
        // Padding larger than the window's reach would cut pixels off.
        let Some(begin) = reach.checked_sub(pad[d]) else { return Ok(false) };
        let Some(end) = (size[d] + reach).checked_sub(spread[d] + begin) else { return Ok(false) };
        (pads[d], pads[d + 2]) = (begin, end);
    }
    let geometry = ConvGeometry {
        n,
        h: spread[0],
        w: spread[1],
        c,
        oh,
        ow,
        oc,
        kernel,
        stride: [1, 1],
        dilation,
        pad: pads,
        groups,
    };
    let shape = geometry.weight_shape();
    let weights = |w: &[i8]| turned(w, groups, shape.group_c(), shape.group_oc(), shape.taps());
    let form = Form { usage: "conv_transpose", weights: &weights, scales: groups };
    push_conv(lw, call, &geometry, &form, x_zero_point, |lw| {
        let x = lw.channels_last(value)?.source;
        if stride == [1, 1] {
            return Ok(x);
        }
        let [spread_h, spread_w] = spread;
        let slot = lw.temporary(n * spread_h * spread_w * c);
        let loops = vec![
            Loop { count: n, from: (h * width * c) as isize, to: spread_h * spread_w * c },
            Loop { count: h, from: (width * c) as isize, to: stride[0] * spread_w * c },
            Loop { count: width, from: c as isize, to: stride[1] * c },
        ];
        let fill = Some(vec![x_zero_point]);
        lw.push(call, "spread", CopyStep { x, start: 0, loops, block: c, out: slot, out_start: 0, fill });
        Ok(Source::Arena(slot))
    })
}

/// Weights `[oc][group_c][kd][taps]` as `[oc][taps][kd][group_c]`.
fn flattened(w: &[i8], group_c: usize, kd: usize, taps: usize) -> Vec<i8> {
    let filters = w.chunks_exact((group_c * kd * taps).max(1));
    let mut out = Vec::with_capacity(w.len());
    for filter in filters {
        for tap in 0..taps {
            for d in 0..kd {
                out.extend((0..group_c).map(|c| filter[(c * kd + d) * taps + tap]));
            }
        }
    }
    out
}

/// `quantized.conv3d`: for each plane of the result a convolution of the planes that its windows reach, side by side as channels.
pub(crate) fn quantized_conv3d(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let value = call.input(0)?;
    let (x, w, out) = (lw.shape(value), lw.shape(call.input(1)?), lw.shape(call.out()));
    let Some(x_zero_point) = input_zero_point(lw, call)? else { return Ok(false) };
    let (&[n, c, depth, h, width], &[_, oc, od, oh, ow], &[_, _, ref kernel @ ..]) = (&x[..], &out[..], &w[..]) else {
        return Ok(false);
    };
    if x.contains(&0) || out.contains(&0) {
        return Ok(false);
    }
    let (window, groups) = window(call, kernel)?;
    let grid = window.over(spatial(&x, 3), false)?;
    let (kd, group_c) = (window.kernel[0], c / groups);
    let Window2 { kernel, stride, dilation, pad } = Window2::from(&window);
    let geometry =
        ConvGeometry { n: n * od, h, w: width, c: c * kd, oh, ow, oc, kernel, stride, dilation, pad, groups };
    let taps = kernel[0] * kernel[1];
    let weights = |w: &[i8]| flattened(w, group_c, kd, taps);
    let form = Form { usage: "conv3d", weights: &weights, scales: 1 };
    push_conv(lw, call, &geometry, &form, x_zero_point, |lw| {
        let x = lw.channels_last(value)?.source;
        if kd == 1 && window.stride[0] == 1 && od == depth {
            return Ok(x);
        }
        let plane = h * width * c;
        let slot = lw.temporary(n * od * plane * kd);
        let padded = (0..kd).any(|tap| grid.inside(0, tap).len() < od);
        for tap in 0..kd {
            let inside = grid.inside(0, tap);
            let first = grid.source(0, inside.start, tap).unwrap_or(0);
            let from = |elements: usize| elements as isize;
            let loops = vec![
                Loop { count: n, from: from(depth * plane), to: od * plane * kd },
                Loop { count: inside.len(), from: from(window.stride[0] * plane), to: plane * kd },
                Loop { count: h * width, from: from(c), to: c * kd },
                Loop { count: groups, from: from(group_c), to: group_c * kd },
            ];
            // Planes in the padding stay zero points.
            let fill = (padded && tap == 0).then(|| vec![x_zero_point]);
            let (start, out_start) = (first * plane, inside.start * plane * kd + tap * group_c);
            lw.push(
                call,
                "planes",
                CopyStep { x: x.clone(), start, loops, block: group_c, out: slot, out_start, fill },
            );
        }
        Ok(Source::Arena(slot))
    })
}
