//! Integer GEMM on `vpdpbusd`: exact, since the four products of a lane are summed without saturation.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;

use super::stage::{Columns, Multiply, Stage, dispatch, multiply_real};

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<Avx512Vnni>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<Avx512Vnni>::new() } };
}

/// Unrolls a loop over rows, at most 12, before the optimizer sees it: left to it, a long body stays a loop and puts
/// the accumulators into memory.
macro_rules! for_rows {
    ($i:ident < $n:expr, $body:expr) => {
        for_rows!($i < $n, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    ($i:ident < $n:expr, $body:expr, $($k:literal)*) => {
        $(if $k < $n {
            let $i: usize = $k;
            $body;
        })*
    };
}

/// AVX-512 VNNI.
pub(crate) struct Avx512Vnni;

impl Tier for Avx512Vnni {
    const CONV: &'static str = "qconv.avx512vnni";
    const MATMUL: &'static str = "qmatmul.avx512vnni";
    const DEPTH: usize = 4;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    const ROWS: usize = 12;
    const SIGNED: bool = false;

    fn is_wide(_weights: &[i8]) -> bool {
        false
    }

    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises.
        unsafe { dispatch::<Self>(panel, epilogue) }
    }
}

impl Multiply for Avx512Vnni {
    unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
        // SAFETY: the caller's promises.
        unsafe { multiply(panel, stage) }
    }
}

/// All rows of a panel.
///
/// # Safety
/// As [`Tier::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
    // SAFETY: `columns` is 1 to 64, so one to four vectors.
    unsafe {
        match panel.columns.div_ceil(16) {
            1 => all_rows::<1, S>(panel, stage),
            2 => all_rows::<2, S>(panel, stage),
            3 => all_rows::<3, S>(panel, stage),
            _ => all_rows::<4, S>(panel, stage),
        }
    }
}

/// # Safety
/// As [`Tier::multiply`]; `NR` vectors hold the panel's columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn all_rows<const NR: usize, S: Stage>(panel: &Panel, stage: &S) {
    let mut row = 0;
    while row < panel.rows {
        // SAFETY: each arm computes no more rows than are left.
        row += unsafe {
            match panel.rows - row {
                // Enough accumulators to hide the latency of their sums, few enough for the registers.
                12.. if NR <= 2 => tile::<12, NR, 1, S>(panel, stage, row),
                6.. => tile::<6, NR, 1, S>(panel, stage, row),
                4.. => tile::<4, NR, 1, S>(panel, stage, row),
                2.. => tile::<2, NR, 2, S>(panel, stage, row),
                _ => tile::<1, NR, 4, S>(panel, stage, row),
            }
        };
    }
}

/// Computes the rows `row..row + MR` and returns their number. `UNROLL` sets of accumulators share the work along K: with
/// few rows one set would wait for the latency of its own sums.
///
/// # Safety
/// As [`all_rows`], and the panel has the rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn tile<const MR: usize, const NR: usize, const UNROLL: usize, S: Stage>(
    panel: &Panel,
    stage: &S,
    row: usize,
) -> usize {
    let columns = Columns::<NR>::new(panel.columns);
    // SAFETY: every address lies within what the fields of `panel` promise: left rows of `DEPTH * steps` bytes,
    // `steps` steps of `NR` vectors on the right, masked or whole vectors of `columns` elements elsewhere.
    unsafe {
        let mut acc = [[[_mm512_setzero_si512(); NR]; MR]; UNROLL];
        let mut offsets = [_mm512_setzero_si512(); NR];
        for (j, offsets) in offsets.iter_mut().enumerate() {
            *offsets = _mm512_maskz_loadu_epi32(columns.mask[j], panel.offsets.wrapping_add(16 * j));
        }
        for_rows!(i < MR, acc[0][i] = offsets);
        let stride = panel.a_stride;
        let mut a = panel.a.add(row * stride);
        let mut b = panel.b.cast::<i32>();
        for _ in 0..panel.steps / UNROLL {
            for_rows!(u < UNROLL, step(&mut acc[u], a.add(4 * u), stride, b.add(16 * NR * u)));
            a = a.add(4 * UNROLL);
            b = b.add(16 * NR * UNROLL);
        }
        for _ in 0..panel.steps % UNROLL {
            step(&mut acc[0], a, stride, b);
            a = a.add(4);
            b = b.add(16 * NR);
        }
        for_rows!(u < UNROLL - 1, for_rows!(i < MR, acc[0][i] = add(acc[0][i], acc[u + 1][i])));
        let mut acc = acc[0];
        if !panel.row_terms.is_null() {
            let terms = panel.row_terms.add(row);
            for_rows!(i < MR, acc[i] = add(acc[i], [_mm512_set1_epi32(terms.add(i).read()); NR]));
        }
        let scale = columns.load(stage.scale().add(panel.channel));
        for_rows!(i < MR, stage.store(panel, &columns, row + i, multiply_real(acc[i], scale)));
    }
    MR
}

/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn add<const NR: usize>(a: [__m512i; NR], b: [__m512i; NR]) -> [__m512i; NR] {
    // SAFETY: as the caller promises.
    std::array::from_fn(|j| unsafe { _mm512_add_epi32(a[j], b[j]) })
}

/// `acc += a * b` for four successive k.
///
/// # Safety
/// Four bytes are readable in each of `MR` rows of `a`, `NR` vectors at `b`.
#[inline(always)]
unsafe fn step<const MR: usize, const NR: usize>(
    acc: &mut [[__m512i; NR]; MR],
    a: *const u8,
    a_stride: usize,
    b: *const i32,
) {
    // SAFETY: as the caller promises; inlined into functions that have the features.
    unsafe {
        let mut weights = [_mm512_setzero_si512(); NR];
        for (j, weights) in weights.iter_mut().enumerate() {
            *weights = _mm512_loadu_si512(b.add(16 * j).cast());
        }
        for_rows!(i < MR, {
            let quad = _mm512_set1_epi32(a.add(i * a_stride).cast::<i32>().read_unaligned());
            for j in 0..NR {
                acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], quad, weights[j]);
            }
        });
    }
}
