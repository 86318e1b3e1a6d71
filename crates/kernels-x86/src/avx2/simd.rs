//! 256-bit vectors.

use std::arch::x86_64::*;

use quantc_kernels_simd::simd::{PackU8, Simd};

/// AVX2.
pub(crate) struct Avx2;

impl Simd for Avx2 {
    const BYTES: usize = 32;
    type Bytes = __m256i;
    type Reals = __m256;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the trait's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, v: __m256i) {
        // SAFETY: the trait's.
        unsafe { _mm256_storeu_si256(to.cast(), v) }
    }

    #[inline(always)]
    unsafe fn splat(v: u8) -> __m256i {
        // SAFETY: the trait's.
        unsafe { _mm256_set1_epi8(v as i8) }
    }

    #[inline(always)]
    unsafe fn load_reals(from: *const f32) -> __m256 {
        // SAFETY: the trait's.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat_real(v: f32) -> __m256 {
        // SAFETY: the trait's.
        unsafe { _mm256_set1_ps(v) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> __m256 {
        // SAFETY: the trait's.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn expand(q: __m256i) -> [__m256; 4] {
        // SAFETY: the trait's.
        unsafe {
            // The bytes of 2^23 are 00 00 00 4b.
            let high = _mm256_set1_epi16(0x4b00);
            let lo = _mm256_unpacklo_epi8(q, _mm256_setzero_si256());
            let hi = _mm256_unpackhi_epi8(q, _mm256_setzero_si256());
            [
                _mm256_castsi256_ps(_mm256_unpacklo_epi16(lo, high)),
                _mm256_castsi256_ps(_mm256_unpackhi_epi16(lo, high)),
                _mm256_castsi256_ps(_mm256_unpacklo_epi16(hi, high)),
                _mm256_castsi256_ps(_mm256_unpackhi_epi16(hi, high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn pack(to: &PackU8, [a, b, c, d]: [__m256; 4]) -> __m256i {
        // SAFETY: the trait's.
        unsafe {
            let most = _mm256_set1_ps(to.most);
            // `min` gives its second operand where one is NaN.
            let a = _mm256_cvtps_epi32(_mm256_min_ps(most, a));
            let b = _mm256_cvtps_epi32(_mm256_min_ps(most, b));
            let c = _mm256_cvtps_epi32(_mm256_min_ps(most, c));
            let d = _mm256_cvtps_epi32(_mm256_min_ps(most, d));
            let zero_point = _mm256_set1_epi16(to.zero_point);
            let ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero_point);
            let cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero_point);
            _mm256_max_epu8(_mm256_packus_epi16(ab, cd), _mm256_set1_epi8(to.lo as i8))
        }
    }

    #[inline(always)]
    unsafe fn in_order(v: __m256i) -> __m256i {
        // SAFETY: the trait's.
        unsafe { _mm256_permutevar8x32_epi32(v, _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0)) }
    }
}
