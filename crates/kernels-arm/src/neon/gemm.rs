//! Integer GEMM on `smull`, `smlal2` and `sadalp`: two products of signed bytes are summed in 16 bits, then pairs of those
//! sums in 32. Only twice -128 by -128 takes more than 16 bits; a panel with such weights sums each product in 32.

use std::arch::aarch64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;

use crate::gemm::Columns;
use crate::stage::{self, Job, Stage};
use crate::upper;

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<Neon>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<Neon>::new() } };
}

/// NEON.
struct Neon;

/// Bytes of a vector.
const VECTOR: usize = 16;
/// Columns of a panel.
const COLUMNS: usize = 4;

impl Tier for Neon {
    const CONV: &'static str = "qconv.neon";
    const MATMUL: &'static str = "qmatmul.neon";
    const DEPTH: usize = VECTOR;
    const LANES: usize = COLUMNS;
    const VECTORS: usize = 1;
    const ROWS: usize = 4;
    const SIGNED: bool = true;

    fn is_wide(weights: &[i8]) -> bool {
        let (low, high) = weights.split_at(VECTOR / 2);
        low.iter().zip(high).any(|pair| pair == (&i8::MIN, &i8::MIN))
    }

    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises.
        unsafe { stage::run(&Rows(panel), epilogue) }
    }
}

/// All rows of a panel.
struct Rows<'a>(&'a Panel);

impl Job for Rows<'_> {
    unsafe fn run<S: Stage>(&self, scale: &[f32], stage: &S) {
        // SAFETY: the caller's promises.
        unsafe {
            let columns = Columns::<1, S>::new(self.0, scale, stage);
            if self.0.wide { all_rows::<true, S>(&columns) } else { all_rows::<false, S>(&columns) }
        }
    }
}

/// # Safety
/// As [`Tier::multiply`].
unsafe fn all_rows<const WIDE: bool, S: Stage>(columns: &Columns<'_, 1, S>) {
    let mut row = 0;
    while row < columns.panel.rows {
        // SAFETY: each arm computes no more rows than are left.
        row += unsafe {
            match columns.panel.rows - row {
                4.. => tile::<4, WIDE, S>(columns, row),
                2.. => tile::<2, WIDE, S>(columns, row),
                _ => tile::<1, WIDE, S>(columns, row),
            }
        };
    }
}

/// Computes the rows `row..row + MR` and returns their number.
///
/// # Safety
/// As [`Tier::multiply`]; the panel has the rows.
#[inline(always)]
unsafe fn tile<const MR: usize, const WIDE: bool, S: Stage>(columns: &Columns<'_, 1, S>, row: usize) -> usize {
    let panel = columns.panel;
    // SAFETY: left rows have `16 * steps` bytes, the right side four vectors for each step.
    unsafe {
        // Four sums of every fourth product each, for each row and column.
        let mut acc = [[vdupq_n_s32(0); COLUMNS]; MR];
        let mut a = panel.a.add(row * panel.a_stride);
        let mut b = panel.b.cast::<i8>();
        let flip = vdupq_n_u8(0x80);
        for _ in 0..panel.steps {
            let mut left = [vdupq_n_s8(0); MR];
            for (i, left) in left.iter_mut().enumerate() {
                *left = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a.add(i * panel.a_stride)), flip));
            }
            for j in 0..COLUMNS {
                let right = vld1q_s8(b.add(j * VECTOR));
                for (acc, &left) in acc.iter_mut().zip(&left) {
                    let low = vmull_s8(vget_low_s8(left), vget_low_s8(right));
                    acc[j] = if WIDE {
                        vpadalq_s16(vpadalq_s16(acc[j], low), upper::smull_s8(left, right))
                    } else {
                        vpadalq_s16(acc[j], upper::smlal_s8(low, left, right))
                    };
                }
            }
            a = a.add(VECTOR);
            b = b.add(COLUMNS * VECTOR);
        }
        for (i, [c0, c1, c2, c3]) in acc.into_iter().enumerate() {
            columns.finish(row + i, [vpaddq_s32(vpaddq_s32(c0, c1), vpaddq_s32(c2, c3))]);
        }
    }
    MR
}
