//! The tier of machines with products of matrices of bytes: integer GEMM on `usmmla`, everything else from the tiers below.
//!
//! The instruction multiplies two rows of eight u8 with two columns of eight s8.

use std::arch::aarch64::*;
use std::arch::asm;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;

use crate::gemm::Columns;
use crate::stage::{self, Job, Stage};

/// One row per kernel. Only for machines that have the tier.
pub(crate) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<I8mm>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<I8mm>::new() } };
}

/// NEON with products of matrices.
struct I8mm;

/// Bytes of a vector: two columns.
const VECTOR: usize = 16;
/// Successive bytes of a row or column.
const HALF: usize = 8;

impl Tier for I8mm {
    const CONV: &'static str = "qconv.i8mm";
    const MATMUL: &'static str = "qmatmul.i8mm";
    const DEPTH: usize = HALF;
    const LANES: usize = 4;
    const VECTORS: usize = 4;
    const ROWS: usize = 12;
    const SIGNED: bool = false;

    fn is_wide(_weights: &[i8]) -> bool {
        false
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
        // SAFETY: the caller's promises; `columns` is 1 to 16, so one to four times four.
        unsafe {
            match self.0.columns.div_ceil(4) {
                1 => all_rows::<1, S>(self.0, scale, stage),
                2 => all_rows::<2, S>(self.0, scale, stage),
                3 => all_rows::<3, S>(self.0, scale, stage),
                _ => all_rows::<4, S>(self.0, scale, stage),
            }
        }
    }
}

/// # Safety
/// As [`Tier::multiply`]; the panel has at most `4 * NR` columns.
#[target_feature(enable = "neon,i8mm")]
unsafe fn all_rows<const NR: usize, S: Stage>(panel: &Panel, scale: &[f32], stage: &S) {
    let mut row = 0;
    // SAFETY: each arm computes no more rows than are left.
    unsafe {
        let columns = Columns::<NR, S>::new(panel, scale, stage);
        while row < panel.rows {
            row += match panel.rows - row {
                // Enough sums to hide the latency of the products, few enough for the registers.
                12.. if NR <= 2 => tile::<6, NR, S>(&columns, row),
                6.. => tile::<3, NR, S>(&columns, row),
                4.. => tile::<2, NR, S>(&columns, row),
                2.. => tile::<1, NR, S>(&columns, row),
                _ => last_row::<NR, S>(&columns, row),
            };
        }
    }
}

/// Computes the rows `row..row + 2 * PAIRS` and returns their number.
///
/// # Safety
/// As [`Tier::multiply`]; the panel has the rows and at most `4 * NR` columns.
#[target_feature(enable = "neon,i8mm")]
unsafe fn tile<const PAIRS: usize, const NR: usize, S: Stage>(columns: &Columns<'_, NR, S>, row: usize) -> usize {
    // SAFETY: the caller's promises.
    unsafe {
        let acc = products::<PAIRS, NR>(columns.panel, row, columns.panel.a_stride);
        for (i, acc) in acc.iter().enumerate() {
            columns.finish(row + 2 * i, acc.map(|[even, odd]| side_by_side(even, odd).0));
            columns.finish(row + 2 * i + 1, acc.map(|[even, odd]| side_by_side(even, odd).1));
        }
    }
    2 * PAIRS
}

/// As [`tile`], of one row: the second of a pair is the first again.
///
/// # Safety
/// As [`tile`], for one row.
#[target_feature(enable = "neon,i8mm")]
unsafe fn last_row<const NR: usize, S: Stage>(columns: &Columns<'_, NR, S>, row: usize) -> usize {
    // SAFETY: the caller's promises.
    unsafe {
        let [acc] = products::<1, NR>(columns.panel, row, 0);
        columns.finish(row, acc.map(|[even, odd]| side_by_side(even, odd).0));
    }
    1
}

/// The sums of two rows by two columns each, for `PAIRS` pairs of rows from `row` on. The second row of a pair lies `second`
/// bytes behind the first.
///
/// # Safety
/// As [`tile`].
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn products<const PAIRS: usize, const NR: usize>(
    panel: &Panel,
    row: usize,
    second: usize,
) -> [[[int32x4_t; 2]; NR]; PAIRS] {
    let mut acc = [[[vdupq_n_s32(0); 2]; NR]; PAIRS];
    // SAFETY: left rows have `8 * steps` bytes, the right side `2 * NR` vectors for each step.
    unsafe {
        let mut a = panel.a.add(row * panel.a_stride);
        let mut b = panel.b.cast::<i8>();
        for _ in 0..panel.steps {
            let mut left = [vdupq_n_u8(0); PAIRS];
            for (i, left) in left.iter_mut().enumerate() {
                let first = a.add(2 * i * panel.a_stride);
                *left = vcombine_u8(vld1_u8(first), vld1_u8(first.add(second)));
            }
            for j in 0..NR {
                for half in 0..2 {
                    let right = vld1q_s8(b.add((2 * j + half) * VECTOR));
                    for (acc, &left) in acc.iter_mut().zip(&left) {
                        acc[j][half] = usmmla(acc[j][half], left, right);
                    }
                }
            }
            a = a.add(HALF);
            b = b.add(2 * NR * VECTOR);
        }
    }
    acc
}

/// The sums of two rows by four columns, as two rows.
#[inline]
#[target_feature(enable = "neon")]
fn side_by_side(even: int32x4_t, odd: int32x4_t) -> (int32x4_t, int32x4_t) {
    let (even, odd) = (vreinterpretq_s64_s32(even), vreinterpretq_s64_s32(odd));
    (vreinterpretq_s32_s64(vzip1q_s64(even, odd)), vreinterpretq_s32_s64(vzip2q_s64(even, odd)))
}

/// Adds the products of two rows of eight bytes by two columns.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usmmla(mut acc: int32x4_t, rows: uint8x16_t, columns: int8x16_t) -> int32x4_t {
    // SAFETY: computes from registers alone; the function has the instruction.
    unsafe {
        asm!(
            "usmmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) rows,
            b = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
