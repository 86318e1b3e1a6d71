//! Transposes with 256-bit registers at most, for all tiers: what limits them is memory, and the shuffles of a tile
//! within 128 bits are the fewest.

use std::arch::x86_64::*;

use quantc_kernels::RowsMut;

/// Rows walked together: one cache line of u8 of each output row is written at a time.
const BAND: usize = 64;

/// `Layout::transpose_u8`.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
pub(crate) unsafe fn layout_u8(rows: usize, columns: usize, x: &[u8], x_stride: usize, mut out: RowsMut<'_, u8>) {
    if let Some((out, out_stride)) = check(rows, columns, x, x_stride, &mut out) {
        // SAFETY: the caller's promise, and `check`.
        unsafe { transpose_u8(rows, columns, x.as_ptr(), x_stride, out, out_stride) }
    }
}

/// `Layout::transpose_f32`.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
pub(crate) unsafe fn layout_f32(rows: usize, columns: usize, x: &[f32], x_stride: usize, mut out: RowsMut<'_, f32>) {
    if let Some((out, out_stride)) = check(rows, columns, x, x_stride, &mut out) {
        // SAFETY: the caller's promise, and `check`.
        unsafe { tiles::<f32, 8>(rows, columns, x.as_ptr(), x_stride, out, out_stride, tile_f32) }
    }
}

/// The output's address and stride, once both matrices are found complete; none if there is nothing to do.
#[inline(always)]
fn check<T>(
    rows: usize,
    columns: usize,
    x: &[T],
    x_stride: usize,
    out: &mut RowsMut<'_, T>,
) -> Option<(*mut T, usize)> {
    if rows == 0 || columns == 0 {
        return None;
    }
    assert!(x.len() >= (rows - 1) * x_stride + columns, "matrix too short");
    let (out, out_stride) = out.rows_from(0, columns, rows);
    Some((out.as_mut_ptr(), out_stride))
}

/// `out[c][r] = x[r][c]`.
///
/// # Safety
/// The machine has AVX2; both matrices can be accessed.
#[inline(always)]
pub(crate) unsafe fn transpose_u8(
    rows: usize,
    columns: usize,
    x: *const u8,
    x_stride: usize,
    out: *mut u8,
    out_stride: usize,
) {
    // SAFETY: the caller's promises.
    unsafe {
        if (rows, out_stride) == (3, 3) || (rows, out_stride) == (4, 4) {
            interleave(rows, columns, x, x_stride, out);
        } else {
            tiles::<u8, 16>(rows, columns, x, x_stride, out, out_stride, tile_u8);
        }
    }
}

type Tile<T> = unsafe fn(*const T, usize, *mut T, usize);

/// A transpose by tiles of `N` by `N`, the incomplete ones through buffers.
///
/// # Safety
/// As `tile`; both matrices can be accessed.
#[inline(always)]
unsafe fn tiles<T: Copy + Default, const N: usize>(
    rows: usize,
    columns: usize,
    x: *const T,
    x_stride: usize,
    out: *mut T,
    out_stride: usize,
    tile: Tile<T>,
) {
    // SAFETY: every tile lies within both matrices, and rows are copied to and from buffers no longer than they are.
    unsafe {
        for band in (0..rows).step_by(BAND) {
            for c in (0..columns).step_by(N) {
                let width = N.min(columns - c);
                for r in (band..rows.min(band + BAND)).step_by(N) {
                    let height = N.min(rows - r);
                    let (from, to) = (x.add(r * x_stride + c), out.add(c * out_stride + r));
                    if height == N && width == N {
                        tile(from, x_stride, to, out_stride);
                        continue;
                    }
                    let (mut a, mut b) = ([[T::default(); N]; N], [[T::default(); N]; N]);
                    for (i, a) in a[..height].iter_mut().enumerate() {
                        copy_short(from.add(i * x_stride), a.as_mut_ptr(), width);
                    }
                    tile(a.as_ptr().cast(), N, b.as_mut_ptr().cast(), N);
                    for (i, b) in b[..width].iter().enumerate() {
                        copy_short(b.as_ptr(), to.add(i * out_stride), height);
                    }
                }
            }
        }
    }
}

/// Copies up to 16 elements with few instructions: two moves that overlap.
///
/// # Safety
/// `n` elements can be accessed at both addresses.
#[inline(always)]
unsafe fn copy_short<T: Copy>(from: *const T, to: *mut T, n: usize) {
    /// # Safety
    /// `n` is in `N..=2 * N`.
    #[inline(always)]
    unsafe fn ends<T: Copy, const N: usize>(from: *const T, to: *mut T, n: usize) {
        // SAFETY: both moves lie within the `n` elements.
        unsafe {
            let (first, last) =
                (from.cast::<[T; N]>().read_unaligned(), from.add(n - N).cast::<[T; N]>().read_unaligned());
            to.cast::<[T; N]>().write_unaligned(first);
            to.add(n - N).cast::<[T; N]>().write_unaligned(last);
        }
    }
    // SAFETY: each arm's sizes.
    unsafe {
        match n {
            8..=16 => ends::<T, 8>(from, to, n),
            4..=7 => ends::<T, 4>(from, to, n),
            2..=3 => ends::<T, 2>(from, to, n),
            1 => to.write(from.read()),
            _ => {}
        }
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

/// Three or four rows side by side: the pixels of an image.
///
/// # Safety
/// The machine has AVX2; `rows` (3 or 4) rows of `columns` can be read, `rows * columns` elements written.
#[target_feature(enable = "avx2")]
unsafe fn interleave(rows: usize, columns: usize, x: *const u8, x_stride: usize, out: *mut u8) {
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
    for c in c..columns {
        for r in 0..rows {
            // SAFETY: within both, as the caller promises.
            unsafe { out.add(c * rows + r).write(x.add(r * x_stride + c).read()) };
        }
    }
}
