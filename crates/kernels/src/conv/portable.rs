//! Convolution in plain Rust, written for the compiler's vectoriser.

use std::ops::Range;

use super::{AlignedBytes, ConvArgs, ConvPlan, ConvWeightShape, Output, OutputData, PackedWeights, QConv, as_i8};
use crate::epilogue::Epilogue;

/// Rows computed together: each weight loaded serves all of them.
pub(crate) const ROWS: usize = 4;
/// Output channels computed together.
pub(crate) const COLUMNS: usize = 16;

/// Convolution in plain Rust.
pub(crate) struct PortableConv;

/// Weights of one block of columns: `[k][COLUMNS]`, zero where there is no column.
type Panel = [[i8; COLUMNS]];

impl QConv for PortableConv {
    fn name(&self) -> &'static str {
        "qconv.portable"
    }

    fn pack(&self, shape: &ConvWeightShape, weights: &[i8]) -> PackedWeights {
        assert_eq!(weights.len(), shape.len(), "weights do not fit {shape:?}");
        let (k, columns) = (shape.k(), shape.group_oc());
        let panels = columns.div_ceil(COLUMNS);
        let mut data = AlignedBytes::zeroed(shape.groups * panels * k * COLUMNS);
        for (i, &weight) in weights.iter().enumerate() {
            let (oc, ki) = (i / k, i % k);
            let (group, column) = (oc / columns, oc % columns);
            let panel = group * panels + column / COLUMNS;
            data.as_mut_slice()[(panel * k + ki) * COLUMNS + column % COLUMNS] = weight as u8;
        }
        PackedWeights::new(self.name(), shape, weights, data)
    }

    fn scratch_len(&self, plan: &ConvPlan) -> usize {
        if plan.is_pointwise() && plan.geometry().groups == 1 { 0 } else { ROWS * plan.geometry().weight_shape().k() }
    }

    fn run(&self, args: &ConvArgs<'_>, rows: Range<usize>, mut out: Output<'_>, scratch: &mut [u8]) {
        args.check(self.name(), &rows, &out, scratch.len(), self.scratch_len(args.plan));
        let shape = args.weights.shape();
        let (k, columns) = (shape.k(), shape.group_oc());
        let panels = columns.div_ceil(COLUMNS);
        let direct = self.scratch_len(args.plan) == 0;
        let weights = as_i8(args.weights.data()).as_chunks::<COLUMNS>().0;
        for tile in ConvPlan::tiles(rows.clone(), ROWS) {
            for group in 0..shape.groups {
                let patches = if direct {
                    &args.x[tile.start * k..tile.end * k]
                } else {
                    let channels = group * shape.group_c()..(group + 1) * shape.group_c();
                    for (i, row) in tile.clone().enumerate() {
                        let patch = &mut scratch[i * k..(i + 1) * k];
                        args.plan.gather(&args.plan.cursor(row), &channels, args.x, args.x_zero_point, patch);
                    }
                    &scratch[..tile.len() * k]
                };
                for panel in 0..panels {
                    let first = panel * COLUMNS;
                    let count = COLUMNS.min(columns - first);
                    let channel = group * columns + first;
                    let mut init = [0; COLUMNS];
                    init[..count].copy_from_slice(&args.offsets[channel..channel + count]);
                    let at = (group * panels + panel) * k;
                    let mut acc = [init; ROWS];
                    accumulate(&mut acc, patches, k, k, tile.len(), &weights[at..at + k]);
                    for (i, acc) in acc[..tile.len()].iter().enumerate() {
                        store(&mut out, args.epilogue, tile.start - rows.start + i, channel, &acc[..count]);
                    }
                }
            }
        }
    }
}

/// Adds `a * panel` to the first `rows` accumulators; row `i` of `a` starts at `i * stride`.
#[inline(always)]
pub(crate) fn accumulate(
    acc: &mut [[i32; COLUMNS]; ROWS],
    a: &[u8],
    stride: usize,
    k: usize,
    rows: usize,
    panel: &Panel,
) {
    if rows == ROWS && k > 0 {
        let a: [&[u8]; ROWS] = std::array::from_fn(|i| &a[i * stride..i * stride + k]);
        for (ki, weights) in panel.iter().enumerate() {
            for (acc, a) in acc.iter_mut().zip(a) {
                multiply_add(acc, a[ki], weights);
            }
        }
    } else {
        for (i, acc) in acc[..rows].iter_mut().enumerate() {
            for (&a, weights) in a[i * stride..][..k].iter().zip(panel) {
                multiply_add(acc, a, weights);
            }
        }
    }
}

#[inline(always)]
fn multiply_add(acc: &mut [i32; COLUMNS], a: u8, weights: &[i8; COLUMNS]) {
    for (acc, &weight) in acc.iter_mut().zip(weights) {
        *acc = acc.wrapping_add(i32::from(a) * i32::from(weight));
    }
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
