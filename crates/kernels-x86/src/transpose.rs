//! Tiles of transposes with 256-bit registers at most, for all tiers: what limits them is memory, and the shuffles of a
//! tile within 128 bits are the fewest.

use std::arch::x86_64::*;

use quantc_kernels_simd::transpose::Tiles;

/// Tiles for machines that have AVX2.
pub(crate) struct Avx2Tiles;

impl Tiles for Avx2Tiles {
    #[inline(always)]
    unsafe fn tile_u8(x: *const u8, x_stride: usize, out: *mut u8, out_stride: usize) {
        // SAFETY: the caller's promises.
        unsafe { tile_u8(x, x_stride, out, out_stride) }
    }

    #[inline(always)]
    unsafe fn tile_f32(x: *const f32, x_stride: usize, out: *mut f32, out_stride: usize) {
        // SAFETY: the caller's promises.
        unsafe { tile_f32(x, x_stride, out, out_stride) }
    }

    #[inline(always)]
    unsafe fn interleave(rows: usize, columns: usize, x: *const u8, x_stride: usize, out: *mut u8) -> usize {
        // SAFETY: the caller's promises.
        unsafe { interleave(rows, columns, x, x_stride, out) }
    }
}

/// # Safety
/// The machine has AVX2; 16 rows of 16 can be accessed in both.
#[target_feature(enable = "avx2")]
unsafe fn tile_u8(x: *const u8, x_stride: usize, out: *mut u8, out_stride: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut v = [_mm_setzero_si128(); 16];
        for (i, v) in v.iter_mut().enumerate() {
            *v = _mm_loadu_si128(x.add(i * x_stride).cast());
        }
        // Each round interleaves the first half of the rows with the second; four of them turn 4 + 4 bits of position
        // around.
        for _ in 0..4 {
            let mut next = v;
            for i in 0..8 {
                next[2 * i] = _mm_unpacklo_epi8(v[i], v[i + 8]);
                next[2 * i + 1] = _mm_unpackhi_epi8(v[i], v[i + 8]);
            }
            v = next;
        }
        for (i, v) in v.into_iter().enumerate() {
            _mm_storeu_si128(out.add(i * out_stride).cast(), v);
        }
    }
}

/// # Safety
/// The machine has AVX2; 8 rows of 8 can be accessed in both.
#[target_feature(enable = "avx2")]
unsafe fn tile_f32(x: *const f32, x_stride: usize, out: *mut f32, out_stride: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut v = [_mm256_setzero_ps(); 8];
        for (i, v) in v.iter_mut().enumerate() {
            // Rows i and i + 4 side by side, so that the rest stays within 128-bit lanes.
            let from = x.add(i % 4 * x_stride + i / 4 * 4);
            let pair = _mm256_castps128_ps256(_mm_loadu_ps(from));
            *v = _mm256_insertf128_ps::<1>(pair, _mm_loadu_ps(from.add(4 * x_stride)));
        }
        for half in 0..2 {
            let [a, b, c, d] = [v[4 * half], v[4 * half + 1], v[4 * half + 2], v[4 * half + 3]];
            let (lo_ab, hi_ab) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (lo_cd, hi_cd) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let to = out.add(4 * half * out_stride);
            _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(lo_ab, lo_cd));
            _mm256_storeu_ps(to.add(out_stride), _mm256_shuffle_ps::<0xee>(lo_ab, lo_cd));
            _mm256_storeu_ps(to.add(2 * out_stride), _mm256_shuffle_ps::<0x44>(hi_ab, hi_cd));
            _mm256_storeu_ps(to.add(3 * out_stride), _mm256_shuffle_ps::<0xee>(hi_ab, hi_cd));
        }
    }
}

/// [`Tiles::interleave`].
///
/// # Safety
/// The machine has AVX2; `rows` (3 or 4) rows of `columns` can be read, `rows * columns` elements written.
#[target_feature(enable = "avx2")]
unsafe fn interleave(rows: usize, columns: usize, x: *const u8, x_stride: usize, out: *mut u8) -> usize {
    // Three bytes of each group of four.
    let three = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let mut c = 0;
    // With three rows a store writes four bytes too much, which the next one overwrites: there must be a next one.
    while c + 16 + 2 * (4 - rows) <= columns {
        // SAFETY: 16 columns are left, and with three rows two more.
        unsafe {
            let load = |r: usize| _mm_loadu_si128(x.add(r * x_stride + c).cast());
            let (r0, r1, r2) = (load(0), load(1), load(2));
            let r3 = if rows == 4 { load(3) } else { _mm_setzero_si128() };
            let (lo01, hi01) = (_mm_unpacklo_epi8(r0, r1), _mm_unpackhi_epi8(r0, r1));
            let (lo23, hi23) = (_mm_unpacklo_epi8(r2, r3), _mm_unpackhi_epi8(r2, r3));
            let quads = [
                _mm_unpacklo_epi16(lo01, lo23),
                _mm_unpackhi_epi16(lo01, lo23),
                _mm_unpacklo_epi16(hi01, hi23),
                _mm_unpackhi_epi16(hi01, hi23),
            ];
            for (i, quad) in quads.into_iter().enumerate() {
                let v = if rows == 4 { quad } else { _mm_shuffle_epi8(quad, three) };
                _mm_storeu_si128(out.add((c + 4 * i) * rows).cast(), v);
            }
        }
        c += 16;
    }
    c
}
