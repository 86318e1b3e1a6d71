//! Convolution where every group has one input channel: a direct loop over the window's elements in row-major order, one
//! multiplication and one addition each, nothing fused, starting from 0.

use super::conv::Channels;
use crate::window::{Grid, fold_windows};

/// An element that can be accumulated.
pub trait Accumulate: Copy + Default {
    /// `acc + x * w` (two roundings in f32, wrapping in i32).
    fn mac(acc: Self, x: Self, w: Self) -> Self;
}

impl Accumulate for f32 {
    #[inline(always)]
    fn mac(acc: f32, x: f32, w: f32) -> f32 {
        acc + x * w
    }
}

impl Accumulate for i32 {
    #[inline(always)]
    fn mac(acc: i32, x: i32, w: i32) -> i32 {
        acc.wrapping_add(x.wrapping_mul(w))
    }
}

/// One channel of a channels-first tensor: `x` of `grid.input`, `w` of `grid.window.kernel`, `out` of `grid.output`.
pub fn depthwise_plane<T: Accumulate>(x: &[T], w: &[T], grid: &Grid, out: &mut [T]) {
    fold_windows(x, grid, T::default(), |acc, x, tap| T::mac(acc, x, w[tap]), out);
}

/// Output rows of a channels-last image: the same bits as [`depthwise_plane`] of each channel; with more outputs than inputs each input channel feeds consecutive outputs.
pub(crate) fn depthwise_nhwc_rows(
    x: &[f32],
    w: &[f32],
    channels: Channels,
    grid: &Grid,
    rows: std::ops::Range<usize>,
    out: &mut [f32],
) {
    let [_, out_h, out_w] = grid.output;
    let [_, in_h, in_w] = grid.input;
    let [kd, kh, kw] = grid.window.kernel;
    let multiplier = channels.group_out();
    for (pixel, acc) in out.chunks_exact_mut(channels.output.max(1)).enumerate() {
        let row = rows.start + pixel / out_w;
        let (od, oh, ow) = (row / out_h, row % out_h, pixel % out_w);
        acc.fill(0.0);
        for tap in 0..kd * kh * kw {
            let (d, h, v) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let (Some(id), Some(ih), Some(iw)) = (grid.source(0, od, d), grid.source(1, oh, h), grid.source(2, ow, v))
            else {
                continue;
            };
            let source = &x[((id * in_h + ih) * in_w + iw) * channels.input..][..channels.input];
            let weight = &w[tap * channels.output..][..channels.output];
            if multiplier == 1 {
                acc.iter_mut().zip(source).zip(weight).for_each(|((a, &s), &t)| *a = f32::mac(*a, s, t));
            } else {
                let chunks = acc.chunks_exact_mut(multiplier).zip(weight.chunks_exact(multiplier));
                for ((acc, weight), &s) in chunks.zip(source) {
                    acc.iter_mut().zip(weight).for_each(|(a, &t)| *a = f32::mac(*a, s, t));
                }
            }
        }
    }
}
