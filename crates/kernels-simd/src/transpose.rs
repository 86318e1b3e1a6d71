//! Transposes by the tiles of a tier.

use quantc_kernels::RowsMut;
use quantc_kernels::rows::span;

/// Rows walked together: one cache line of u8 of each output row is written at a time.
const BAND: usize = 64;

/// Transposes of whole tiles.
pub trait Tiles {
    /// Transposes 16 by 16 elements; strides in elements.
    ///
    /// # Safety
    /// The machine has the tier; 16 rows of 16 can be accessed in both.
    unsafe fn tile_u8(x: *const u8, x_stride: usize, out: *mut u8, out_stride: usize);

    /// Transposes 8 by 8 elements; strides in elements.
    ///
    /// # Safety
    /// The machine has the tier; 8 rows of 8 can be accessed in both.
    unsafe fn tile_f32(x: *const f32, x_stride: usize, out: *mut f32, out_stride: usize);

    /// Three or four rows side by side, the pixels of an image: `out[c][r] = x[r][c]` for the columns from the first that
    /// whole vectors can do, whose number is returned.
    ///
    /// # Safety
    /// The machine has the tier; `rows` (3 or 4) rows of `columns` can be read, `rows * columns` elements written.
    unsafe fn interleave(rows: usize, columns: usize, x: *const u8, x_stride: usize, out: *mut u8) -> usize;
}

/// `Layout::transpose_u8`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn layout_u8<T: Tiles>(rows: usize, columns: usize, x: &[u8], x_stride: usize, mut out: RowsMut<'_, u8>) {
    if let Some((out, out_stride)) = check(rows, columns, x, x_stride, &mut out) {
        // SAFETY: the caller's promise, and `check`.
        unsafe { transpose_u8::<T>(rows, columns, x.as_ptr(), x_stride, out, out_stride) }
    }
}

/// `Layout::transpose_f32`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn layout_f32<T: Tiles>(rows: usize, columns: usize, x: &[f32], x_stride: usize, mut out: RowsMut<'_, f32>) {
    if let Some((out, out_stride)) = check(rows, columns, x, x_stride, &mut out) {
        // SAFETY: the caller's promise, and `check`.
        unsafe { tiles::<f32, 8>(rows, columns, x.as_ptr(), x_stride, out, out_stride, T::tile_f32) }
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
    assert!(x.len() >= span(rows, x_stride, columns), "matrix too short");
    let (out, out_stride) = out.rows_from(0, columns, rows);
    Some((out.as_mut_ptr(), out_stride))
}

/// `out[c][r] = x[r][c]`.
///
/// # Safety
/// The machine has the tier; both matrices can be accessed.
#[inline(always)]
pub unsafe fn transpose_u8<T: Tiles>(
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
            for c in T::interleave(rows, columns, x, x_stride, out)..columns {
                for r in 0..rows {
                    out.add(c * rows + r).write(x.add(r * x_stride + c).read());
                }
            }
        } else {
            tiles::<u8, 16>(rows, columns, x, x_stride, out, out_stride, T::tile_u8);
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
