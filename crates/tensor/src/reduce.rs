//! Reductions over f32 slices with one defined order of operations, so that the reference evaluation and every kernel
//! tier agree bit for bit.
//!
//! Element `i` belongs to lane `i % 16`; each lane is accumulated from the front; the lanes are then folded in halves:
//! lane `j` with lane `j + 8`, then `j + 4`, `j + 2`, `j + 1`. One 512-bit register, two 256-bit ones or sixteen
//! scalars do this alike.

use crate::math::{exp_nonpositive_block, exp_nonpositive_f32};

/// Lanes of every reduction.
pub const LANES: usize = 16;

#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] = f(lanes[j], lanes[j + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Reduces `x` in the defined order: every lane starts at `start` and takes `step(lane, element)`; `join` folds lanes.
#[inline(always)]
fn reduce(x: &[f32], start: f32, step: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let mut blocks = x.chunks_exact(LANES);
    for block in &mut blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            *lane = step(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = step(*lane, v);
    }
    fold(lanes, join)
}

/// Sum of the elements; 0 for none.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    reduce(x, 0.0, |s, v| s + v, |a, b| a + b)
}

/// `sum(x) / len`; NaN for no elements.
#[inline(always)]
pub fn mean(x: &[f32]) -> f32 {
    sum(x) / x.len() as f32
}

/// Population variance about the given mean: the sum of `(v - mean) * (v - mean)`, divided by the length.
#[inline(always)]
pub fn variance(x: &[f32], mean: f32) -> f32 {
    let squares = reduce(
        x,
        0.0,
        |s, v| {
            let d = v - mean;
            s + d * d
        },
        |a, b| a + b,
    );
    squares / x.len() as f32
}

/// The largest element, ignoring NaN; -infinity for none. A zero result has the positive sign.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let larger = |m: f32, v: f32| if v > m { v } else { m };
    // Which of two zeros survives depends on the order, so the sign is taken away.
    reduce(x, f32::NEG_INFINITY, larger, larger) + 0.0
}

/// The smallest element, ignoring NaN; infinity for none. A zero result has the positive sign.
#[inline(always)]
pub fn min(x: &[f32]) -> f32 {
    let smaller = |m: f32, v: f32| if v < m { v } else { m };
    reduce(x, f32::INFINITY, smaller, smaller) + 0.0
}

/// The range of a slice, as dynamic quantization needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinMax {
    /// Smallest element that is not NaN; infinity if there is none.
    pub min: f32,
    /// Largest element that is not NaN; -infinity if there is none.
    pub max: f32,
    /// Whether any element is NaN.
    pub has_nan: bool,
}

impl MinMax {
    /// The range of both together, for callers that split a slice over threads.
    pub fn merge(self, other: MinMax) -> MinMax {
        MinMax {
            min: if other.min < self.min { other.min } else { self.min },
            max: if other.max > self.max { other.max } else { self.max },
            has_nan: self.has_nan || other.has_nan,
        }
    }
}

/// Smallest and largest element of `x` and whether it has a NaN. Zeros have the positive sign.
#[inline(always)]
pub fn min_max(x: &[f32]) -> MinMax {
    let mut smallest = [f32::INFINITY; LANES];
    let mut largest = [f32::NEG_INFINITY; LANES];
    let mut nan = [0u32; LANES];
    let mut step = |block: &[f32]| {
        for (j, &v) in block.iter().enumerate() {
            smallest[j] = if v < smallest[j] { v } else { smallest[j] };
            largest[j] = if v > largest[j] { v } else { largest[j] };
            nan[j] |= u32::from(v.is_nan());
        }
    };
    let blocks = x.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        // The constant length lets the compiler unroll and vectorise the loop.
        step(&block[..LANES]);
    }
    step(rest);
    MinMax {
        min: fold(smallest, |m, v| if v < m { v } else { m }) + 0.0,
        max: fold(largest, |m, v| if v > m { v } else { m }) + 0.0,
        has_nan: nan.iter().any(|&n| n != 0),
    }
}

/// Blocks of lanes whose exponentials are computed side by side: one is a chain of some twenty operations, each waiting for the one before.
const SIDE_BY_SIDE: usize = 4;

/// `e_i = exp(x_i - largest)` of a row whose largest element is given, and the sums of their lanes. The slices have one length.
#[inline(always)]
pub fn exp_row(x: &[f32], largest: f32, out: &mut [f32]) -> [f32; LANES] {
    const WIDE: usize = LANES * SIDE_BY_SIDE;
    let mut lanes = [0.0; LANES];
    let (wide, mut out_wide) = (x.chunks_exact(WIDE), out.chunks_exact_mut(WIDE));
    let rest = wide.remainder();
    for (x, out) in wide.zip(&mut out_wide) {
        let mut e = [0.0; WIDE];
        e.copy_from_slice(x);
        let e = exp_nonpositive_block(e.map(|e| e - largest));
        for block in e.chunks_exact(LANES) {
            for (lane, &e) in lanes.iter_mut().zip(block) {
                *lane += e;
            }
        }
        out.copy_from_slice(&e);
    }
    for (x, out) in rest.chunks(LANES).zip(out_wide.into_remainder().chunks_mut(LANES)) {
        // Always a whole block, so that short rows and their ends are computed in vectors too.
        let mut e = [0.0; LANES];
        e[..x.len()].copy_from_slice(x);
        for e in &mut e {
            *e = exp_nonpositive_f32(*e - largest);
        }
        for (lane, &e) in lanes.iter_mut().zip(&e[..x.len()]) {
            *lane += e;
        }
        out.copy_from_slice(&e[..x.len()]);
    }
    // Seen as the leaves of a tree of additions, the lanes would be accumulated in pieces instead of whole vectors.
    std::hint::black_box(lanes)
}

/// Divides what [`exp_row`] gave by the sum of the lanes, as a product with its reciprocal.
#[inline(always)]
pub fn normalize_row(x: &mut [f32], lanes: [f32; LANES]) {
    let inverse = 1.0 / fold(lanes, |a, b| a + b);
    for v in x.iter_mut() {
        *v *= inverse;
    }
}

/// Softmax of a row in place: `e_i = exp(x_i - max)`, then `e_i * (1 / sum(e))`. A row with a NaN, with +infinity, or of only
/// -infinity becomes NaN; an empty row stays empty.
pub fn softmax_row(x: &mut [f32]) {
    let before = x.to_vec();
    let lanes = exp_row(&before, max(&before), x);
    normalize_row(x, lanes);
}

/// Layer normalisation of a row: `((x - mean) * (1 / sqrt(variance + eps)) * gamma) + beta`, mean and variance as
/// above; a missing `gamma` or `beta` leaves its operation out. The slices have one length.
#[inline(always)]
pub fn layer_norm_row(x: &[f32], gamma: Option<&[f32]>, beta: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let mean = mean(x);
    let inverse = crate::math::rsqrt_f32(variance(x, mean) + eps);
    match (gamma, beta) {
        (Some(gamma), Some(beta)) => {
            for (((o, &v), &g), &b) in out.iter_mut().zip(x).zip(gamma).zip(beta) {
                *o = (v - mean) * inverse * g + b;
            }
        }
        (Some(gamma), None) => {
            for ((o, &v), &g) in out.iter_mut().zip(x).zip(gamma) {
                *o = (v - mean) * inverse * g;
            }
        }
        (None, Some(beta)) => {
            for ((o, &v), &b) in out.iter_mut().zip(x).zip(beta) {
                *o = (v - mean) * inverse + b;
            }
        }
        (None, None) => {
            for (o, &v) in out.iter_mut().zip(x) {
                *o = (v - mean) * inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, written with indices.
    fn sum_by_definition(x: &[f32]) -> f32 {
        let mut lane = [0.0f32; 16];
        for (i, v) in x.iter().enumerate() {
            lane[i % 16] += v;
        }
        let a: Vec<f32> = (0..8).map(|j| lane[j] + lane[j + 8]).collect();
        let b: Vec<f32> = (0..4).map(|j| a[j] + a[j + 4]).collect();
        (b[0] + b[2]) + (b[1] + b[3])
    }

    proptest! {
        #[test]
        fn sums_follow_the_defined_order(x in prop::collection::vec(-1e3f32..1e3, 0..200)) {
            prop_assert_eq!(sum(&x).to_bits(), sum_by_definition(&x).to_bits());
        }

        #[test]
        fn min_max_is_exact(x in prop::collection::vec(-1e3f32..1e3, 1..100)) {
            let got = min_max(&x);
            prop_assert_eq!(got.max, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            prop_assert_eq!(got.min, x.iter().copied().fold(f32::INFINITY, f32::min));
            prop_assert_eq!((got.min, got.max), (min(&x), max(&x)));
            prop_assert!(!got.has_nan);
            let (a, b) = x.split_at(x.len() / 2);
            prop_assert_eq!(min_max(a).merge(min_max(b)), got);
        }

        #[test]
        fn softmax_agrees_with_f64(x in prop::collection::vec(-30f32..30.0, 1..100)) {
            let exact: Vec<f64> = x.iter().map(|&v| f64::from(v).exp()).collect();
            let total: f64 = exact.iter().sum();
            let mut got = x.clone();
            softmax_row(&mut got);
            for (g, e) in got.iter().zip(&exact) {
                let want = e / total;
                // The argument of exp is rounded at up to 60, hence a relative error of 4e-6 at the far end.
                prop_assert!((f64::from(*g) - want).abs() <= 5e-6 * want + 1e-30, "{g} for {want}");
            }
        }

        #[test]
        fn layer_norm_agrees_with_f64(x in prop::collection::vec(-10f32..10.0, 2..100)) {
            let n = x.len() as f64;
            let m = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let var = x.iter().map(|&v| (f64::from(v) - m).powi(2)).sum::<f64>() / n;
            let gamma: Vec<f32> = (0..x.len()).map(|i| 1.0 + i as f32 * 0.01).collect();
            let beta: Vec<f32> = (0..x.len()).map(|i| i as f32 * 0.1).collect();
            let mut out = vec![0.0; x.len()];
            for (g, b) in [(Some(&gamma), Some(&beta)), (Some(&gamma), None), (None, Some(&beta)), (None, None)] {
                layer_norm_row(&x, g.map(|v| &v[..]), b.map(|v| &v[..]), 1e-3, &mut out);
                for i in 0..x.len() {
                    let want = (f64::from(x[i]) - m) / (var + 1e-3).sqrt() * g.map_or(1.0, |g| f64::from(g[i]))
                        + b.map_or(0.0, |b| f64::from(b[i]));
                    // Cancellation in x - mean: a few roundings of values up to 10, divided by at least sqrt(eps).
                    prop_assert!((f64::from(out[i]) - want).abs() <= 2e-4, "{} for {want}", out[i]);
                }
            }
        }
    }

    #[test]
    fn special_values_are_defined() {
        let found = min_max(&[1.0, f32::NAN, -2.0]);
        assert_eq!((found.min, found.max, found.has_nan), (-2.0, 1.0, true));
        assert_eq!(max(&[-0.0, 0.0]).to_bits(), 0);
        assert_eq!(sum(&[]).to_bits(), 0);
        for mut row in [[0.0, f32::NAN], [0.0, f32::INFINITY], [f32::NEG_INFINITY; 2]] {
            softmax_row(&mut row);
            assert!(row[1].is_nan());
        }
        let mut masked = [0.0, f32::NEG_INFINITY, f32::MIN];
        softmax_row(&mut masked);
        assert_eq!(masked, [1.0, 0.0, 0.0]);
    }
}
