//! Exact integer convolution and matrix products: i32 results, wrapping on overflow.
//!
//! f32 holds every integer up to 2^24, so an f32 product of integer matrices is exact as long as no partial sum can exceed
//! that. The depth is cut into blocks that can't, and the blocks' sums are added in i32. Operands too large for even a
//! short block are multiplied in i32.

use quantc_kernels_gemm::{KC, Mat, sgemm};
use rayon::prelude::*;

use crate::float::conv::{Channels, im2col, pack_weights, strips};
use crate::float::depthwise::depthwise_plane;
use crate::window::Grid;

/// Blocks shorter than this are not worth the conversion.
const MIN_BLOCK: usize = 4;

fn largest(values: &[i32]) -> u64 {
    u64::from(values.iter().fold(0u32, |m, v| m.max(v.unsigned_abs())))
}

/// Longest depth over which sums of products of these operands stay below 2^24.
fn exact_depth(a: &[i32], b: &[i32]) -> usize {
    let product = largest(a).saturating_mul(largest(b)).max(1);
    ((1u64 << 24) / product).min(KC as u64) as usize
}

fn to_f32(values: &[i32]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// `out += a * b` over one exact product, rows of `out` being `stride` apart.
fn accumulate(part: &[f32], n: usize, out: &mut [i32], stride: usize) {
    for (line, out) in part.chunks_exact(n.max(1)).zip(out.chunks_mut(stride.max(1))) {
        out.iter_mut().zip(line).for_each(|(o, &v)| *o = o.wrapping_add(v as i32));
    }
}

/// The second operand of [`matmul_i32`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// `[k, n]`.
    Rows,
    /// `[n, k]`, as linear layers store it.
    Transposed,
}

/// The product of `a` `[m, k]` and `b`, exact modulo 2^32. `out` is `[m, n]`.
pub fn matmul_i32(a: &[i32], b: &[i32], right: Right, m: usize, k: usize, n: usize, out: &mut [i32]) {
    out.fill(0);
    if out.is_empty() || k == 0 {
        return;
    }
    let block = exact_depth(a, b);
    if block < MIN_BLOCK {
        for (i, out) in out.chunks_exact_mut(n).enumerate() {
            for (j, out) in out.iter_mut().enumerate() {
                let at = |l: usize| if right == Right::Rows { b[l * n + j] } else { b[j * k + l] };
                *out = (0..k).fold(0i32, |acc, l| acc.wrapping_add(a[i * k + l].wrapping_mul(at(l))));
            }
        }
        return;
    }
    let (a, b) = (to_f32(a), to_f32(b));
    let threads = rayon::current_num_threads();
    let rows = if m * n * k < 1 << 18 { m } else { m.div_ceil(threads).max(8) };
    out.par_chunks_mut(rows * n).enumerate().for_each(|(i, out)| {
        let a = &a[i * rows * k..];
        let m = out.len() / n;
        let mut part = vec![0.0f32; m * n];
        for start in (0..k).step_by(block) {
            let depth = block.min(k - start);
            let left = Mat { data: &a[start..], row_stride: k, col_stride: 1 };
            let right = match right {
                Right::Rows => Mat::rows(&b[start * n..], n),
                Right::Transposed => Mat { data: &b[start..], row_stride: 1, col_stride: k },
            };
            sgemm(m, n, depth, left, right, &mut part, n);
            accumulate(&part, n, out, n);
        }
    });
}

/// Convolution of channels-first images, exact modulo 2^32: `x` of `[batch, channels.input, grid.input]`, `w` of `[channels.output, group_in,
/// grid.window.kernel]`, the result of `[batch, channels.output, grid.output]`.
pub fn conv_i32(batch: usize, x: &[i32], w: &[i32], channels: Channels, grid: &Grid) -> Vec<i32> {
    let mut out = vec![0i32; batch * channels.output * grid.out_len()];
    if x.is_empty() || out.is_empty() {
        return out;
    }
    let block = exact_depth(x, w);
    let (group_in, group_out, taps) = (channels.group_in(), channels.group_out(), grid.window.taps());
    if channels.is_depthwise() || block < MIN_BLOCK {
        let plane = |(i, out): (usize, &mut [i32])| {
            let (image, c) = (i / channels.output, i % channels.output);
            let mut sum = vec![0; out.len()];
            for l in 0..group_in {
                let x = &x[(image * channels.input + c / group_out * group_in + l) * grid.in_len()..][..grid.in_len()];
                depthwise_plane(x, &w[(c * group_in + l) * taps..][..taps], grid, &mut sum);
                out.iter_mut().zip(&sum).for_each(|(o, &v)| *o = o.wrapping_add(v));
            }
        };
        out.par_chunks_exact_mut(grid.out_len()).with_min_len(8).enumerate().for_each(plane);
        return out;
    }
    let w = pack_weights(w, group_in, taps, |v| v as f32);
    let depth = group_in * taps;
    let strips = strips(grid, depth);
    let (pixels, out_w) = (grid.out_len(), grid.output[2]);
    let groups =
        x.par_chunks_exact((group_in * grid.in_len()).max(1)).zip(out.par_chunks_exact_mut(group_out * pixels));
    groups.enumerate().for_each(|(i, (x, out))| {
        let x = to_f32(x);
        let w = &w[i % channels.groups * group_out * depth..][..group_out * depth];
        let (mut col, mut part) = (Vec::new(), Vec::new());
        for rows in &strips {
            let n = rows.len() * out_w;
            part.resize(group_out * n, 0.0);
            let matrix = if grid.window.is_pointwise() {
                Mat::rows(&x[rows.start * out_w..], pixels)
            } else {
                im2col(&x, group_in, grid, rows.clone(), &mut col);
                Mat::rows(&col, n)
            };
            for start in (0..depth).step_by(block) {
                let deep = block.min(depth - start);
                let filters = Mat { data: &w[start..], row_stride: depth, col_stride: 1 };
                let part = &mut part[..group_out * n];
                let lines = Mat { data: &matrix.data[start * matrix.row_stride..], ..matrix };
                sgemm(group_out, n, deep, filters, lines, part, n);
                accumulate(part, n, &mut out[rows.start * out_w..], pixels);
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Window;
    use proptest::prelude::*;

    fn value(i: usize, seed: u64, limit: i32) -> i32 {
        let h =
            (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed).wrapping_mul(0xbf58_476d_1ce4_e5b9)
                >> 33;
        (h % (2 * limit as u64 + 1)) as i32 - limit
    }

    fn naive_conv(x: &[i32], w: &[i32], batch: usize, ch: Channels, g: &Grid) -> Vec<i32> {
        let mut out = Vec::new();
        let [kd, kh, kw] = g.window.kernel;
        for n in 0..batch {
            for oc in 0..ch.output {
                for p in 0..g.out_len() {
                    let at = [p / (g.output[1] * g.output[2]), p / g.output[2] % g.output[1], p % g.output[2]];
                    let mut sum = 0i64;
                    for ic in 0..ch.group_in() {
                        let c = oc / ch.group_out() * ch.group_in() + ic;
                        for tap in 0..kd * kh * kw {
                            let t = [tap / (kh * kw), tap / kw % kh, tap % kw];
                            let source: Option<Vec<usize>> = (0..3).map(|d| g.source(d, at[d], t[d])).collect();
                            if let Some(s) = source {
                                let xi =
                                    ((n * ch.input + c) * g.in_len()) + (s[0] * g.input[1] + s[1]) * g.input[2] + s[2];
                                let wi = (oc * ch.group_in() + ic) * kd * kh * kw + tap;
                                sum = sum.wrapping_add(i64::from(x[xi]) * i64::from(w[wi]));
                            }
                        }
                    }
                    out.push(sum as i32);
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn conv_is_exact(
            batch in 1usize..3, groups in 1usize..4, gin in 1usize..40, gout in 1usize..5,
            size in prop::array::uniform3(1usize..7), kernel in prop::array::uniform3(1usize..4),
            stride in 1i64..3, pad in 0i64..3, dilation in 1i64..3, limit in prop_oneof![Just(255i32), Just(40_000), Just(i32::MAX)], seed: u64,
        ) {
            let w = Window::new(&kernel, &[stride], &[1; 3], &[pad], &[dilation]).expect("window");
            let Ok(grid) = w.over(size, false) else { return Ok(()) };
            let ch = Channels { input: groups * gin, output: groups * gout, groups };
            let x: Vec<i32> = (0..batch * ch.input * grid.in_len()).map(|i| value(i, seed, limit)).collect();
            let wt: Vec<i32> = (0..ch.output * gin * w.taps()).map(|i| value(i, !seed, 128)).collect();
            prop_assert_eq!(conv_i32(batch, &x, &wt, ch, &grid), naive_conv(&x, &wt, batch, ch, &grid));
        }

        #[test]
        fn matmul_is_exact(m in 1usize..40, k in 1usize..1200, n in 1usize..40, limit in prop_oneof![Just(255i32), Just(3000), Just(i32::MAX)], seed: u64) {
            let a: Vec<i32> = (0..m * k).map(|i| value(i, seed, limit)).collect();
            let b: Vec<i32> = (0..k * n).map(|i| value(i, !seed, 128)).collect();
            let bt: Vec<i32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
            let want: Vec<i32> = (0..m * n).map(|i| {
                (0..k).fold(0i64, |s, l| s.wrapping_add(i64::from(a[i / n * k + l]) * i64::from(b[l * n + i % n]))) as i32
            }).collect();
            let mut got = vec![7; m * n];
            matmul_i32(&a, &b, Right::Rows, m, k, n, &mut got);
            prop_assert_eq!(&got, &want);
            matmul_i32(&a, &bt, Right::Transposed, m, k, n, &mut got);
            prop_assert_eq!(&got, &want);
        }
    }
}
