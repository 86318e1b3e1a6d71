//! f32 matrix multiplication with a defined summation order.
//!
//! The `gemm` crate is fast, but the bits of its results depend on the sizes: vectors, tiny and thin matrices take other paths than
//! large ones, and the depth is blocked by a size derived from the caches. [`sgemm`] steers around all of that, so that one element of
//! the result is always
//!
//! ```text
//! sum over blocks of KC depth indices, in order, of  fma(a[k], b[k], ... fma(a[1], b[1], fma(a[0], b[0], 0)))
//! ```
//!
//! where a block of one or two at the end takes two more from the block before it,
//! whatever the number of rows or columns, the strides, or the thread that computes it. A layer may therefore be computed row by row,
//! in strips, or transposed, and gives the same bits. (On x86 without FMA, `gemm` multiplies and adds separately, again in this order.)
//!
//! This is the only place outside the integer kernels that needs `unsafe`: the `gemm` crate takes pointers, and a single row is multiplied
//! with instructions that the machine is asked for.

mod vector;

use std::ops::Range;

/// Depth of one block of the summation, in elements.
pub const KC: usize = 512;

/// The blocks that a depth is summed in, in order.
fn blocks_of(k: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut depth = (k - start).min(KC);
        // A last block of one or two would take `gemm`'s outer-product routine: leave it three or more.
        if matches!(k - start - depth, 1 | 2) {
            depth -= 2;
        }
        let block = start..start + depth;
        start = block.end;
        (depth > 0).then_some(block)
    })
}

/// A read-only matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Elements from one row to the next; 0 repeats one row.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix of `cols` columns.
    pub fn rows(data: &'a [f32], cols: usize) -> Mat<'a> {
        Mat { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Mat<'a> {
        Mat { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// Columns `start..` of the matrix.
    fn skip_cols(self, start: usize) -> Mat<'a> {
        Mat { data: self.data.get(start * self.col_stride..).unwrap_or(&[]), ..self }
    }

    /// Rows `start..` of the matrix.
    fn skip_rows(self, start: usize) -> Mat<'a> {
        self.t().skip_cols(start).t()
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        self.data[row * self.row_stride + col * self.col_stride]
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || last_index(rows, cols, self.row_stride, self.col_stride) < self.data.len()
    }
}

/// Index of the last element of a nonempty matrix, `usize::MAX` if it does not fit one.
fn last_index(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    (rows - 1).saturating_mul(row_stride).saturating_add((cols - 1).saturating_mul(col_stride))
}

/// `c = a * b` for `a` of `m` rows and `k` columns, `b` of `k` rows and `n` columns, `c` row-major with `c_stride` elements from one row
/// to the next. Single-threaded; the summation order is the crate's contract.
///
/// # Panics
/// If a slice is too short for its matrix, or `c_stride < n`.
pub fn sgemm(m: usize, n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32], c_stride: usize) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k), "a is shorter than {m}x{k}");
    assert!(b.holds(k, n), "b is shorter than {k}x{n}");
    assert!(c_stride >= n && last_index(m, n, c_stride, 1) < c.len(), "c is shorter than {m}x{n}");
    if k <= 2 {
        return shallow(m, n, k, a, b, c, c_stride);
    }
    // A single row or column is the same sum over a matrix and over its transpose.
    if m == 1 && b.col_stride == 1 && vector::row_times(n, k, a, b, c)
        || n == 1 && a.row_stride == 1 && c_stride == 1 && vector::row_times(m, k, b.t(), a.t(), c)
    {
        return;
    }
    // `gemm` would take a matrix-vector routine with another summation order: compute two equal rows or columns.
    if n == 1 {
        let twice: Vec<f32> = (0..k).flat_map(|i| [b.at(i, 0); 2]).collect();
        let mut out = vec![0.0; 2 * m];
        sgemm(m, 2, k, a, Mat::rows(&twice, 2), &mut out, 2);
        for (row, pair) in out.chunks_exact(2).enumerate() {
            c[row * c_stride] = pair[0];
        }
        return;
    }
    if m == 1 {
        let mut out = vec![0.0; 2 * n];
        sgemm(2, n, k, Mat { row_stride: 0, ..a }, b, &mut out, n);
        c[..n].copy_from_slice(&out[..n]);
        return;
    }
    // Small products of two matrices contiguous in depth would be computed as dot products: make b row-major.
    if a.col_stride == 1 && b.row_stride == 1 && m * n <= 16 * 16 {
        let packed: Vec<f32> = (0..k).flat_map(|i| (0..n).map(move |j| b.at(i, j))).collect();
        return blocks(m, n, k, a, Mat::rows(&packed, n), c, c_stride);
    }
    blocks(m, n, k, a, b, c, c_stride);
}

/// `c = a * b` in depth blocks of [`KC`], each of which `gemm` sums in one chain.
fn blocks(m: usize, n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32], c_stride: usize) {
    for Range { start, end } in blocks_of(k) {
        let depth = end - start;
        let (a, b) = (a.skip_cols(start), b.skip_rows(start));
        // SAFETY: `sgemm` checked that all three matrices lie inside their slices, and that the rows of c do not overlap; a and b start
        // `start` columns and rows later and are that much shorter. c is borrowed mutably, so neither a nor b aliases it.
        // Strides are below isize::MAX because the slices are.
        unsafe {
            gemm::gemm(
                m,
                n,
                depth,
                c.as_mut_ptr(),
                1,
                c_stride as isize,
                start > 0,
                a.data.as_ptr(),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr(),
                b.col_stride as isize,
                b.row_stride as isize,
                1.0f32,
                1.0f32,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// Depth 0, 1 and 2: `gemm` would take its outer-product routine, so the depth is filled up with zeros, which change no sum.
fn shallow(m: usize, n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32], c_stride: usize) {
    let a_deep: Vec<f32> = (0..m).flat_map(|i| (0..3).map(move |l| if l < k { a.at(i, l) } else { 0.0 })).collect();
    let b_deep: Vec<f32> = (0..3).flat_map(|l| (0..n).map(move |j| if l < k { b.at(l, j) } else { 0.0 })).collect();
    sgemm(m, n, 3, Mat::rows(&a_deep, 3), Mat::rows(&b_deep, n), c, c_stride);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(i: usize, seed: usize) -> f32 {
        let h = (i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503))) & 0xffff;
        h as f32 / 32_768.0 - 1.0
    }

    /// The contract, written out.
    fn model(m: usize, n: usize, k: usize, a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut start) = (0.0f32, 0);
                while start < k {
                    let mut depth = (k - start).min(KC);
                    if matches!(k - start - depth, 1 | 2) {
                        depth -= 2;
                    }
                    let block = (start..start + depth).fold(0.0f32, |acc, l| a.at(i, l).mul_add(b.at(l, j), acc));
                    sum = if start == 0 { block } else { sum + block };
                    start += depth;
                }
                c[i * n + j] = sum;
            }
        }
        c
    }

    fn fused() -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            std::is_x86_feature_detected!("fma")
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            cfg!(target_arch = "aarch64")
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn every_size_and_stride_sums_in_the_defined_order(
            m in prop_oneof![1usize..6, 1usize..70, 60usize..200],
            n in prop_oneof![1usize..6, 1usize..70, 60usize..200],
            k in prop_oneof![0usize..8, 1usize..100, 500usize..530, 1020usize..1030],
            layout in 0usize..4,
            pad in 0usize..3,
            seed in 0usize..1000,
        ) {
            if !fused() {
                eprintln!("skipped: no fused multiply-add here");
                return Ok(());
            }
            let a_data: Vec<f32> = (0..m * k).map(|i| value(i, seed)).collect();
            let b_data: Vec<f32> = (0..k * n).map(|i| value(i, seed + 7)).collect();
            let a = if layout & 1 == 0 { Mat::rows(&a_data, k) } else { Mat::rows(&a_data, m).t() };
            let b = if layout & 2 == 0 { Mat::rows(&b_data, n) } else { Mat::rows(&b_data, k).t() };
            let stride = n + pad;
            let mut c = vec![9.0f32; m * stride];
            sgemm(m, n, k, a, b, &mut c, stride);
            let want = model(m, n, k, a, b);
            for i in 0..m {
                for j in 0..n {
                    prop_assert_eq!(c[i * stride + j].to_bits(), want[i * n + j].to_bits(), "({}, {}) of {}x{}x{}", i, j, m, n, k);
                }
                prop_assert!(c[i * stride + n..(i + 1) * stride].iter().all(|&v| v == 9.0));
            }
        }
    }

    #[test]
    #[should_panic(expected = "b is shorter")]
    fn short_slices_are_refused() {
        sgemm(2, 2, 4, Mat::rows(&[0.0; 8], 4), Mat::rows(&[0.0; 7], 2), &mut [0.0; 4], 2);
    }
}
