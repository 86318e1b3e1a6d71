//! Integer matrix multiplication of two activations: u8 by u8, both with a zero point, exact i32 accumulation (wrapping).

use std::ops::Range;

use crate::conv::portable::{ROWS, multiply, store};
use crate::conv::{ConvPlan, Output, SLACK};
use crate::epilogue::Epilogue;
use crate::rows::span;

/// How the right matrix lies in memory; strides in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RightLayout {
    /// `[k][n]`, rows `stride` apart.
    RowMajor {
        /// From one `k` to the next; at least `n`.
        stride: usize,
    },
    /// `[n][k]`, rows `stride` apart: the matrix is transposed before multiplying.
    Transposed {
        /// From one `n` to the next; at least `k`.
        stride: usize,
    },
}

/// One matrix product `[m][k] x [k][n]`; a batch is one call per matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    /// Rows of the left matrix and the result.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// Columns of the right matrix and the result.
    pub n: usize,
    /// Elements from one row of the left matrix to the next; at least `k`.
    pub a_stride: usize,
    /// The right matrix.
    pub b: RightLayout,
}

impl MatmulShape {
    /// Elements of the left matrix that must be readable, slack included.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn a_len(&self) -> usize {
        matrix_len(self.m, self.a_stride, self.k)
    }

    /// Elements of the right matrix that must be readable, slack included.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn b_len(&self) -> usize {
        match self.b {
            RightLayout::RowMajor { stride } => matrix_len(self.k, stride, self.n),
            RightLayout::Transposed { stride } => matrix_len(self.n, stride, self.k),
        }
    }

    /// Checks everything an unchecked `pack` relies on.
    ///
    /// # Panics
    /// If a slice is too short or a stride too small: errors of the caller.
    pub fn check_pack(&self, b: &[u8], packed: usize, packed_needed: usize) {
        match self.b {
            RightLayout::RowMajor { stride } => {
                assert!(stride >= self.n, "right stride {stride} below n")
            }
            RightLayout::Transposed { stride } => {
                assert!(stride >= self.k, "right stride {stride} below k")
            }
        }
        assert!(b.len() >= self.b_len(), "right matrix holds {} of {} bytes", b.len(), self.b_len());
        assert!(packed >= packed_needed, "packed holds {packed} of {packed_needed} bytes");
    }

    /// Checks everything an unchecked `run` relies on.
    ///
    /// # Panics
    /// If a slice is too short or a stride too small: errors of the caller.
    pub fn check_run(&self, a: &[u8], rows: &Range<usize>, packed: usize, packed_needed: usize) {
        assert!(self.a_stride >= self.k, "left stride {} below k", self.a_stride);
        assert!(rows.start <= rows.end && rows.end <= self.m, "rows {rows:?} of {}", self.m);
        assert!(a.len() >= self.a_len(), "left matrix holds {} of {} bytes", a.len(), self.a_len());
        assert!(packed >= packed_needed, "packed holds {packed} of {packed_needed} bytes");
    }
}

/// Elements of a matrix, slack included.
fn matrix_len(rows: usize, stride: usize, columns: usize) -> usize {
    let len = if rows == 0 { 0 } else { span(rows, stride, columns) };
    len.checked_add(SLACK).expect("matrix length overflows usize")
}

/// The zero points of both operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroPoints {
    /// Of the left matrix.
    pub a: u8,
    /// Of the right matrix.
    pub b: u8,
}

/// A matrix multiplication kernel. Pack once per right matrix, then run any rows on any threads.
pub trait QMatmul: Send + Sync {
    /// What reports call this kernel, for example `qmatmul.avx2`.
    fn name(&self) -> &'static str;

    /// Bytes that `pack` fills for a `[k][n]` matrix. A buffer aligned to 64 bytes is fastest, none is needed.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    fn packed_len(&self, k: usize, n: usize) -> usize;

    /// Packs the right matrix.
    ///
    /// # Panics
    /// If a slice does not fit (see [`MatmulShape::check_pack`]).
    fn pack(&self, shape: &MatmulShape, b: &[u8], zero_points: ZeroPoints, packed: &mut [u8]);

    /// Computes `rows` of `epilogue(sum((a - za) * (b - zb)))` into `out`, which starts at the first of them, as do the
    /// epilogue's rows. `packed` and the zero points are those of `pack`.
    ///
    /// # Panics
    /// If a slice does not fit (see [`MatmulShape::check_run`] and [`Output::check`]).
    #[expect(clippy::too_many_arguments, reason = "the operands of a matrix product, each of its own kind")]
    fn run(
        &self,
        shape: &MatmulShape,
        a: &[u8],
        packed: &[u8],
        zero_points: ZeroPoints,
        rows: Range<usize>,
        epilogue: &Epilogue<'_>,
        out: Output<'_>,
    );
}

/// Matrix multiplication in plain Rust. The packed matrix is the i32 offset of each column, `-za * sum(b - zb)`, then
/// `b - zb` as `[n][k]` of i16.
pub(crate) struct PortableMatmul;

impl QMatmul for PortableMatmul {
    fn name(&self) -> &'static str {
        "qmatmul.portable"
    }

    fn packed_len(&self, k: usize, n: usize) -> usize {
        let column = k.checked_mul(size_of::<i16>()).and_then(|values| values.checked_add(size_of::<i32>()));
        column.and_then(|column| column.checked_mul(n)).expect("packed length overflows usize")
    }

    fn pack(&self, shape: &MatmulShape, b: &[u8], zero_points: ZeroPoints, packed: &mut [u8]) {
        let MatmulShape { k, n, .. } = *shape;
        shape.check_pack(b, packed.len(), self.packed_len(k, n));
        let (offsets, values) = packed.split_at_mut(n * size_of::<i32>());
        let values = values.as_chunks_mut().0;
        for (column, offset) in offsets.as_chunks_mut().0.iter_mut().enumerate() {
            let mut sum = 0i32;
            for (ki, value) in values[column * k..(column + 1) * k].iter_mut().enumerate() {
                let q = match shape.b {
                    RightLayout::RowMajor { stride } => b[ki * stride + column],
                    RightLayout::Transposed { stride } => b[column * stride + ki],
                };
                let q = i16::from(q) - i16::from(zero_points.b);
                sum = sum.wrapping_add(q.into());
                *value = q.to_ne_bytes();
            }
            *offset = sum.wrapping_mul(-i32::from(zero_points.a)).to_ne_bytes();
        }
    }

    fn run(
        &self,
        shape: &MatmulShape,
        a: &[u8],
        packed: &[u8],
        _zero_points: ZeroPoints,
        rows: Range<usize>,
        epilogue: &Epilogue<'_>,
        mut out: Output<'_>,
    ) {
        let MatmulShape { k, n, a_stride, .. } = *shape;
        shape.check_run(a, &rows, packed.len(), self.packed_len(k, n));
        out.check(rows.len(), n, epilogue);
        let (offsets, values) = packed.split_at(n * size_of::<i32>());
        let offsets = offsets.as_chunks().0;
        let values = &values.as_chunks().0[..n * k];
        for block in ConvPlan::tiles(rows.clone(), ROWS) {
            multiply(&a[block.start * a_stride..], a_stride, block.len(), values, k, n, |row, column, sums| {
                for (sum, &offset) in sums.iter_mut().zip(&offsets[column..]) {
                    *sum = sum.wrapping_add(i32::from_ne_bytes(offset));
                }
                store(&mut out, epilogue, block.start - rows.start + row, column, sums);
            });
        }
    }
}
