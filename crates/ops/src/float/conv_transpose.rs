//! Transposed convolution: a matrix product gives what every input pixel adds to every element of its window, then these are
//! added up in the order of the window's elements.

use quantc_kernels_gemm::Mat;

use super::conv::{Channels, add_bias_planes};
use super::linear::sgemm_parallel;
use crate::window::Grid;

/// `out += parts`, where `parts` is `[channels * taps, pixels]`: what the input pixels (the windows of `grid`) add to the elements of
/// their windows; `out` is `[channels, grid.input]`.
pub(crate) fn scatter_windows<T: Copy>(parts: &[T], grid: &Grid, add: impl Fn(T, T) -> T, out: &mut [T]) {
    let [kd, kh, kw] = grid.window.kernel;
    let [_, in_h, in_w] = grid.input;
    let [out_d, out_h, out_w] = grid.output;
    let (taps, pixels) = (kd * kh * kw, grid.out_len());
    if pixels == 0 {
        return;
    }
    let channels = parts.chunks_exact(taps * pixels).zip(out.chunks_exact_mut(grid.in_len().max(1)));
    for (parts, out) in channels {
        for (tap, part) in parts.chunks_exact(pixels).enumerate() {
            let (d, h, v) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let range = grid.inside(2, v);
            let Some(first) = grid.source(2, range.start, v) else { continue };
            for od in 0..out_d {
                let Some(id) = grid.source(0, od, d) else { continue };
                for oh in 0..out_h {
                    let Some(ih) = grid.source(1, oh, h) else { continue };
                    let line = &mut out[(id * in_h + ih) * in_w + first..(id * in_h + ih + 1) * in_w];
                    let values = &part[(od * out_h + oh) * out_w..][range.clone()];
                    let targets = line.iter_mut().step_by(grid.window.stride[2]);
                    targets.zip(values).for_each(|(o, &p)| *o = add(*o, p));
                }
            }
        }
    }
}

/// Transposed convolution of channels-first images. `grid` is the convolution that this transposes: its windows are the input pixels,
/// its input is the result. `x` of `[batch, channels.input, grid.output]`, `w` of `[channels.input, group_out, grid.window.kernel]`,
/// the result of `[batch, channels.output, grid.input]`. Runs on the current rayon pool.
pub fn conv_transpose_nchw(
    batch: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    channels: Channels,
    grid: &Grid,
) -> Vec<f32> {
    let (pixels, plane) = (grid.out_len(), grid.in_len());
    let mut out = vec![0.0f32; batch * channels.output * plane];
    let (group_in, group_out) = (channels.group_in(), channels.group_out());
    let rows = group_out * grid.window.taps();
    let mut parts = vec![0.0f32; rows * pixels];
    let groups = x.chunks_exact((group_in * pixels).max(1)).zip(out.chunks_exact_mut((group_out * plane).max(1)));
    for (i, (x, out)) in groups.enumerate() {
        let w = &w[i % channels.groups * group_in * rows..][..group_in * rows];
        sgemm_parallel(rows, pixels, group_in, Mat::rows(w, rows).t(), Mat::rows(x, pixels), &mut parts);
        scatter_windows(&parts, grid, |a, b| a + b, out);
    }
    add_bias_planes(&mut out, plane, bias);
    out
}
