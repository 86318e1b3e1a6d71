//! One float matrix product, shared between threads.

use quantc_ops::float::linear::add_bias;
use quantc_ops::float::{Mat, sgemm};

use crate::Workers;

/// Rows that a thread takes at a time.
const ROWS: usize = 16;
/// Columns that a thread takes at a time of a product of one row.
const COLUMNS: usize = 64;

/// The sizes of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductShape {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// Elements from one row of the result to the next.
    pub(crate) out_stride: usize,
}

/// `out = a * b + bias`: rows are shared between the threads, the columns if there is one row. No way of sharing changes the bits.
pub(crate) fn product(
    workers: &mut Workers<'_>,
    shape: ProductShape,
    a: Mat<'_>,
    b: Mat<'_>,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let ProductShape { m, n, k, out_stride: stride } = shape;
    if m == 1 {
        workers.rows(n, COLUMNS, k / 8, &mut out[..n], 1, |columns, out, _| {
            let b = Mat { data: b.data.get(columns.start * b.col_stride..).unwrap_or(&[]), ..b };
            sgemm(1, columns.len(), k, a, b, out, columns.len());
            if let Some(bias) = bias {
                add_bias(out, &bias[columns]);
            }
        });
        return;
    }
    workers.rows(m, ROWS, n * k / 8, out, stride, |rows, out, _| {
        let a = Mat { data: a.data.get(rows.start * a.row_stride..).unwrap_or(&[]), ..a };
        sgemm(rows.len(), n, k, a, b, out, stride);
        if let Some(bias) = bias {
            out.chunks_mut(stride).take(rows.len()).for_each(|row| add_bias(&mut row[..n], bias));
        }
    });
}
