//! The stage after the sums, in 256-bit vectors: what the inner kernels with registers of that size share.

use std::arch::x86_64::*;

use quantc_kernels::Epilogue;
use quantc_kernels_simd::gemm::Panel;
use quantc_kernels_simd::simd::PackU8;

/// An inner kernel, written once for all kinds of stages.
pub(crate) trait Multiply {
    /// Multiplies all rows of a block with one panel and finishes the sums by the stage.
    ///
    /// # Safety
    /// As [`quantc_kernels_simd::gemm::Tier::multiply`]; the stage's pointers are those of the panel's epilogue.
    unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S);
}

/// Calls the inner kernel with the stage that the epilogue asks for.
///
/// # Safety
/// As [`quantc_kernels_simd::gemm::Tier::multiply`].
pub(crate) unsafe fn dispatch<M: Multiply>(panel: &Panel, epilogue: &Epilogue<'_>) {
    // SAFETY: the caller's promises are those of `multiply`, and each stage is built from the epilogue it is for.
    unsafe {
        match *epilogue {
            Epilogue::Requantize { multiplier, zero_point, clamp } => {
                let pack = PackU8::new(zero_point, clamp);
                M::multiply(panel, &Requantize { multiplier: multiplier.as_ptr(), pack });
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
            } => M::multiply(
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
            Epilogue::Dequantize { scale, clamp } => M::multiply(panel, &Dequantize { scale: scale.as_ptr(), clamp }),
        }
    }
}

/// Which lanes of a panel's vectors are columns.
pub(crate) struct Columns<const NR: usize> {
    pub mask: [__m256i; NR],
    count: usize,
}

impl<const NR: usize> Columns<NR> {
    #[inline(always)]
    pub fn new(count: usize) -> Self {
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
pub(crate) trait Stage {
    /// The factor of each channel's accumulator.
    fn scale(&self) -> *const f32;

    /// Finishes and stores one row, given `f32(acc) * scale`.
    ///
    /// # Safety
    /// As [`Multiply::multiply`], for the row `row` of the panel.
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m256; NR]);
}

/// Adds the rows' terms to the sums, scales, finishes and stores the rows from `row` on.
///
/// # Safety
/// As [`Multiply::multiply`]; the panel has the rows, `NR` vectors hold its columns. Inlined into functions that have AVX2.
#[inline(always)]
pub(crate) unsafe fn finish<const MR: usize, const NR: usize, S: Stage>(
    panel: &Panel,
    stage: &S,
    columns: &Columns<NR>,
    row: usize,
    mut acc: [[__m256i; NR]; MR],
) {
    // SAFETY: the rows' terms and the channels' factors are readable; masked lanes are not read.
    unsafe {
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
            stage.store(panel, columns, row + i, real);
        }
    }
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
