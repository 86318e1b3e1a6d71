//! 512-bit vectors.

use std::arch::x86_64::*;

use quantc_kernels_simd::simd::{PackU8, Simd};

/// AVX-512 F, BW.
pub(crate) struct Avx512;

impl Simd for Avx512 {
    const BYTES: usize = 64;
    type Bytes = __m512i;
    type Reals = __m512;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: the trait's.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, v: __m512i) {
        // SAFETY: the trait's.
        unsafe { _mm512_storeu_si512(to.cast(), v) }
    }

    #[inline(always)]
    unsafe fn splat(v: u8) -> __m512i {
        // SAFETY: the trait's.
        unsafe { _mm512_set1_epi8(v as i8) }
    }

    #[inline(always)]
    unsafe fn load_reals(from: *const f32) -> __m512 {
        // SAFETY: the trait's.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat_real(v: f32) -> __m512 {
        // SAFETY: the trait's.
        unsafe { _mm512_set1_ps(v) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u8) -> __m512 {
        // SAFETY: the trait's.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn expand(q: __m512i) -> [__m512; 4] {
        // SAFETY: the trait's.
        unsafe {
            // The bytes of 2^23 are 00 00 00 4b.
            let high = _mm512_set1_epi16(0x4b00);
            let (lo, hi) =
                (_mm512_unpacklo_epi8(q, _mm512_setzero_si512()), _mm512_unpackhi_epi8(q, _mm512_setzero_si512()));
            [
                _mm512_castsi512_ps(_mm512_unpacklo_epi16(lo, high)),
                _mm512_castsi512_ps(_mm512_unpackhi_epi16(lo, high)),
                _mm512_castsi512_ps(_mm512_unpacklo_epi16(hi, high)),
                _mm512_castsi512_ps(_mm512_unpackhi_epi16(hi, high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn pack(to: &PackU8, [a, b, c, d]: [__m512; 4]) -> __m512i {
        // SAFETY: the trait's.
        unsafe {
            let most = _mm512_set1_ps(to.most);
            // `min` gives its second operand where one is NaN.
            let a = _mm512_cvtps_epi32(_mm512_min_ps(most, a));
            let b = _mm512_cvtps_epi32(_mm512_min_ps(most, b));
            let c = _mm512_cvtps_epi32(_mm512_min_ps(most, c));
            let d = _mm512_cvtps_epi32(_mm512_min_ps(most, d));
            let zero_point = _mm512_set1_epi16(to.zero_point);
            let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
            let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
            _mm512_max_epu8(_mm512_packus_epi16(ab, cd), _mm512_set1_epi8(to.lo as i8))
        }
    }

    #[inline(always)]
    unsafe fn in_order(v: __m512i) -> __m512i {
        // SAFETY: the trait's.
        unsafe {
            let order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
            _mm512_permutexvar_epi32(order, v)
        }
    }
}
