//! The tier of machines with dot products of bytes: integer GEMM on `sdot`, everything else from NEON.

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
    kernels.qconv = const { &unsafe { Conv::<Dotprod>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<Dotprod>::new() } };
}

/// NEON with dot products.
struct Dotprod;

/// Bytes of a vector.
const VECTOR: usize = 16;
/// Successive bytes multiplied and summed by a lane.
const QUAD: usize = 4;

impl Tier for Dotprod {
    const CONV: &'static str = "qconv.dotprod";
    const MATMUL: &'static str = "qmatmul.dotprod";
    const DEPTH: usize = QUAD;
    const LANES: usize = 4;
    const VECTORS: usize = 4;
    const ROWS: usize = 8;
    const SIGNED: bool = true;

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
        // SAFETY: the caller's promises; `columns` is 1 to 16, so one to four vectors.
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
/// As [`Tier::multiply`]; `NR` vectors hold the panel's columns.
#[target_feature(enable = "neon,dotprod")]
unsafe fn all_rows<const NR: usize, S: Stage>(panel: &Panel, scale: &[f32], stage: &S) {
    let mut row = 0;
    // SAFETY: each arm computes no more rows than are left.
    unsafe {
        let columns = Columns::<NR, S>::new(panel, scale, stage);
        while row < panel.rows {
            row += match panel.rows - row {
                // Enough sums to hide the latency of the products, few enough for the registers.
                8.. if NR <= 2 => tile::<8, NR, S>(&columns, row),
                4.. => tile::<4, NR, S>(&columns, row),
                2.. => tile::<2, NR, S>(&columns, row),
                _ => tile::<1, NR, S>(&columns, row),
            };
        }
    }
}

/// Computes the rows `row..row + MR` and returns their number.
///
/// # Safety
/// As [`Tier::multiply`]; the panel has the rows, and `NR` vectors hold its columns.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const MR: usize, const NR: usize, S: Stage>(columns: &Columns<'_, NR, S>, row: usize) -> usize {
    let panel = columns.panel;
    // SAFETY: left rows have `4 * steps` bytes, of which whole vectors are read first, the right side `NR` vectors for
    // each step.
    unsafe {
        let mut acc = [[vdupq_n_s32(0); NR]; MR];
        let mut a = panel.a.add(row * panel.a_stride);
        let mut b = panel.b.cast::<i8>();
        let flip = vdupq_n_u8(0x80);
        for _ in 0..panel.steps / (VECTOR / QUAD) {
            let mut left = [vdupq_n_s8(0); MR];
            for (i, left) in left.iter_mut().enumerate() {
                *left = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a.add(i * panel.a_stride)), flip));
            }
            step::<0, MR, NR>(&mut acc, &left, b);
            step::<1, MR, NR>(&mut acc, &left, b.add(NR * VECTOR));
            step::<2, MR, NR>(&mut acc, &left, b.add(2 * NR * VECTOR));
            step::<3, MR, NR>(&mut acc, &left, b.add(3 * NR * VECTOR));
            a = a.add(VECTOR);
            b = b.add(4 * NR * VECTOR);
        }
        for _ in 0..panel.steps % (VECTOR / QUAD) {
            let mut left = [vdupq_n_s8(0); MR];
            for (i, left) in left.iter_mut().enumerate() {
                let quad = a.add(i * panel.a_stride).cast::<u32>().read_unaligned();
                *left = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(quad)), flip));
            }
            step::<0, MR, NR>(&mut acc, &left, b);
            a = a.add(QUAD);
            b = b.add(NR * VECTOR);
        }
        for (i, acc) in acc.into_iter().enumerate() {
            columns.finish(row + i, acc);
        }
    }
    MR
}

/// Adds the products with four bytes of each row, the lane `LANE` of its vector.
///
/// # Safety
/// The machine has the tier; `NR` vectors are readable at `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn step<const LANE: usize, const MR: usize, const NR: usize>(
    acc: &mut [[int32x4_t; NR]; MR],
    left: &[int8x16_t; MR],
    b: *const i8,
) {
    for j in 0..NR {
        // SAFETY: one of the vectors.
        let right = unsafe { vld1q_s8(b.add(j * VECTOR)) };
        for (acc, &left) in acc.iter_mut().zip(left) {
            acc[j] = sdot::<LANE>(acc[j], right, left);
        }
    }
}

/// Adds to each lane the products of its four bytes with those of the lane `LANE` of the second vector.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: usize>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: computes from registers alone; the function has the instruction.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
