//! Integer GEMM for AVX2.
//!
//! `vpmaddubsw` sums two products in 16 bits and saturates. A panel whose weights rule that out for every activation
//! uses it; any other multiplies even and odd bytes as 16-bit numbers with `vpmaddwd`, which is exact.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;
use quantc_kernels_simd::simd::PackU8;

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
        // SAFETY: the caller's promises are those of `multiply`, and each stage is built from the epilogue it is for.
        unsafe {
            match *epilogue {
                Epilogue::Requantize { multiplier, zero_point, clamp } => {
                    let pack = PackU8::new(zero_point, clamp);
                    multiply(panel, &Requantize { multiplier: multiplier.as_ptr(), pack });
                }
                Epilogue::AddRequantize {
                    scale,
                    residual,
                    residual_stride,
                    residual_scale,
                    residual_zero_point,
                    inverse_scale,
                    zero_point,
                    clamp,
                } => multiply(
                    panel,
                    &AddRequantize {
                        scale: scale.as_ptr(),
                        residual: residual.as_ptr(),
                        residual_stride,
                        residual_scale,
                        residual_zero_point,
                        inverse_scale,
                        pack: PackU8::new(zero_point, clamp),
                    },
                ),
                Epilogue::Dequantize { scale, clamp } => multiply(panel, &Dequantize { scale: scale.as_ptr(), clamp }),
            }
        }
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
        if !panel.row_terms.is_null() {
            for (i, acc) in acc.iter_mut().enumerate() {
                let term = _mm256_set1_epi32(panel.row_terms.add(row + i).read());
                for acc in acc {
                    *acc = _mm256_add_epi32(*acc, term);
                }
            }
        }
        let scale = stage.scale().add(panel.channel);
        for (i, acc) in acc.iter().enumerate() {
            let mut real = [_mm256_setzero_ps(); NR];
            for j in 0..NR {
                let scale = _mm256_maskload_ps(scale.wrapping_add(8 * j), columns.mask[j]);
                real[j] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[j]), scale);
            }
            stage.store(panel, &columns, row + i, real);
        }
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

/// Which lanes of a panel's vectors are columns.
struct Columns<const NR: usize> {
    mask: [__m256i; NR],
    count: usize,
}

impl<const NR: usize> Columns<NR> {
    #[inline(always)]
    fn new(count: usize) -> Self {
        // SAFETY: inlined into functions that have AVX2.
        unsafe {
            let mut mask = [_mm256_setzero_si256(); NR];
            for (j, mask) in mask.iter_mut().enumerate() {
                let left = _mm256_set1_epi32(count.saturating_sub(8 * j) as i32);
                *mask = _mm256_cmpgt_epi32(left, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            }
            Columns { mask, count }
        }
    }
}

/// The vector form of one kind of [`Epilogue`], which says what it computes.
trait Stage {
    /// The factor of each channel's accumulator.
    fn scale(&self) -> *const f32;

    /// Finishes and stores one row, given `f32(acc) * scale`.
    ///
    /// # Safety
    /// As [`tile`], for the row `row` of the panel.
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m256; NR]);
}

/// Rounds, clamps and stores one row: as `Simd::pack`, for one or two vectors.
///
/// # Safety
/// As [`Stage::store`].
#[inline(always)]
unsafe fn store_u8<const NR: usize>(
    pack: &PackU8,
    panel: &Panel,
    columns: &Columns<NR>,
    row: usize,
    real: [__m256; NR],
) {
    // SAFETY: no more than the panel's columns are stored.
    unsafe {
        let most = _mm256_set1_ps(pack.most);
        // `min` gives its second operand where one is NaN.
        let first = _mm256_cvtps_epi32(_mm256_min_ps(most, real[0]));
        let last = _mm256_cvtps_epi32(_mm256_min_ps(most, real[NR - 1]));
        let words = _mm256_adds_epi16(_mm256_packs_epi32(first, last), _mm256_set1_epi16(pack.zero_point));
        let bytes = _mm256_max_epu8(_mm256_packus_epi16(words, words), _mm256_set1_epi8(pack.lo as i8));
        // Both packings interleave 128-bit lanes.
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
        let bytes = _mm256_castsi256_si128(bytes);
        let to = panel.out.add(row * panel.out_stride);
        match columns.count {
            16 => _mm_storeu_si128(to.cast(), bytes),
            8 => _mm_storel_epi64(to.cast(), bytes),
            count => {
                let mut buffer = [0u8; 16];
                _mm_storeu_si128(buffer.as_mut_ptr().cast(), bytes);
                to.copy_from_nonoverlapping(buffer.as_ptr(), count);
            }
        }
    }
}

struct Requantize {
    multiplier: *const f32,
    pack: PackU8,
}

impl Stage for Requantize {
    #[inline(always)]
    fn scale(&self) -> *const f32 {
        self.multiplier
    }

    #[inline(always)]
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m256; NR]) {
        // SAFETY: the caller's promises.
        unsafe { store_u8(&self.pack, panel, columns, row, real) }
    }
}

struct AddRequantize {
    scale: *const f32,
    residual: *const u8,
    residual_stride: usize,
    residual_scale: f32,
    residual_zero_point: i32,
    inverse_scale: f32,
    pack: PackU8,
}

impl Stage for AddRequantize {
    #[inline(always)]
    fn scale(&self) -> *const f32 {
        self.scale
    }

    #[inline(always)]
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, mut real: [__m256; NR]) {
        // SAFETY: the residual holds the panel's columns in each row; no more are read.
        unsafe {
            let residual = self.residual.add((panel.row + row) * self.residual_stride + panel.channel);
            let mut buffer = [0u8; 16];
            let residual = if columns.count == 8 * NR {
                residual
            } else {
                buffer.as_mut_ptr().copy_from_nonoverlapping(residual, columns.count);
                buffer.as_ptr()
            };
            for (j, real) in real.iter_mut().enumerate() {
                let q = _mm256_cvtepu8_epi32(_mm_loadl_epi64(residual.add(8 * j).cast()));
                let r = _mm256_sub_epi32(q, _mm256_set1_epi32(self.residual_zero_point));
                let addend = _mm256_mul_ps(_mm256_cvtepi32_ps(r), _mm256_set1_ps(self.residual_scale));
                *real = _mm256_mul_ps(_mm256_add_ps(*real, addend), _mm256_set1_ps(self.inverse_scale));
            }
            store_u8(&self.pack, panel, columns, row, real);
        }
    }
}

struct Dequantize {
    scale: *const f32,
    clamp: (f32, f32),
}

impl Stage for Dequantize {
    #[inline(always)]
    fn scale(&self) -> *const f32 {
        self.scale
    }

    #[inline(always)]
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m256; NR]) {
        // SAFETY: the output holds the panel's columns in each row; masked lanes are not written.
        unsafe {
            let to = panel.out.cast::<f32>().add(row * panel.out_stride);
            for (j, real) in real.iter().enumerate() {
                // `max` and `min` give their second operand where one is NaN, as `f32::max` and `f32::min` do here.
                let v = _mm256_max_ps(*real, _mm256_set1_ps(self.clamp.0));
                let v = _mm256_min_ps(v, _mm256_set1_ps(self.clamp.1));
                _mm256_maskstore_ps(to.wrapping_add(8 * j), columns.mask[j], v);
            }
        }
    }
}
