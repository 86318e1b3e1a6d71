//! Convolution in plain Rust, written for the compiler's vectoriser.

use std::ops::Range;

use super::{AlignedBytes, ConvArgs, ConvPlan, ConvWeightShape, Output, OutputData, PackedWeights, QConv};
use crate::epilogue::Epilogue;

/// Rows gathered together: each column of weights fetched serves all of them.
pub(crate) const ROWS: usize = 16;

/// Convolution in plain Rust. Packed weights are `[oc][k]`, as i16.
pub(crate) struct PortableConv;

/// A row's distance to the next among the gathered patches.
fn patch_stride(plan: &ConvPlan) -> usize {
    plan.min_patch_stride(plan.geometry().weight_shape().group_c()).max(1)
}

impl QConv for PortableConv {
    fn name(&self) -> &'static str {
        "qconv.portable"
    }

    fn pack(&self, shape: &ConvWeightShape, weights: &[i8]) -> PackedWeights {
        let mut data = AlignedBytes::zeroed(weights.len() * size_of::<i16>());
        for (to, &weight) in data.as_mut_slice().as_chunks_mut().0.iter_mut().zip(weights) {
            *to = i16::from(weight).to_ne_bytes();
        }
        PackedWeights::new(self.name(), shape, weights, data)
    }

    fn scratch_len(&self, plan: &ConvPlan) -> usize {
        if plan.is_pointwise() { 0 } else { ROWS.min(plan.geometry().rows()) * patch_stride(plan) }
    }

    fn run(&self, args: &ConvArgs<'_>, rows: Range<usize>, mut out: Output<'_>, scratch: &mut [u8]) {
        args.check(self.name(), &rows, &out, scratch.len(), self.scratch_len(args.plan));
        let shape = args.weights.shape();
        let (k, columns) = (shape.k(), shape.group_oc());
        let weights = args.weights.data().as_chunks().0;
        for block in ConvPlan::tiles(rows.clone(), ROWS) {
            for group in 0..shape.groups {
                let channels = group * shape.group_c()..(group + 1) * shape.group_c();
                let (patches, stride) = if args.plan.is_pointwise() {
                    (&args.x[block.start * shape.c + channels.start..], shape.c)
                } else {
                    let stride = patch_stride(args.plan);
                    args.plan.gather(block.clone(), channels, args.x, args.x_zero_point, scratch, stride);
                    (&*scratch, stride)
                };
                let first = group * columns;
                let weights = &weights[first * k..(first + columns) * k];
                multiply(patches, stride, block.len(), weights, k, columns, |row, column, sums| {
                    for (sum, offset) in sums.iter_mut().zip(&args.offsets[first + column..]) {
                        *sum = sum.wrapping_add(*offset);
                    }
                    store(&mut out, args.epilogue, block.start - rows.start + row, first + column, sums);
                });
            }
        }
    }
}

/// Columns computed together: each byte of the left row serves all of them.
const COLUMNS: usize = 4;

/// Multiplies `rows` rows of `k` bytes, `stride` apart, with the columns of a matrix, `[columns][k]` as i16 in bytes, and
/// calls `finish(row, first_column, sums)` for the sums of a few columns at a time.
pub(crate) fn multiply(
    a: &[u8],
    stride: usize,
    rows: usize,
    b: &[[u8; 2]],
    k: usize,
    columns: usize,
    mut finish: impl FnMut(usize, usize, &mut [i32]),
) {
    let whole = columns / COLUMNS * COLUMNS;
    let row = |row: usize| &a[row * stride..][..k];
    for column in (0..whole).step_by(COLUMNS) {
        (0..rows).for_each(|i| finish(i, column, &mut dots::<COLUMNS>(row(i), &b[column * k..])));
    }
    for column in whole..columns {
        (0..rows).for_each(|i| finish(i, column, &mut dots::<1>(row(i), &b[column * k..])));
    }
}

/// The sums of products of a row and each of the first `N` columns. One running sum per column is the form that
/// compilers turn into multiply-add instructions on pairs.
#[inline(always)]
fn dots<const N: usize>(a: &[u8], b: &[[u8; 2]]) -> [i32; N] {
    let columns: [&[[u8; 2]]; N] = std::array::from_fn(|j| &b[j * a.len()..][..a.len()]);
    let mut sums = [0i32; N];
    for (i, &a) in a.iter().enumerate() {
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum = sum.wrapping_add(i32::from(i16::from(a)) * i32::from(i16::from_ne_bytes(column[i])));
        }
    }
    sums
}

/// Stores one row's accumulators from output channel `channel` on.
pub(crate) fn store(out: &mut Output<'_>, epilogue: &Epilogue<'_>, row: usize, channel: usize, acc: &[i32]) {
    let at = row * out.stride + channel;
    match &mut out.data {
        OutputData::U8(data) => {
            for (i, (to, &acc)) in data[at..at + acc.len()].iter_mut().zip(acc).enumerate() {
                *to = epilogue.u8_at(acc, row, channel + i);
            }
        }
        OutputData::F32(data) => {
            for (i, (to, &acc)) in data[at..at + acc.len()].iter_mut().zip(acc).enumerate() {
                *to = epilogue.f32_at(acc, channel + i);
            }
        }
    }
}
