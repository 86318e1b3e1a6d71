//! Transposes and permutations of u8 and f32.

use crate::rows::{RowsMut, span};

/// Axes that [`Layout::permute_u8`] and [`Layout::permute_f32`] take.
pub const MAX_RANK: usize = 6;

/// Kernels that move elements. NCHW to NHWC is, for each image, the transpose of `[C][HW]`; back, that of `[HW][C]`.
pub trait Layout: Send + Sync {
    /// What reports call these kernels, for example `layout.avx2`.
    fn name(&self) -> &'static str;

    /// `out[c][r] = x[r][c]` for `rows` rows `x_stride` elements apart; `out` has `columns` rows.
    ///
    /// # Panics
    /// If a slice is too short.
    fn transpose_u8(&self, rows: usize, columns: usize, x: &[u8], x_stride: usize, out: RowsMut<'_, u8>);

    /// `out[c][r] = x[r][c]` for `rows` rows `x_stride` elements apart; `out` has `columns` rows.
    ///
    /// # Panics
    /// If a slice is too short.
    fn transpose_f32(&self, rows: usize, columns: usize, x: &[f32], x_stride: usize, out: RowsMut<'_, f32>);

    /// Permutes the axes of a contiguous tensor: axis `i` of `out` is axis `permutation[i]` of `x`.
    ///
    /// # Panics
    /// If there are more than [`MAX_RANK`] axes, `permutation` is none, or a slice does not hold the product of `shape`.
    fn permute_u8(&self, shape: &[usize], permutation: &[usize], x: &[u8], out: &mut [u8]) {
        body::permute(shape, permutation, x, out, |rows, columns, x, stride, out| {
            self.transpose_u8(rows, columns, x, stride, out);
        });
    }

    /// Permutes the axes of a contiguous tensor: axis `i` of `out` is axis `permutation[i]` of `x`.
    ///
    /// # Panics
    /// If there are more than [`MAX_RANK`] axes, `permutation` is none, or a slice does not hold the product of `shape`.
    fn permute_f32(&self, shape: &[usize], permutation: &[usize], x: &[f32], out: &mut [f32]) {
        body::permute(shape, permutation, x, out, |rows, columns, x, stride, out| {
            self.transpose_f32(rows, columns, x, stride, out);
        });
    }
}

/// Layout kernels in plain Rust.
pub(crate) struct PortableLayout;

impl Layout for PortableLayout {
    fn name(&self) -> &'static str {
        "layout.portable"
    }

    fn transpose_u8(&self, rows: usize, columns: usize, x: &[u8], x_stride: usize, out: RowsMut<'_, u8>) {
        body::transpose(rows, columns, x, x_stride, out);
    }

    fn transpose_f32(&self, rows: usize, columns: usize, x: &[f32], x_stride: usize, out: RowsMut<'_, f32>) {
        body::transpose(rows, columns, x, x_stride, out);
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;

    /// Side of the square blocks of a transpose: one cache line of each row and column stays in the cache.
    const BLOCK: usize = 16;

    /// [`Layout::transpose_u8`] for any element.
    #[inline(always)]
    pub fn transpose<T: Copy>(rows: usize, columns: usize, x: &[T], x_stride: usize, mut out: RowsMut<'_, T>) {
        if rows == 0 || columns == 0 {
            return;
        }
        assert!(x.len() >= span(rows, x_stride, columns), "matrix too short");
        for first_row in (0..rows).step_by(BLOCK) {
            let last_row = rows.min(first_row + BLOCK);
            for first_column in (0..columns).step_by(BLOCK) {
                for c in first_column..columns.min(first_column + BLOCK) {
                    let out = &mut out.row(c, rows)[first_row..last_row];
                    for (r, o) in (first_row..).zip(out) {
                        *o = x[r * x_stride + c];
                    }
                }
            }
        }
    }

    /// The output axes: length and stride in `x`. Axes that stay neighbours are one, axes of length 1 are none.
    fn merged_axes(shape: &[usize], permutation: &[usize]) -> ([(usize, usize); MAX_RANK], usize) {
        let mut strides = [1; MAX_RANK];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let mut axes = [(1, 0); MAX_RANK];
        let mut count = 0;
        for &axis in permutation.iter().filter(|&&axis| shape[axis] != 1) {
            let (len, stride) = (shape[axis], strides[axis]);
            if count > 0 && axes[count - 1].1 == len * stride {
                axes[count - 1] = (axes[count - 1].0 * len, stride);
            } else {
                axes[count] = (len, stride);
                count += 1;
            }
        }
        (axes, count)
    }

    /// [`Layout::permute_u8`] for any element, given a transpose: rows that stay whole are copied, others are
    /// transposed in pairs of axes: the output's last and the one that is last in `x`.
    pub fn permute<T: Copy>(
        shape: &[usize],
        permutation: &[usize],
        x: &[T],
        out: &mut [T],
        transpose: impl Fn(usize, usize, &[T], usize, RowsMut<'_, T>),
    ) {
        let rank = shape.len();
        assert!(rank <= MAX_RANK && permutation.len() == rank, "permutation {permutation:?} of {shape:?}");
        assert!((0..rank).all(|axis| permutation.contains(&axis)), "{permutation:?} is no permutation");
        if shape.contains(&0) {
            return;
        }
        let len = shape.iter().try_fold(1usize, |len, &axis| len.checked_mul(axis)).expect("tensor overflows usize");
        let (x, out) = (&x[..len], &mut out[..len]);
        let (axes, count) = merged_axes(shape, permutation);
        if count < 2 {
            return out.copy_from_slice(x);
        }
        let mut out_strides = [1; MAX_RANK];
        for i in (1..count).rev() {
            out_strides[i - 1] = out_strides[i] * axes[i].0;
        }
        let (last_len, last_stride) = axes[count - 1];
        // The output axis that is contiguous in `x`; there is one, since merging removed only axes of length 1.
        let inner = axes[..count].iter().position(|axis| axis.1 == 1).unwrap_or(count - 1);
        let others = axes[..count].iter().enumerate().filter(|&(i, _)| i != count - 1 && i != inner);
        let steps: usize = others.clone().map(|(_, axis)| axis.0).product();
        let columns = axes[inner].0;
        for step in 0..steps {
            let (mut rest, mut from, mut to) = (step, 0, 0);
            for (i, &(len, stride)) in others.clone().rev() {
                from += rest % len * stride;
                to += rest % len * out_strides[i];
                rest /= len;
            }
            if inner == count - 1 {
                out[to..to + last_len].copy_from_slice(&x[from..from + last_len]);
            } else {
                transpose(last_len, columns, &x[from..], last_stride, RowsMut::new(&mut out[to..], out_strides[inner]));
            }
        }
    }
}
