//! Float matrix products over slices.

use quantc_kernels_gemm::{Mat, sgemm};
use rayon::prelude::*;

/// Products of fewer multiplications than this stay on one thread.
const PARALLEL_MACS: usize = 1 << 20;

/// `c = a * b` with `c` row-major and contiguous: [`sgemm`] over the threads of the current rayon pool. The same bits as
/// one call of [`sgemm`].
pub fn sgemm_parallel(m: usize, n: usize, k: usize, a: Mat<'_>, b: Mat<'_>, c: &mut [f32]) {
    let threads = rayon::current_num_threads();
    if threads == 1 || m < 2 * threads || m * n * k < PARALLEL_MACS {
        return sgemm(m, n, k, a, b, c, n);
    }
    let rows = m.div_ceil(threads);
    c.par_chunks_mut(rows * n).enumerate().for_each(|(i, part)| {
        let a = Mat { data: &a.data[i * rows * a.row_stride..], ..a };
        sgemm(part.len() / n, n, k, a, b, part, n);
    });
}

/// Adds one value to each element of a row of `bias.len()`, for every row of `out`.
pub fn add_bias(out: &mut [f32], bias: &[f32]) {
    if !bias.is_empty() {
        for row in out.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(v, &b)| *v += b);
        }
    }
}

/// `out = x * w^T + bias`: `x` of `[rows, inputs]`, `w` of `[outputs, inputs]`, `out` of `[rows, outputs]`. The product in the
/// order of [`sgemm`], then one addition.
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, inputs: usize, outputs: usize, out: &mut [f32]) {
    let rows = out.len().checked_div(outputs).unwrap_or(0);
    sgemm_parallel(rows, outputs, inputs, Mat::rows(x, inputs), Mat::rows(w, inputs).t(), out);
    if let Some(bias) = bias {
        add_bias(out, bias);
    }
}

/// `out = a * b` of one pair of row-major matrices `[m, k]` and `[k, n]`.
pub fn matmul(a: &[f32], b: &[f32], m: usize, k: usize, n: usize, out: &mut [f32]) {
    sgemm_parallel(m, n, k, Mat::rows(a, k), Mat::rows(b, n), out);
}
