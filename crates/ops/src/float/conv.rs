//! Float convolution as matrix products. The depth of the product runs over (window element, input channel), row-major, in
//! both layouts; a bias is one addition at the end. Depthwise convolution is in [`super::depthwise`].

use quantc_kernels_gemm::{Mat, sgemm};
use rayon::prelude::*;

use super::depthwise::depthwise_nhwc_rows;
use crate::window::Grid;

/// Elements of one im2col buffer to aim at: it should stay in the second-level cache.
const STRIP_ELEMENTS: usize = 128 * 1024;

/// Channels of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
}

impl Channels {
    /// Input channels of one group.
    pub fn group_in(&self) -> usize {
        self.input / self.groups
    }

    /// Output channels of one group.
    pub fn group_out(&self) -> usize {
        self.output / self.groups
    }

    /// Whether every group has one input channel, which [`super::depthwise`] computes.
    pub fn is_depthwise(&self) -> bool {
        self.group_in() == 1 && self.groups > 1
    }
}

/// Weights `[output, group_in, taps]` as `[output, taps, group_in]`, converted to f32: the order of the products' depth.
pub fn pack_weights<T: Copy>(w: &[T], group_in: usize, taps: usize, real: impl Fn(T) -> f32) -> Vec<f32> {
    if taps == 1 || group_in == 1 {
        return w.iter().map(|&v| real(v)).collect();
    }
    let mut out = Vec::with_capacity(w.len());
    for filter in w.chunks_exact((group_in * taps).max(1)) {
        for tap in 0..taps {
            out.extend(filter[tap..].iter().step_by(taps).map(|&v| real(v)));
        }
    }
    out
}

/// Weights `[output, group_in, taps]` as one `[taps * group_in, group_out]` matrix for each group, which [`conv_nhwc`] takes; for a
/// depthwise convolution `[taps, output]`.
pub fn pack_weights_nhwc(w: &[f32], channels: Channels, taps: usize) -> Vec<f32> {
    if channels.is_depthwise() {
        return (0..taps).flat_map(|t| (0..channels.output).map(move |c| w[c * taps + t])).collect();
    }
    let (depth, group_out) = (taps * channels.group_in(), channels.group_out());
    let rows = pack_weights(w, channels.group_in(), taps, |v| v);
    let mut out = Vec::with_capacity(w.len());
    for group in rows.chunks_exact((depth * group_out).max(1)) {
        for l in 0..depth {
            out.extend((0..group_out).map(|c| group[c * depth + l]));
        }
    }
    out
}

/// Output rows (depth x height) in strips whose im2col buffer has about [`STRIP_ELEMENTS`].
pub(crate) fn strips(grid: &Grid, depth: usize) -> Vec<std::ops::Range<usize>> {
    let rows = grid.output[0] * grid.output[1];
    let step = (STRIP_ELEMENTS / (depth * grid.output[2]).max(1)).clamp(1, rows.max(1));
    (0..rows).step_by(step).map(|r| r..(r + step).min(rows)).collect()
}

/// The matrix `[taps * channels, pixels]` of a strip of output rows, from `channels` planes of a channels-first image.
pub(crate) fn im2col(x: &[f32], channels: usize, grid: &Grid, rows: std::ops::Range<usize>, col: &mut Vec<f32>) {
    let [kd, kh, kw] = grid.window.kernel;
    let [_, in_h, in_w] = grid.input;
    let [_, out_h, out_w] = grid.output;
    let stride = grid.window.stride[2];
    col.clear();
    for tap in 0..kd * kh * kw {
        let (d, h, v) = (tap / (kh * kw), tap / kw % kh, tap % kw);
        let range = grid.inside(2, v);
        for plane in x.chunks_exact(grid.in_len().max(1)).take(channels) {
            for row in rows.clone() {
                let source = grid.source(0, row / out_h, d).zip(grid.source(1, row % out_h, h));
                let (Some((id, ih)), Some(first)) = (source, grid.source(2, range.start, v)) else {
                    col.resize(col.len() + out_w, 0.0);
                    continue;
                };
                let line = &plane[(id * in_h + ih) * in_w..][..in_w];
                col.resize(col.len() + range.start, 0.0);
                if stride == 1 {
                    col.extend_from_slice(&line[first..first + range.len()]);
                } else {
                    let start = col.len();
                    col.resize(start + range.len(), 0.0);
                    col[start..].iter_mut().zip(line[first..].chunks(stride)).for_each(|(c, s)| *c = s[0]);
                }
                col.resize(col.len() + (out_w - range.end), 0.0);
            }
        }
    }
}

/// One group of one channels-first image: `x` of `[group_in, grid.input]`, `w` of `[group_out, taps * group_in]`
/// ([`pack_weights`]), `out` of `[group_out, grid.output]`.
fn conv_group(x: &[f32], w: &[f32], group_in: usize, group_out: usize, grid: &Grid, parallel: bool, out: &mut [f32]) {
    let depth = group_in * grid.window.taps();
    let (pixels, out_w) = (grid.out_len(), grid.output[2]);
    let filters = Mat::rows(w, depth);
    if grid.window.is_pointwise() {
        let image = Mat::rows(x, pixels);
        if parallel {
            super::linear::sgemm_parallel(group_out, pixels, depth, filters, image, out);
        } else {
            sgemm(group_out, pixels, depth, filters, image, out, pixels);
        }
        return;
    }
    let strips = strips(grid, depth);
    if !parallel || strips.len() < 2 {
        let mut col = Vec::new();
        for rows in strips {
            im2col(x, group_in, grid, rows.clone(), &mut col);
            let n = rows.len() * out_w;
            sgemm(group_out, n, depth, filters, Mat::rows(&col, n), &mut out[rows.start * out_w..], pixels);
        }
        return;
    }
    let parts: Vec<Vec<f32>> = strips
        .par_iter()
        .map(|rows| {
            let mut col = Vec::new();
            im2col(x, group_in, grid, rows.clone(), &mut col);
            let n = rows.len() * out_w;
            let mut part = vec![0.0; group_out * n];
            sgemm(group_out, n, depth, filters, Mat::rows(&col, n), &mut part, n);
            part
        })
        .collect();
    for (rows, part) in strips.iter().zip(&parts) {
        let n = rows.len() * out_w;
        for (channel, line) in part.chunks_exact(n.max(1)).enumerate() {
            out[channel * pixels + rows.start * out_w..][..n].copy_from_slice(line);
        }
    }
}

/// Adds the bias to channels-first images of `pixels` pixels.
pub(super) fn add_bias_planes(out: &mut [f32], pixels: usize, bias: Option<&[f32]>) {
    for (plane, &b) in out.chunks_exact_mut(pixels.max(1)).zip(bias.unwrap_or(&[]).iter().cycle()) {
        plane.iter_mut().for_each(|v| *v += b);
    }
}

/// Convolution of channels-first images: `x` of `[batch, channels.input, grid.input]`, `w` of `[channels.output, group_in,
/// grid.window.kernel]`, the result of `[batch, channels.output, grid.output]`. Runs on the current rayon pool.
pub fn conv_nchw(
    batch: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    channels: Channels,
    grid: &Grid,
) -> Vec<f32> {
    let (in_len, out_len) = (channels.input * grid.in_len(), channels.output * grid.out_len());
    let mut out = vec![0.0f32; batch * out_len];
    // Of an input without channels or pixels only the bias is seen.
    if x.is_empty() || out.is_empty() {
        add_bias_planes(&mut out, grid.out_len(), bias);
        return out;
    }
    let (group_in, group_out) = (channels.group_in(), channels.group_out());
    let taps = grid.window.taps();
    let packed = pack_weights(w, group_in, taps, |v| v);
    let over_images = batch >= rayon::current_num_threads();
    let image = |(x, out): (&[f32], &mut [f32])| {
        if channels.is_depthwise() {
            let plane = |(c, out): (usize, &mut [f32])| {
                let x = &x[c / group_out * grid.in_len()..][..grid.in_len()];
                super::depthwise::depthwise_plane(x, &packed[c * taps..][..taps], grid, out);
            };
            if over_images {
                out.chunks_exact_mut(grid.out_len()).enumerate().for_each(plane);
            } else {
                out.par_chunks_exact_mut(grid.out_len()).with_min_len(16).enumerate().for_each(plane);
            }
        } else {
            let sizes = (group_in * grid.in_len(), group_out * group_in * taps, group_out * grid.out_len());
            let groups = x.chunks_exact(sizes.0.max(1)).zip(packed.chunks_exact(sizes.1.max(1)));
            for ((x, w), out) in groups.zip(out.chunks_exact_mut(sizes.2)) {
                conv_group(x, w, group_in, group_out, grid, !over_images, out);
            }
        }
        add_bias_planes(out, grid.out_len(), bias);
    };
    if over_images {
        x.par_chunks_exact(in_len).zip(out.par_chunks_exact_mut(out_len)).for_each(image);
    } else {
        x.chunks_exact(in_len).zip(out.chunks_exact_mut(out_len)).for_each(image);
    }
    out
}

/// Elements of scratch memory that [`conv_nhwc`] needs.
pub fn conv_nhwc_scratch(channels: Channels, grid: &Grid) -> usize {
    if channels.is_depthwise() || grid.window.is_pointwise() {
        return 0;
    }
    let depth = channels.group_in() * grid.window.taps();
    strips(grid, depth).first().map_or(0, |rows| rows.len() * grid.output[2] * depth)
}

/// Convolution of one channels-last image on one thread: `x` of `[grid.input, channels.input]`, `w` packed by [`pack_weights_nhwc`], `out`
/// of `[grid.output, channels.output]`, `scratch` of at least [`conv_nhwc_scratch`] elements. The same bits as [`conv_nchw`].
///
/// # Panics
/// If a slice is too short.
pub fn conv_nhwc(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    channels: Channels,
    grid: &Grid,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let rows = 0..grid.output[0] * grid.output[1];
    conv_nhwc_rows(x, w, bias, channels, grid, rows, scratch, out);
}

/// [`conv_nhwc`] of some output rows (counted over depth and height), for callers that share an image between threads; `out` holds
/// these rows alone.
///
/// # Panics
/// If a slice is too short.
// The operands of a convolution; a struct for one call would only rename them.
#[allow(clippy::too_many_arguments)]
pub fn conv_nhwc_rows(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    channels: Channels,
    grid: &Grid,
    rows: std::ops::Range<usize>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (group_in, group_out) = (channels.group_in(), channels.group_out());
    let depth = group_in * grid.window.taps();
    let out_w = grid.output[2];
    let out = &mut out[..rows.len() * out_w * channels.output];
    if channels.is_depthwise() {
        depthwise_nhwc_rows(x, w, channels, grid, rows, out);
    } else if grid.window.is_pointwise() {
        let pixels = rows.len() * out_w;
        let x = &x[rows.start * out_w * channels.input..];
        for (g, w) in w.chunks_exact((depth * group_out).max(1)).enumerate() {
            let a = Mat { data: &x[g * group_in..], row_stride: channels.input, col_stride: 1 };
            sgemm(pixels, group_out, depth, a, Mat::rows(w, group_out), &mut out[g * group_out..], channels.output);
        }
    } else {
        let step = strips(grid, depth).first().map_or(1, |r| r.len());
        for start in rows.clone().step_by(step) {
            let strip = start..(start + step).min(rows.end);
            let pixels = strip.len() * out_w;
            let part = &mut out[(start - rows.start) * out_w * channels.output..];
            for (g, w) in w.chunks_exact((depth * group_out).max(1)).enumerate() {
                let buffer = &mut scratch[..pixels * depth];
                im2row(x, channels, g, grid, strip.clone(), buffer);
                let b = Mat::rows(w, group_out);
                let part = &mut part[g * group_out..];
                sgemm(pixels, group_out, depth, Mat::rows(buffer, depth), b, part, channels.output);
            }
        }
    }
    if let Some(bias) = bias {
        super::linear::add_bias(out, bias);
    }
}

/// The matrix `[pixels, taps * group_in]` of a strip of output rows of a channels-last image.
fn im2row(x: &[f32], channels: Channels, group: usize, grid: &Grid, rows: std::ops::Range<usize>, out: &mut [f32]) {
    let [kd, kh, kw] = grid.window.kernel;
    let [_, in_h, in_w] = grid.input;
    let [_, out_h, out_w] = grid.output;
    let (stride, dilation, pad) = (grid.window.stride[2], grid.window.dilation[2], grid.window.pad_begin[2]);
    let (group_in, pixel) = (channels.group_in(), channels.input);
    // The elements of one row of a window: adjacent in memory without groups and dilation.
    let line_len = kw * group_in;
    let adjacent = dilation == 1 && group_in == pixel;
    let mut lines = out.chunks_exact_mut(line_len.max(1));
    for row in rows {
        for ow in 0..out_w {
            // First and last tap inside the input.
            let start = ow * stride;
            let first = pad.saturating_sub(start).div_ceil(dilation).min(kw);
            let last = (in_w + pad).saturating_sub(start).div_ceil(dilation).clamp(first, kw);
            for d in 0..kd {
                for h in 0..kh {
                    let Some(line) = lines.next() else { return };
                    let source = grid.source(0, row / out_h, d).zip(grid.source(1, row % out_h, h));
                    let (Some((id, ih)), true) = (source, first < last) else {
                        line.fill(0.0);
                        continue;
                    };
                    line[..first * group_in].fill(0.0);
                    line[last * group_in..].fill(0.0);
                    let at = ((id * in_h + ih) * in_w + start + first * dilation - pad) * pixel + group * group_in;
                    if adjacent {
                        let run = (last - first) * pixel;
                        line[first * pixel..last * pixel].copy_from_slice(&x[at..at + run]);
                    } else {
                        let taps = line[first * group_in..last * group_in].chunks_exact_mut(group_in.max(1));
                        for (tap, chunk) in taps.enumerate() {
                            chunk.copy_from_slice(&x[at + tap * dilation * pixel..][..group_in]);
                        }
                    }
                }
            }
        }
    }
}
