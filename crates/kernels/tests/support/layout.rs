//! Random changes of layout, and what they must give by definition.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::ops::Range;

use proptest::prelude::*;
use quantc_kernels::{DequantizeParams, Kernels, QuantizeParams, RowsMut};
use quantc_tensor::round;

use super::elem::{Results, bits, clamp, f32s};
use super::support::{Fill, Random};

/// Changes of layout of one image or tensor.
#[derive(Clone, Debug)]
pub struct LayoutCase {
    pub channels: usize,
    pub pixels: Range<usize>,
    pub plane: usize,
    pub gap: usize,
    pub shape: Vec<usize>,
    pub permutation: Vec<usize>,
    pub seed: u64,
}

prop_compose! {
    pub fn layout_case()(
        channels in prop_oneof![3 => 1..9usize, 2 => 1..70usize, 1 => 60..300usize],
        plane in prop_oneof![1..20usize, 20..200usize],
        (from, to) in any::<(u16, u16)>(),
        gap in prop_oneof![Just(0usize), 1..4usize],
        shape in prop::collection::vec(prop_oneof![1 => Just(1usize), 3 => 1..7usize, 1 => 7..20usize], 1..=6),
    )(
        permutation in Just((0..shape.len()).collect::<Vec<_>>()).prop_shuffle(),
        channels in Just(channels),
        plane in Just(plane),
        ends in Just([usize::from(from) % (plane + 1), usize::from(to) % (plane + 1)]),
        gap in Just(gap),
        shape in Just(shape),
        seed in any::<u64>(),
    ) -> LayoutCase {
        let pixels = ends[0].min(ends[1])..ends[0].max(ends[1]);
        LayoutCase { channels, pixels, plane, gap, shape, permutation, seed }
    }
}

impl LayoutCase {
    /// Every layout kernel of the set, or its definition where there is no set.
    pub fn run(&self, kernels: Option<&Kernels>) -> Results {
        let random = &mut Random(self.seed);
        let (channels, plane, gap) = (self.channels, self.plane, self.gap);
        let image = f32s(random, channels * plane, true);
        let quantized = Fill::Full.u8s(random, plane * (channels + gap) - gap);
        let q = QuantizeParams {
            inverse_scale: random.real(0.1, 10.0),
            zero_point: random.below(256) as i32,
            clamp: clamp(random),
        };
        let dq = DequantizeParams { scale: random.real(0.001, 1.0), zero_point: random.below(256) as i32 };
        let stride = channels + gap;
        let mut results = Results::new();

        let mut out = vec![0xa5; self.pixels.len() * stride];
        match kernels {
            Some(k) => {
                k.quantize.quantize_to_nhwc(&q, &image, channels, self.pixels.clone(), RowsMut::new(&mut out, stride))
            }
            None => {
                for (i, pixel) in self.pixels.clone().enumerate() {
                    for c in 0..channels {
                        let x = image[c * plane + pixel];
                        out[i * stride + c] =
                            round::quantize(x, q.inverse_scale, q.zero_point, q.clamp.0, q.clamp.1) as u8;
                    }
                }
            }
        }
        results.push(("quantize_to_nhwc".into(), out.into_iter().map(u32::from).collect()));

        let some = random.below(channels as u64) as usize..channels;
        let mut out = vec![0.0; some.len() * plane];
        match kernels {
            Some(k) => k.quantize.dequantize_to_nchw(&dq, &quantized, stride, some, &mut out),
            None => {
                for (i, o) in out.iter_mut().enumerate() {
                    let x = quantized[i % plane * stride + some.start + i / plane];
                    *o = round::dequantize(x.into(), dq.scale, dq.zero_point);
                }
            }
        }
        results.push(("dequantize_to_nchw".into(), out.into_iter().map(bits).collect()));

        let transposed = |i: usize| (i % (plane + gap) < plane).then(|| i % (plane + gap) * stride + i / (plane + gap));
        let mut out = vec![0xa5u8; channels * (plane + gap)];
        match kernels {
            Some(k) => {
                k.layout.transpose_u8(plane, channels, &quantized, stride, RowsMut::new(&mut out, plane + gap));
            }
            None => out.iter_mut().enumerate().for_each(|(i, o)| *o = transposed(i).map_or(0xa5, |i| quantized[i])),
        }
        results.push(("transpose_u8".into(), out.into_iter().map(u32::from).collect()));

        let reals: Vec<f32> = quantized.iter().map(|&q| q.into()).collect();
        let mut out = vec![-1.0f32; channels * (plane + gap)];
        match kernels {
            Some(k) => k.layout.transpose_f32(plane, channels, &reals, stride, RowsMut::new(&mut out, plane + gap)),
            None => out.iter_mut().enumerate().for_each(|(i, o)| *o = transposed(i).map_or(-1.0, |i| reals[i])),
        }
        results.push(("transpose_f32".into(), out.into_iter().map(bits).collect()));

        let len = self.shape.iter().product();
        let x = Fill::Full.u8s(random, len);
        let reals: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let (mut out, mut real_out) = (vec![0; len], vec![0.0; len]);
        match kernels {
            Some(k) => {
                k.layout.permute_u8(&self.shape, &self.permutation, &x, &mut out);
                k.layout.permute_f32(&self.shape, &self.permutation, &reals, &mut real_out);
            }
            None => {
                for i in 0..len {
                    let from = self.permuted(i);
                    (out[i], real_out[i]) = (x[from], reals[from]);
                }
            }
        }
        results.push(("permute_u8".into(), out.into_iter().map(u32::from).collect()));
        results.push(("permute_f32".into(), real_out.into_iter().map(bits).collect()));
        results
    }

    /// The input element that output element `i` of the permutation is.
    fn permuted(&self, mut i: usize) -> usize {
        let mut index = vec![0; self.shape.len()];
        for &axis in self.permutation.iter().rev() {
            index[axis] = i % self.shape[axis];
            i /= self.shape[axis];
        }
        index.iter().zip(&self.shape).fold(0, |at, (i, len)| at * len + i)
    }
}
