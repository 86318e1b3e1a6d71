//! Integer convolutions that are computed as another one, of two dimensions: sums of integers do not depend on the order.

use quantc_kernels::ConvGeometry;
use quantc_ops::window::{Window, spatial};
use quantc_runtime::Source;
use quantc_runtime::steps::{CopyStep, Loop};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::conv::{Form, Input, Window2, image, push_layer};
use crate::view::channels_last;

/// The window and groups of a call with a kernel of these sizes.
fn window(call: &Call<'_>, kernel: &[usize]) -> Result<(Window, usize), NodeError> {
    let ints = |name| call.attrs.ints(name);
    let (stride, padding, dilation) = (ints("stride")?, ints("padding")?, ints("dilation")?);
    let window = Window::new(kernel, &stride, &vec![1; kernel.len()], &padding, &dilation)?;
    Ok((window, usize::try_from(call.attrs.int("groups")?).unwrap_or(1).max(1)))
}

/// What a call over three spatial dimensions works on.
struct Volumes {
    input: Input,
    /// `[n, c, d, h, w]` of the input.
    x: [usize; 5],
    /// `[oc, d, h, w]` of the result.
    out: [usize; 4],
    window: Window,
    groups: usize,
}

impl Volumes {
    /// `None` if the input does not become u8, or something is empty.
    fn of(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Option<Volumes>, NodeError> {
        let (x, w, out) = (lw.shape(call.input(0)?), lw.shape(call.input(1)?), lw.shape(call.out()));
        let Some(input) = Input::of(lw, call)? else { return Ok(None) };
        let (&[n, c, d, h, width], &[_, oc, od, oh, ow], [_, _, kernel @ ..]) = (&x[..], &out[..], &w[..]) else {
            return Ok(None);
        };
        if x.contains(&0) || out.contains(&0) {
            return Ok(None);
        }
        let (window, groups) = window(call, kernel)?;
        Ok(Some(Volumes { input, x: [n, c, d, h, width], out: [oc, od, oh, ow], window, groups }))
    }
}

/// Weights `[c][group_oc][kd][taps]` of a transposed convolution as `[oc][taps][kd][group_c]`, taps and planes backwards.
fn turned(w: &[i8], groups: usize, group_c: usize, group_oc: usize, kd: usize, taps: usize) -> Vec<i8> {
    let at = |c: usize, o: usize, d: usize, tap: usize| {
        w.get(((c * group_oc + o) * kd + d) * taps + tap).copied().unwrap_or(0)
    };
    let mut out = Vec::with_capacity(w.len());
    for g in 0..groups {
        for o in 0..group_oc {
            for tap in (0..taps).rev() {
                for d in (0..kd).rev() {
                    out.extend((0..group_c).map(|c| at(g * group_c + c, o, d, tap)));
                }
            }
        }
    }
    out
}

/// Size of the input with its pixels `stride` apart, and the padding `[top, left, bottom, right]` of the convolution that computes a
/// transposed one of that window; `None` if the padding is larger than the window's reach, which cuts pixels off.
fn spread_and_padding(window: &Window2, input: [usize; 2], output: [usize; 2]) -> Option<([usize; 2], [usize; 4])> {
    let Window2 { kernel, stride, dilation, pad } = window;
    let (mut spread, mut pads) = ([0; 2], [0; 4]);
    for d in 0..2 {
        spread[d] = (input[d] - 1) * stride[d] + 1;
        let reach = dilation[d] * (kernel[d] - 1);
        pads[d] = reach.checked_sub(pad[d])?;
        pads[d + 2] = (output[d] + reach).checked_sub(spread[d] + pads[d])?;
    }
    Some((spread, pads))
}

/// `quantized.conv_transpose1d`, `quantized.conv_transpose2d` and these with `_dynamic`: the convolution with the weights turned round, over the input with its
/// pixels `stride` apart and zero points between them.
pub(crate) fn quantized_conv_transpose(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, w, out) = (lw.shape(call.input(0)?), lw.shape(call.input(1)?), lw.shape(call.out()));
    let Some(input) = Input::of(lw, call)? else { return Ok(false) };
    let (Some([n, c, h, width]), Some([_, oc, oh, ow])) = (image(&x), image(&out)) else { return Ok(false) };
    if x.contains(&0) || out.contains(&0) || w.len() != x.len() {
        return Ok(false);
    }
    let (window, groups) = window(call, &w[2..])?;
    let window = Window2::from(&window);
    let Some((spread, pad)) = spread_and_padding(&window, [h, width], [oh, ow]) else { return Ok(false) };
    let Window2 { kernel, stride, dilation, .. } = window;
    let geometry =
        ConvGeometry { n, h: spread[0], w: spread[1], c, oh, ow, oc, kernel, stride: [1, 1], dilation, pad, groups };
    let shape = geometry.weight_shape();
    let weights = |w: &[i8]| turned(w, groups, shape.group_c(), shape.group_oc(), 1, shape.taps());
    let form = Form { usage: "conv_transpose", weights: &weights, scales: groups };
    push_layer(lw, call, &geometry, &form, &channels_last(x.len()), input, |lw, x, fill| {
        if stride == [1, 1] {
            return x;
        }
        let [spread_h, spread_w] = spread;
        let slot = lw.temporary(n * spread_h * spread_w * c);
        let loops = vec![
            Loop { count: n, from: (h * width * c) as isize, to: spread_h * spread_w * c },
            Loop { count: h, from: (width * c) as isize, to: stride[0] * spread_w * c },
            Loop { count: width, from: c as isize, to: stride[1] * c },
        ];
        let fill = Some(fill);
        lw.push(call, "spread", CopyStep { x, start: 0, loops, block: c, out: slot, out_start: 0, fill });
        Source::Arena(slot)
    })
}

/// `quantized.conv_transpose3d`, `quantized.conv_transpose3d_dynamic`: for each plane of the result a convolution of the planes that reach it, side by side as channels, with
/// the pixels `stride` apart and zero points between them.
pub(crate) fn quantized_conv_transpose3d(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(Volumes { input, x, out, window, groups }) = Volumes::of(lw, call)? else { return Ok(false) };
    let ([n, c, depth, h, width], [oc, od, oh, ow]) = (x, out);
    let (kd, stride_d, dilation_d, pad_d) =
        (window.kernel[0], window.stride[0], window.dilation[0], window.pad_begin[0]);
    let window = Window2::from(&window);
    let Some((spread, pad)) = spread_and_padding(&window, [h, width], [oh, ow]) else { return Ok(false) };
    let Window2 { kernel, stride, dilation, .. } = window;
    let [spread_h, spread_w] = spread;
    let geometry = ConvGeometry {
        n: n * od,
        h: spread_h,
        w: spread_w,
        c: c * kd,
        oh,
        ow,
        oc,
        kernel,
        stride: [1, 1],
        dilation,
        pad,
        groups,
    };
    let (group_c, group_oc, taps) = (c / groups, oc / groups, kernel[0] * kernel[1]);
    let weights = |w: &[i8]| turned(w, groups, group_c, group_oc, kd, taps);
    let form = Form { usage: "conv_transpose3d", weights: &weights, scales: groups };
    push_layer(lw, call, &geometry, &form, &channels_last(5), input, |lw, x, fill| {
        let (from_plane, to_plane) = (h * width * c, spread_h * spread_w * c * kd);
        let slot = lw.temporary(n * od * to_plane);
        for tap in 0..kd {
            // Plane `d` of the input reaches plane `d * stride + reach` of the result, where there is one.
            let reach = (dilation_d * (kd - 1 - tap)) as isize - pad_d as isize;
            let reached = |d: usize| usize::try_from((d * stride_d) as isize + reach).ok().filter(|o| *o < od);
            let first = (0..depth).find_map(|d| Some((d, reached(d)?)));
            let count = (0..depth).filter(|d| reached(*d).is_some()).count();
            let (start, to) = first.unwrap_or((0, 0));
            let loops = vec![
                Loop { count: n, from: (depth * from_plane) as isize, to: od * to_plane },
                Loop { count, from: from_plane as isize, to: stride_d * to_plane },
                Loop { count: h, from: (width * c) as isize, to: stride[0] * spread_w * c * kd },
                Loop { count: width, from: c as isize, to: stride[1] * c * kd },
                Loop { count: groups, from: group_c as isize, to: group_c * kd },
            ];
            // What no element comes to stays a zero point.
            let fill = (tap == 0).then(|| fill.clone());
            let (start, out_start) = (start * from_plane, to * to_plane + tap * group_c);
            lw.push(
                call,
                "planes",
                CopyStep { x: x.clone(), start, loops, block: group_c, out: slot, out_start, fill },
            );
        }
        Source::Arena(slot)
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

/// `quantized.conv3d`, `quantized.conv3d_dynamic`: for each plane of the result a convolution of the planes that its windows reach, side by side as channels.
pub(crate) fn quantized_conv3d(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(Volumes { input, x, out, window, groups }) = Volumes::of(lw, call)? else { return Ok(false) };
    let ([n, c, depth, h, width], [oc, od, oh, ow]) = (x, out);
    let grid = window.over(spatial(&x, 3), false)?;
    if grid.output != [od, oh, ow] {
        return Ok(false);
    }
    let (kd, group_c) = (window.kernel[0], c / groups);
    let Window2 { kernel, stride, dilation, pad } = Window2::from(&window);
    let geometry =
        ConvGeometry { n: n * od, h, w: width, c: c * kd, oh, ow, oc, kernel, stride, dilation, pad, groups };
    let taps = kernel[0] * kernel[1];
    let weights = |w: &[i8]| flattened(w, group_c, kd, taps);
    let form = Form { usage: "conv3d", weights: &weights, scales: 1 };
    push_layer(lw, call, &geometry, &form, &channels_last(5), input, |lw, x, fill| {
        if kd == 1 && window.stride[0] == 1 && od == depth {
            return x;
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
            let fill = (padded && tap == 0).then(|| fill.clone());
            let (start, out_start) = (first * plane, inside.start * plane * kd + tap * group_c);
            lw.push(
                call,
                "planes",
                CopyStep { x: x.clone(), start, loops, block: group_c, out: slot, out_start, fill },
            );
        }
        Source::Arena(slot)
    })
}
