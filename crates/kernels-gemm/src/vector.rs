//! One row times a row-major matrix, in the crate's summation order. The `gemm` crate is made for matrices and would pack the right
//! one first; here every element of it is read once.

use crate::{Mat, blocks_of};

/// Columns computed together: their sums stay in the first-level cache, and a row of the matrix is read in long runs.
const TILE: usize = 1024;

/// `c[j] = sum over l of a[l] * b[l][j]` for rows of `b` whose elements are adjacent; `false` if this machine has no version of it.
pub(crate) fn row_times(n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the machine has these instructions.
            unsafe { x86::avx512(n, k, a, b, c) };
        } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the machine has these instructions.
            unsafe { x86::avx2(n, k, a, b, c) };
        } else {
            return false;
        }
        true
    }
    #[cfg(target_arch = "aarch64")]
    {
        body(n, k, a, b, c);
        true
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (n, k, a, b, c);
        false
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Mat, body};

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) fn avx512(n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32]) {
        body(n, k, a, b, c);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32]) {
        body(n, k, a, b, c);
    }
}

/// The definition, inlined into a function with the instructions for it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn body(n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32]) {
    let c = &mut c[..n];
    let mut sums = [0.0f32; TILE];
    for (tile, c) in c.chunks_mut(TILE).enumerate() {
        let (first, sums) = (tile * TILE, &mut sums[..c.len()]);
        for depth in blocks_of(k) {
            let start = depth.start;
            sums.fill(0.0);
            let mut l = depth.start;
            // Four rows at a time: a sum is loaded and stored once for four products, still added one after another.
            while l + 4 <= depth.end {
                let [a0, a1, a2, a3] = [0, 1, 2, 3].map(|i| a.data[(l + i) * a.col_stride]);
                let [b0, b1, b2, b3] = [0, 1, 2, 3].map(|i| &b.data[(l + i) * b.row_stride + first..][..sums.len()]);
                for ((((s, &b0), &b1), &b2), &b3) in sums.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                    *s = a3.mul_add(b3, a2.mul_add(b2, a1.mul_add(b1, a0.mul_add(b0, *s))));
                }
                l += 4;
            }
            for l in l..depth.end {
                let (a, b) = (a.data[l * a.col_stride], &b.data[l * b.row_stride + first..][..sums.len()]);
                sums.iter_mut().zip(b).for_each(|(s, &b)| *s = a.mul_add(b, *s));
            }
            if start == 0 {
                c.copy_from_slice(sums);
            } else {
                c.iter_mut().zip(&*sums).for_each(|(c, s)| *c += s);
            }
        }
    }
}
