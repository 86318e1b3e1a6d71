//! The AVX-VNNI tier: integer GEMM on the 256-bit `vpdpbusd` of machines without AVX-512, exact for all weights. Everything else is the
//! AVX2 tier's.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;

use crate::avx2::stage::{Columns, Multiply, Stage, dispatch, finish};

/// The kernels of this tier, one row each. Only for machines that have it.
pub(crate) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<AvxVnni>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<AvxVnni>::new() } };
}

/// AVX-VNNI.
struct AvxVnni;

impl Tier for AvxVnni {
    const CONV: &'static str = "qconv.avxvnni";
    const MATMUL: &'static str = "qmatmul.avxvnni";
    const DEPTH: usize = 4;
    const LANES: usize = 8;
    const VECTORS: usize = 2;
    const ROWS: usize = 6;
    const SIGNED: bool = false;

    fn is_wide(_weights: &[i8]) -> bool {
        false
    }

    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises.
        unsafe { dispatch::<Self>(panel, epilogue) }
    }
}

impl Multiply for AvxVnni {
    unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
        // SAFETY: the caller's promises; `columns` is 1 to 16, so one or two vectors.
        unsafe { if panel.columns > 8 { all_rows::<2, S>(panel, stage) } else { all_rows::<1, S>(panel, stage) } }
    }
}

/// # Safety
/// As [`Multiply::multiply`]; `NR` vectors hold the panel's columns.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn all_rows<const NR: usize, S: Stage>(panel: &Panel, stage: &S) {
    let mut row = 0;
    while row < panel.rows {
        // SAFETY: each arm computes no more rows than are left.
        row += unsafe {
            match panel.rows - row {
                // Twelve sums hide the latency of each other and leave registers for the operands.
                6.. => tile::<6, NR, S>(panel, stage, row),
                3.. => tile::<3, NR, S>(panel, stage, row),
                _ => tile::<1, NR, S>(panel, stage, row),
            }
        };
    }
}

/// Computes the rows `row..row + MR` and returns their number.
///
/// # Safety
/// As [`all_rows`], and the panel has the rows.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn tile<const MR: usize, const NR: usize, S: Stage>(panel: &Panel, stage: &S, row: usize) -> usize {
    let columns = Columns::<NR>::new(panel.columns);
    // SAFETY: every address lies within what the fields of `panel` promise: left rows of `4 * steps` bytes, `steps` times `NR` vectors
    // on the right, masked vectors of `columns` elements elsewhere.
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
            let mut weights = [_mm256_setzero_si256(); NR];
            for (j, weights) in weights.iter_mut().enumerate() {
                *weights = _mm256_loadu_si256(b.add(j));
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let quad = _mm256_set1_epi32(a.add(i * stride).cast::<i32>().read_unaligned());
                for j in 0..NR {
                    acc[j] = _mm256_dpbusd_avx_epi32(acc[j], quad, weights[j]);
                }
            }
            a = a.add(4);
            b = b.add(NR);
        }
        finish(panel, stage, &columns, row, acc);
    }
    MR
}
