//! Elementwise kernels on u8: residual addition, multiplication, lookup tables.

use std::ops::Range;
use std::sync::Arc;

use crate::rows::{Operand, RowsMut};

/// Addition of two quantized operands. A subtraction has a negative `b_scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddParams {
    /// Zero point of `a`.
    pub a_zero_point: i32,
    /// Scale of `a`.
    pub a_scale: f32,
    /// Zero point of `b`.
    pub b_zero_point: i32,
    /// Scale of `b`.
    pub b_scale: f32,
    /// `1 / s_y`.
    pub inverse_scale: f32,
    /// Zero point of the result.
    pub zero_point: i32,
    /// Inclusive bounds, within 0..=255.
    pub clamp: (i32, i32),
}

/// Multiplication of two quantized operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MulParams {
    /// Zero point of `a`.
    pub a_zero_point: i32,
    /// Zero point of `b`.
    pub b_zero_point: i32,
    /// `s_a * s_b / s_y`.
    pub multiplier: f32,
    /// Zero point of the result.
    pub zero_point: i32,
    /// Inclusive bounds, within 0..=255.
    pub clamp: (i32, i32),
}

/// A factor and a term for each column of a quantized operand: batch normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineParams {
    /// Zero point of the operand.
    pub x_zero_point: i32,
    /// Scale of the operand.
    pub x_scale: f32,
    /// The factor of each column.
    pub factor: Arc<[f32]>,
    /// The term of each column, as many.
    pub term: Arc<[f32]>,
    /// `1 / s_y`.
    pub inverse_scale: f32,
    /// Zero point of the result.
    pub zero_point: i32,
    /// Inclusive bounds, within 0..=255.
    pub clamp: (i32, i32),
}

/// Elementwise kernels on u8. Zero points lie in 0..=255. An operation with one constant operand is a lookup table, as is
/// a change of scale and zero point.
pub trait Elementwise: Send + Sync {
    /// What reports call these kernels, for example `elementwise.avx2`.
    fn name(&self) -> &'static str;

    /// `clamp(rne((f32(a - za) * sa + f32(b - zb) * sb) * inverse_scale) + z, lo, hi)`.
    ///
    /// # Panics
    /// If an operand or the output is too short.
    fn add(
        &self,
        params: &AddParams,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, u8>,
        b: Operand<'_, u8>,
        out: RowsMut<'_, u8>,
    );

    /// `clamp(rne(f32((a - za) * (b - zb)) * multiplier) + z, lo, hi)`.
    ///
    /// # Panics
    /// If an operand or the output is too short.
    fn mul(
        &self,
        params: &MulParams,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, u8>,
        b: Operand<'_, u8>,
        out: RowsMut<'_, u8>,
    );

    /// `clamp(rne((f32(x - zx) * sx * factor + term) * inverse_scale) + z, lo, hi)`, with a factor and a term for each column. Rows of
    /// `x` are `x_stride` elements apart.
    ///
    /// # Panics
    /// If the operand or the output is too short.
    fn affine(&self, params: &AffineParams, rows: Range<usize>, x: &[u8], x_stride: usize, out: RowsMut<'_, u8>);

    /// `table[x]`. Also copies rows, with a table of the identity.
    ///
    /// # Panics
    /// If the operand or the output is too short.
    fn lookup(&self, table: &[u8; 256], rows: Range<usize>, columns: usize, x: Operand<'_, u8>, out: RowsMut<'_, u8>);
}

/// Elementwise kernels in plain Rust.
pub(crate) struct PortableElementwise;

impl Elementwise for PortableElementwise {
    fn name(&self) -> &'static str {
        "elementwise.portable"
    }

    fn add(
        &self,
        params: &AddParams,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, u8>,
        b: Operand<'_, u8>,
        out: RowsMut<'_, u8>,
    ) {
        body::add(params, rows, columns, a, b, out);
    }

    fn mul(
        &self,
        params: &MulParams,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, u8>,
        b: Operand<'_, u8>,
        out: RowsMut<'_, u8>,
    ) {
        body::mul(params, rows, columns, a, b, out);
    }

    fn affine(&self, params: &AffineParams, rows: Range<usize>, x: &[u8], x_stride: usize, out: RowsMut<'_, u8>) {
        body::affine(params, rows, x, x_stride, out);
    }

    fn lookup(&self, table: &[u8; 256], rows: Range<usize>, columns: usize, x: Operand<'_, u8>, out: RowsMut<'_, u8>) {
        body::lookup(table, rows, columns, x, out);
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;
    use crate::rows::{for_each_row, for_each_row_pair, map, row_start, zip_map};
    use quantc_tensor::round::round_saturate;

    /// One element of [`Elementwise::add`].
    #[inline(always)]
    pub fn add_one(p: &AddParams, a: u8, b: u8) -> u8 {
        let a = (i32::from(a) - p.a_zero_point) as f32 * p.a_scale;
        let b = (i32::from(b) - p.b_zero_point) as f32 * p.b_scale;
        round_saturate((a + b) * p.inverse_scale, p.zero_point, p.clamp.0, p.clamp.1) as u8
    }

    /// One element of [`Elementwise::mul`].
    #[inline(always)]
    pub fn mul_one(p: &MulParams, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - p.a_zero_point) * (i32::from(b) - p.b_zero_point);
        round_saturate(product as f32 * p.multiplier, p.zero_point, p.clamp.0, p.clamp.1) as u8
    }

    /// [`Elementwise::add`].
    #[inline(always)]
    pub fn add(
        params: &AddParams,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, u8>,
        b: Operand<'_, u8>,
        out: RowsMut<'_, u8>,
    ) {
        for_each_row_pair(rows, columns, a, b, out, |a, b, out| zip_map(a, b, out, |a, b| add_one(params, a, b)));
    }

    /// [`Elementwise::mul`].
    #[inline(always)]
    pub fn mul(
        params: &MulParams,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, u8>,
        b: Operand<'_, u8>,
        out: RowsMut<'_, u8>,
    ) {
        for_each_row_pair(rows, columns, a, b, out, |a, b, out| zip_map(a, b, out, |a, b| mul_one(params, a, b)));
    }

    /// [`Elementwise::affine`].
    #[inline(always)]
    pub fn affine(params: &AffineParams, rows: Range<usize>, x: &[u8], x_stride: usize, mut out: RowsMut<'_, u8>) {
        let p = params;
        let columns = p.factor.len().min(p.term.len());
        for (index, row) in rows.enumerate() {
            let x = &x[row_start(row, x_stride)..][..columns];
            let columns = x.iter().zip(&*p.factor).zip(&*p.term);
            for (o, ((&x, &factor), &term)) in out.row(index, x.len()).iter_mut().zip(columns) {
                let x = (i32::from(x) - p.x_zero_point) as f32 * p.x_scale;
                let y = (x * factor + term) * p.inverse_scale;
                *o = round_saturate(y, p.zero_point, p.clamp.0, p.clamp.1) as u8;
            }
        }
    }

    /// [`Elementwise::lookup`].
    #[inline(always)]
    pub fn lookup(table: &[u8; 256], rows: Range<usize>, columns: usize, x: Operand<'_, u8>, out: RowsMut<'_, u8>) {
        for_each_row(rows, columns, x, out, |x, out| map(x, out, |x| table[usize::from(x)]));
    }
}
