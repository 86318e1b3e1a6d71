//! Integer GEMM for AVX2.
//!
//! `vpmaddubsw` sums two products in 16 bits and saturates. A panel whose weights rule that out for every activation
//! uses it; any other multiplies even and odd bytes as 16-bit numbers with `vpmaddwd`, which is exact.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;

use super::stage::{Columns, Multiply, Stage, dispatch, finish};

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<Avx2>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<Avx2>::new() } };
}

/// AVX2.
pub(crate) struct Avx2;

impl Tier for Avx2 {
    const CONV: &'static str = "qconv.avx2";
    const MATMUL: &'static str = "qmatmul.avx2";
    const DEPTH: usize = 4;
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    const ROWS: usize = 4;
    const SIGNED: bool = false;

    fn is_wide(weights: &[i8]) -> bool {
        weights.as_chunks().0.iter().any(|&pair| pair_may_saturate(pair))
    }

    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises.
        unsafe { dispatch::<Self>(panel, epilogue) }
    }
}

impl Multiply for Avx2 {
    unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
        // SAFETY: the caller's promises.
        unsafe { multiply(panel, stage) }
    }
}

/// Whether some pair of activations could take `w0 * x0 + w1 * x1` out of 16 bits.
fn pair_may_saturate(pair: [i8; 2]) -> bool {
    let [w0, w1] = pair.map(i32::from);
    let most = 255 * (w0.max(0) + w1.max(0));
    let least = 255 * (w0.min(0) + w1.min(0));
    most > i16::MAX.into() || least < i16::MIN.into()
}

/// All rows of a panel.
///
/// # Safety
/// As [`Tier::multiply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
    let mut row = 0;
    while row < panel.rows {
        // SAFETY: each arm computes no more rows than are left; `columns` is 1 to 16, so one or two vectors.
        row += unsafe {
            match (panel.rows - row, panel.columns > 8) {
                (4.., true) => tile::<4, 2, S>(panel, stage, row),
                (4.., false) => tile::<4, 1, S>(panel, stage, row),
                (2.., true) => tile::<2, 2, S>(panel, stage, row),
                (2.., false) => tile::<2, 1, S>(panel, stage, row),
                (_, true) => tile::<1, 2, S>(panel, stage, row),
                (_, false) => tile::<1, 1, S>(panel, stage, row),
            }
        };
    }
}

/// Computes the rows `row..row + MR` and returns their number.
///
/// # Safety
/// As [`Tier::multiply`]; the panel has the rows, and `NR` vectors hold its columns.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const MR: usize, const NR: usize, S: Stage>(panel: &Panel, stage: &S, row: usize) -> usize {
    let columns = Columns::<NR>::new(panel.columns);
    // SAFETY: every address lies within what the fields of `panel` promise: left rows of `DEPTH * steps` bytes,
    // `steps` steps of `NR` vectors on the right, masked vectors of `columns` elements elsewhere.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); NR]; MR];
        for j in 0..NR {
            let offset = _mm256_maskload_epi32(panel.offsets.wrapping_add(8 * j), columns.mask[j]);
            for acc in &mut acc {
                acc[j] = offset;
            }
        }
        let stride = panel.a_stride;
        let mut a = panel.a.add(row * stride);
        let mut b = panel.b.cast::<__m256i>();
        for _ in 0..panel.steps {
            if panel.wide {
                step_wide(&mut acc, a, stride, b);
            } else {
                step_narrow(&mut acc, a, stride, b);
            }
            a = a.add(4);
            b = b.add(NR);
        }
        finish(panel, stage, &columns, row, acc);
    }
    MR
}

/// `acc += a * b` for four successive k, with products summed in 32 bits.
///
/// # Safety
/// Four bytes are readable in each of `MR` rows of `a`, `NR` vectors at `b`.
#[inline(always)]
unsafe fn step_wide<const MR: usize, const NR: usize>(
    acc: &mut [[__m256i; NR]; MR],
    a: *const u8,
    a_stride: usize,
    b: *const __m256i,
) {
    // SAFETY: as the caller promises; inlined into functions that have the features.
    unsafe {
        let mut even = [_mm256_setzero_si256(); NR];
        let mut odd = [_mm256_setzero_si256(); NR];
        for j in 0..NR {
            let weights = _mm256_loadu_si256(b.add(j));
            even[j] = _mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8);
            odd[j] = _mm256_srai_epi16(weights, 8);
        }
        for (i, acc) in acc.iter_mut().enumerate() {
            let quad = _mm256_set1_epi32(a.add(i * a_stride).cast::<i32>().read_unaligned());
            let a_even = _mm256_and_si256(quad, _mm256_set1_epi16(0xff));
            let a_odd = _mm256_srli_epi16(quad, 8);
            for j in 0..NR {
                let sum = _mm256_add_epi32(_mm256_madd_epi16(a_even, even[j]), _mm256_madd_epi16(a_odd, odd[j]));
                acc[j] = _mm256_add_epi32(acc[j], sum);
            }
        }
    }
}

/// As [`step_wide`], for weights of which no pair can saturate.
///
/// # Safety
/// As [`step_wide`].
#[inline(always)]
unsafe fn step_narrow<const MR: usize, const NR: usize>(
    acc: &mut [[__m256i; NR]; MR],
    a: *const u8,
    a_stride: usize,
    b: *const __m256i,
) {
    // SAFETY: as the caller promises; inlined into functions that have the features.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut weights = [_mm256_setzero_si256(); NR];
        for (j, weights) in weights.iter_mut().enumerate() {
            *weights = _mm256_loadu_si256(b.add(j));
        }
        for (i, acc) in acc.iter_mut().enumerate() {
            let quad = _mm256_set1_epi32(a.add(i * a_stride).cast::<i32>().read_unaligned());
            for j in 0..NR {
                let pairs = _mm256_maddubs_epi16(quad, weights[j]);
                acc[j] = _mm256_add_epi32(acc[j], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
}
