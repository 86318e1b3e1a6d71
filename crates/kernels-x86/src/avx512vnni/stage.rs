//! The stage after the sums, in 512-bit vectors: what the inner kernels with registers of that size share.

use std::arch::x86_64::*;

use quantc_kernels::Epilogue;
use quantc_kernels_simd::gemm::Panel;
use quantc_kernels_simd::simd::{PackU8, Simd};

use super::simd::Avx512;

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
    pub mask: [__mmask16; NR],
    count: usize,
}

impl<const NR: usize> Columns<NR> {
    #[inline(always)]
    pub fn new(count: usize) -> Self {
        let mut mask = [0; NR];
        for (j, mask) in mask.iter_mut().enumerate() {
            *mask = (0xffffu32 >> (16 - count.saturating_sub(16 * j).min(16))) as u16;
        }
        Columns { mask, count }
    }

    /// # Safety
    /// `count` elements are readable, and the machine has AVX-512 F.
    #[inline(always)]
    pub unsafe fn load(&self, from: *const f32) -> [__m512; NR] {
        // SAFETY: as the caller promises; masked lanes are not read.
        unsafe {
            let mut values = [_mm512_setzero_ps(); NR];
            for (j, value) in values.iter_mut().enumerate() {
                *value = _mm512_maskz_loadu_ps(self.mask[j], from.wrapping_add(16 * j));
            }
            values
        }
    }
}

/// `f32(acc) * scale`.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
pub(crate) unsafe fn multiply_real<const NR: usize>(acc: [__m512i; NR], scale: [__m512; NR]) -> [__m512; NR] {
    // SAFETY: as the caller promises.
    std::array::from_fn(|j| unsafe { _mm512_mul_ps(_mm512_cvtepi32_ps(acc[j]), scale[j]) })
}

/// The vector form of one kind of [`Epilogue`], which says what it computes.
pub(crate) trait Stage {
    /// The factor of each channel's accumulator.
    fn scale(&self) -> *const f32;

    /// Finishes and stores one row, given `f32(acc) * scale`.
    ///
    /// # Safety
    /// As [`Multiply::multiply`], for the row `row` of the panel.
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m512; NR]);
}

/// Rounds, clamps and stores one row.
///
/// # Safety
/// As [`Stage::store`].
#[inline(always)]
unsafe fn store_u8<const NR: usize>(
    pack: &PackU8,
    panel: &Panel,
    columns: &Columns<NR>,
    row: usize,
    real: [__m512; NR],
) {
    // What lies past the last vector is not stored; two vectors are repeated, which costs nothing.
    let vector = |k: usize| real[if NR == 2 { k % 2 } else { k.min(NR - 1) }];
    // SAFETY: the row's columns are stored, whole vectors where it has that many and masked otherwise.
    unsafe {
        let bytes = Avx512::in_order(Avx512::pack(pack, [vector(0), vector(1), vector(2), vector(3)]));
        let to = panel.out.add(row * panel.out_stride);
        match columns.count {
            64 => _mm512_storeu_si512(to.cast(), bytes),
            32 => _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes)),
            16 => _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)),
            count => _mm512_mask_storeu_epi8(to.cast(), u64::MAX >> (64 - count), bytes),
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
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m512; NR]) {
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
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, mut real: [__m512; NR]) {
        // SAFETY: the residual holds the panel's columns in each row; masked lanes are not read.
        unsafe {
            let residual = self.residual.add((panel.row + row) * self.residual_stride + panel.channel);
            for (j, real) in real.iter_mut().enumerate() {
                let from = residual.wrapping_add(16 * j);
                let q = if columns.mask[j] == 0xffff {
                    _mm_loadu_si128(from.cast())
                } else {
                    _mm_maskz_loadu_epi8(columns.mask[j], from.cast())
                };
                let r = _mm512_sub_epi32(_mm512_cvtepu8_epi32(q), _mm512_set1_epi32(self.residual_zero_point));
                let addend = _mm512_mul_ps(_mm512_cvtepi32_ps(r), _mm512_set1_ps(self.residual_scale));
                *real = _mm512_mul_ps(_mm512_add_ps(*real, addend), _mm512_set1_ps(self.inverse_scale));
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
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m512; NR]) {
        // SAFETY: the output holds the panel's columns in each row; masked lanes are not written.
        unsafe {
            let to = panel.out.cast::<f32>().add(row * panel.out_stride);
            for (j, real) in real.iter().enumerate() {
                // `max` and `min` give their second operand where one is NaN, as `f32::max` and `f32::min` do here.
                let v = _mm512_max_ps(*real, _mm512_set1_ps(self.clamp.0));
                let v = _mm512_min_ps(v, _mm512_set1_ps(self.clamp.1));
                _mm512_mask_storeu_ps(to.wrapping_add(16 * j), columns.mask[j], v);
            }
        }
    }
}
