//! Random poolings: how to run them on a set of kernels, and what they must give by definition.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::ops::Range;

use proptest::prelude::*;
use quantc_kernels::{AvgPoolParams, Kernels, PoolGeometry, PoolWindow, RowsMut};
use quantc_tensor::round;

use super::elem::{Results, bits, clamp, f32s};
use super::support::{Fill, Random, fill};

/// Which windows.
#[derive(Clone, Debug)]
pub enum Windows {
    Regular(PoolWindow),
    Adaptive,
}

/// A pooling.
#[derive(Clone, Debug)]
pub struct PoolCase {
    n: usize,
    c: usize,
    input: [usize; 3],
    output: [usize; 3],
    windows: Windows,
    rows: Range<usize>,
    count_include_pad: bool,
    /// Whether the average is scaled in two steps.
    two_steps: bool,
    gap: usize,
    fill: Fill,
    seed: u64,
}

prop_compose! {
    pub fn pool_case()(
        n in 1..3usize,
        flat in any::<bool>(),
        (depth, h, w) in (1..6usize, 1..12usize, 1..12usize),
        c in prop_oneof![1..20usize, 20..200usize],
        kernel in [1..4usize, 1..5usize, 1..5usize],
        stride in [1..3usize, 1..4usize, 1..4usize],
        dilation in [1..3usize, 1..3usize, 1..3usize],
        (pad_begin, pad_end) in ([0..2usize, 0..4usize, 0..4usize], [0..2usize, 0..4usize, 0..4usize]),
        ceil in any::<bool>(),
        adaptive in prop::option::weighted(0.3, [1..4usize, 1..6usize, 1..6usize]),
        (from, to) in any::<(u16, u16)>(),
        (count_include_pad, two_steps) in any::<(bool, bool)>(),
        gap in 0..3usize,
        fill in fill(),
        seed in any::<u64>(),
    ) -> PoolCase {
        // Two dimensions are three with a depth of 1.
        let of = |sizes: [usize; 3], one: usize| if flat { [one, sizes[1], sizes[2]] } else { sizes };
        let input = of([depth, h, w], 1);
        let window = PoolWindow {
            kernel: of(kernel, 1),
            stride: of(stride, 1),
            dilation: of(dilation, 1),
            pad_begin: of(pad_begin, 0),
            pad_end: of(pad_end, 0),
        };
        let (output, windows) = match adaptive {
            Some(output) => (of(output, 1), Windows::Adaptive),
            None => {
                let size = |d: usize| {
                    let reach = window.dilation[d] * (window.kernel[d] - 1) + 1;
                    let span = (input[d] + window.pad_begin[d] + window.pad_end[d]).checked_sub(reach);
                    let stride = window.stride[d];
                    span.map_or(0, |v| if ceil { v.div_ceil(stride) } else { v / stride } + 1)
                };
                ([0, 1, 2].map(size), Windows::Regular(window))
            }
        };
        let total = n * output.iter().product::<usize>();
        let ends = [from, to].map(|v| usize::from(v) % (total + 1));
        let rows = ends[0].min(ends[1])..ends[0].max(ends[1]);
        PoolCase { n, c, input, output, windows, rows, count_include_pad, two_steps, gap, fill, seed }
    }
}

/// One window.
struct Window {
    /// The elements' indices, in row-major order.
    inside: Vec<usize>,
    /// Taps inside the image or its padding.
    padded: usize,
}

impl PoolCase {
    fn geometry(&self) -> PoolGeometry {
        match &self.windows {
            Windows::Regular(window) => PoolGeometry::new(self.n, self.c, self.input, self.output, window),
            Windows::Adaptive => PoolGeometry::adaptive(self.n, self.c, self.input, self.output),
        }
    }

    /// The coordinates of a window along one axis: inside the image, and how many there are with padding.
    fn along(&self, d: usize, o: usize) -> (Vec<usize>, usize) {
        match &self.windows {
            Windows::Regular(w) => {
                let taps = (0..w.kernel[d]).map(|t| o * w.stride[d] + t * w.dilation[d]);
                let padded = taps.clone().filter(|&p| p < w.pad_begin[d] + self.input[d] + w.pad_end[d]).count();
                let inside = taps.filter_map(|p| p.checked_sub(w.pad_begin[d])).filter(|&i| i < self.input[d]);
                (inside.collect(), padded)
            }
            Windows::Adaptive => {
                let (size, count) = (self.input[d], self.output[d]);
                let all: Vec<usize> = (o * size / count..((o + 1) * size).div_ceil(count)).collect();
                let padded = all.len();
                (all, padded)
            }
        }
    }

    fn window(&self, row: usize, c: usize) -> Window {
        let [d, h, w] = self.output;
        let [image, z, y, x] = [row / (d * h * w), row / (h * w) % d, row / w % h, row % w];
        let ((zs, pz), (ys, py), (xs, px)) = (self.along(0, z), self.along(1, y), self.along(2, x));
        let mut inside = Vec::new();
        for z in &zs {
            for y in &ys {
                for x in &xs {
                    let pixel = ((image * self.input[0] + z) * self.input[1] + y) * self.input[2] + x;
                    inside.push(pixel * self.c + c);
                }
            }
        }
        Window { inside, padded: pz * py * px }
    }

    /// Elements that one pooling computes.
    pub fn outputs(&self) -> usize {
        self.rows.len() * self.c
    }

    /// The poolings of u8.
    pub fn run_integer(&self, kernels: &Kernels) -> Results {
        let mut results = self.run(Some(kernels));
        results.retain(|(name, _)| !name.ends_with("_f32"));
        results
    }

    /// All poolings of the set, or their definitions where there is no set.
    pub fn run(&self, kernels: Option<&Kernels>) -> Results {
        let g = self.geometry();
        let random = &mut Random(self.seed);
        let x = self.fill.u8s(random, g.x_len());
        let fx = f32s(random, g.x_len(), true);
        let scale = random.real(0.2, 3.0);
        let multiplier: Vec<f32> = (0..=g.most_taps()).map(|n| scale / n as f32).collect();
        let params = AvgPoolParams {
            x_zero_point: random.below(256) as i32,
            count_include_pad: self.count_include_pad,
            multiplier: &multiplier,
            rescale: if self.two_steps { random.real(0.3, 3.0) } else { 1.0 },
            zero_point: random.below(256) as i32,
            clamp: clamp(random),
        };
        let stride = self.c + self.gap;
        let len = (self.rows.len() * stride).saturating_sub(self.gap);
        let (mut max, mut avg) = (vec![0xa5u8; len], vec![0xa5u8; len]);
        let (mut fmax, mut favg) = (vec![-12345.0f32; len], vec![-12345.0f32; len]);
        match kernels {
            Some(k) => {
                let rows = || self.rows.clone();
                k.qpool.max_pool(&g, &x, rows(), RowsMut::new(&mut max, stride));
                k.qpool.avg_pool(&g, &params, &x, rows(), RowsMut::new(&mut avg, stride));
                k.pool.max_pool_f32(&g, &fx, rows(), RowsMut::new(&mut fmax, stride));
                k.pool.avg_pool_f32(&g, self.count_include_pad, &fx, rows(), RowsMut::new(&mut favg, stride));
            }
            None => {
                for (i, row) in self.rows.clone().enumerate() {
                    for c in 0..self.c {
                        let (at, window) = (i * stride + c, self.window(row, c));
                        let counted = if self.count_include_pad { window.padded } else { window.inside.len() };
                        let taps = || window.inside.iter().map(|&i| x[i]);
                        let sum: i32 = taps().map(|q| i32::from(q) - params.x_zero_point).sum();
                        max[at] = taps().max().unwrap_or(0);
                        let (lo, hi) = params.clamp;
                        let real = sum as f32 * multiplier[counted] * params.rescale;
                        avg[at] = round::round_saturate(real, params.zero_point, lo, hi) as u8;
                        let taps = || window.inside.iter().map(|&i| fx[i]);
                        let nan = taps().any(f32::is_nan);
                        fmax[at] = if nan { f32::NAN } else { taps().fold(f32::NEG_INFINITY, f32_larger) };
                        favg[at] = taps().fold(0.0, |sum, v| sum + v) / counted as f32;
                    }
                }
            }
        }
        let codes = |v: Vec<u8>| v.into_iter().map(u32::from).collect();
        let reals = |v: Vec<f32>| v.into_iter().map(bits).collect();
        vec![
            ("max_pool".into(), codes(max)),
            ("avg_pool".into(), codes(avg)),
            ("max_pool_f32".into(), reals(fmax)),
            ("avg_pool_f32".into(), reals(favg)),
        ]
    }
}

/// The larger of two numbers, the first of equal ones.
fn f32_larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
