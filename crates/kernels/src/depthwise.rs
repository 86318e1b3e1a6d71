//! Depthwise convolution (groups = channels, one filter each) in plain Rust.
//!
//! It has the interface of the dense convolution, [`QConv`]: the same plan, the same offsets, the same epilogues.

use std::ops::Range;

use crate::conv::portable::store;
use crate::conv::{
    AlignedBytes, ConvArgs, ConvGeometry, ConvPlan, ConvWeightShape, Output, PackedWeights, QConv, as_i8,
};

/// Channels computed together.
const COLUMNS: usize = 16;

/// Whether depthwise kernels compute this convolution: every group is one input and one output channel.
pub fn is_depthwise(shape: &ConvWeightShape) -> bool {
    shape.groups == shape.c && shape.groups == shape.oc
}

/// Checks what every depthwise kernel relies on beyond [`ConvArgs::check`].
///
/// # Panics
/// If the weights are not depthwise: an error of the caller.
pub fn check_depthwise(shape: &ConvWeightShape) {
    assert!(is_depthwise(shape), "not a depthwise convolution: {shape:?}");
}

/// Depthwise convolution in plain Rust. Packed weights are `[taps][channels]`.
pub(crate) struct PortableDepthwise;

/// Adds a row's products for one block of channels.
#[inline(always)]
fn multiply_add(acc: &mut [i32], x: impl Iterator<Item = u8>, weights: &[i8]) {
    for ((acc, x), &weight) in acc.iter_mut().zip(x).zip(weights) {
        *acc = acc.wrapping_add(i32::from(x) * i32::from(weight));
    }
}

impl QConv for PortableDepthwise {
    fn name(&self) -> &'static str {
        "qdepthwise.portable"
    }

    fn pack(&self, shape: &ConvWeightShape, weights: &[i8]) -> PackedWeights {
        check_depthwise(shape);
        assert_eq!(weights.len(), shape.len(), "weights do not fit {shape:?}");
        let (taps, channels) = (shape.taps(), shape.c);
        let mut data = AlignedBytes::zeroed(weights.len());
        for (i, &weight) in weights.iter().enumerate() {
            data.as_mut_slice()[i % taps * channels + i / taps] = weight as u8;
        }
        PackedWeights::new(self.name(), shape, weights, data)
    }

    fn scratch_len(&self, _plan: &ConvPlan) -> usize {
        0
    }

    fn run(&self, args: &ConvArgs<'_>, rows: Range<usize>, mut out: Output<'_>, scratch: &mut [u8]) {
        args.check(self.name(), &rows, &out, scratch.len(), 0);
        let ConvGeometry { c, .. } = *args.plan.geometry();
        let weights = as_i8(args.weights.data());
        for row in rows.clone() {
            for first in (0..c).step_by(COLUMNS) {
                let count = COLUMNS.min(c - first);
                let mut acc = [0; COLUMNS];
                let acc = &mut acc[..count];
                acc.copy_from_slice(&args.offsets[first..first + count]);
                args.plan.for_each_tap(row, |tap, source| {
                    let weights = &weights[tap * c + first..][..count];
                    match source {
                        Some(at) => multiply_add(acc, args.x[at + first..][..count].iter().copied(), weights),
                        None => multiply_add(acc, std::iter::repeat(args.x_zero_point), weights),
                    }
                });
                store(&mut out, args.epilogue, row - rows.start, first, acc);
            }
        }
    }
}
