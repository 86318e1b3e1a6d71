//! Float kernels: elementwise functions, softmax, layer normalisation, reductions of rows.
//!
//! They apply the functions of [`quantc_tensor::math`] and [`quantc_tensor::reduce`], whose order of operations is defined, so
//! every tier gives the same bits. A NaN result is a NaN on every tier, of no particular payload.

use std::ops::Range;

use crate::rows::{Operand, RowsMut};

/// A function of one f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// `x`.
    Copy,
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// [`quantc_tensor::math::relu_f32`].
    Relu,
    /// [`quantc_tensor::math::clamp_f32`].
    Clamp {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// Exact square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// [`quantc_tensor::math::exp_f32`].
    Exp,
    /// [`quantc_tensor::math::tanh_f32`].
    Tanh,
    /// [`quantc_tensor::math::sigmoid_f32`].
    Sigmoid,
    /// [`quantc_tensor::math::erf_f32`].
    Erf,
    /// [`quantc_tensor::math::gelu_f32`].
    Gelu,
    /// [`quantc_tensor::math::gelu_tanh_f32`].
    GeluTanh,
    /// [`quantc_tensor::math::silu_f32`].
    Silu,
    /// [`quantc_tensor::math::hardswish_f32`].
    Hardswish,
    /// [`quantc_tensor::math::hardsigmoid_with_f32`].
    Hardsigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x * x`.
    Square,
    /// `x * x * x`.
    Cube,
    /// `1 / x`.
    Reciprocal,
    /// Largest integer not above `x`.
    Floor,
    /// Smallest integer not below `x`.
    Ceil,
    /// Nearest integer, half to even.
    Round,
    /// [`quantc_tensor::math::sign_f32`].
    Sign,
    /// [`quantc_tensor::math::leaky_relu_f32`].
    LeakyRelu {
        /// Factor of the negative side.
        slope: f32,
    },
    /// [`quantc_tensor::math::elu_f32`].
    Elu {
        /// Factor of the negative side.
        alpha: f32,
    },
    /// [`quantc_tensor::math::celu_f32`].
    Celu {
        /// Factor and width of the negative side.
        alpha: f32,
    },
    /// [`quantc_tensor::math::threshold_f32`].
    Threshold {
        /// What an input must exceed to stay.
        threshold: f32,
        /// What the others become.
        value: f32,
    },
    /// [`quantc_tensor::math::round_to_half_f32`].
    RoundToHalf {
        /// Whether what is too large becomes 65504 instead of infinite.
        saturate: bool,
    },
    /// [`quantc_tensor::math::log_f32`].
    Log,
    /// [`quantc_tensor::math::softplus_f32`].
    Softplus,
    /// [`quantc_tensor::math::mish_f32`].
    Mish,
    /// [`quantc_tensor::math::sin_f32`].
    Sin,
    /// [`quantc_tensor::math::cos_f32`].
    Cos,
}

/// A function of two f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// [`quantc_tensor::math::pow_f32`].
    Pow,
    /// [`quantc_tensor::math::maximum_f32`].
    Maximum,
    /// [`quantc_tensor::math::minimum_f32`].
    Minimum,
    /// [`quantc_tensor::math::leaky_relu_f32`] of `a` with the slope `b`.
    Prelu,
}

/// A reduction of a row to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// [`quantc_tensor::reduce::sum`].
    Sum,
    /// [`quantc_tensor::reduce::mean`].
    Mean,
    /// [`quantc_tensor::reduce::max`].
    Max,
    /// [`quantc_tensor::reduce::min`].
    Min,
}

/// The parameters of a layer normalisation over rows.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormParams<'a> {
    /// Factor of each column.
    pub gamma: Option<&'a [f32]>,
    /// Term of each column.
    pub beta: Option<&'a [f32]>,
    /// Added to the variance.
    pub eps: f32,
}

/// Float kernels on rows. `out` starts at the first of the rows.
pub trait Float: Send + Sync {
    /// What reports call these kernels, for example `float.avx2`.
    fn name(&self) -> &'static str;

    /// `op(x)`.
    ///
    /// # Panics
    /// If the operand or the output is too short.
    fn unary(&self, op: UnaryOp, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: RowsMut<'_, f32>);

    /// `op(a, b)`.
    ///
    /// # Panics
    /// If an operand or the output is too short.
    fn binary(
        &self,
        op: BinaryOp,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, f32>,
        b: Operand<'_, f32>,
        out: RowsMut<'_, f32>,
    );

    /// [`quantc_tensor::reduce::softmax_row`] of each row.
    ///
    /// # Panics
    /// If the operand is splat, or it or the output is too short.
    fn softmax(&self, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: RowsMut<'_, f32>);

    /// [`quantc_tensor::reduce::layer_norm_row`] of each row.
    ///
    /// # Panics
    /// If the operand is splat, or it, the parameters or the output are too short.
    fn layer_norm(
        &self,
        params: &LayerNormParams<'_>,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, f32>,
        out: RowsMut<'_, f32>,
    );

    /// `out[i] = op(row i)`, `i` counted from the first of the rows.
    ///
    /// # Panics
    /// If the operand is splat, or it or the output is too short.
    fn reduce(&self, op: ReduceOp, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: &mut [f32]);
}

/// Float kernels in plain Rust.
pub(crate) struct PortableFloat;

impl Float for PortableFloat {
    fn name(&self) -> &'static str {
        "float.portable"
    }

    fn unary(&self, op: UnaryOp, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: RowsMut<'_, f32>) {
        body::unary(op, rows, columns, x, out);
    }

    fn binary(
        &self,
        op: BinaryOp,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, f32>,
        b: Operand<'_, f32>,
        out: RowsMut<'_, f32>,
    ) {
        body::binary(op, rows, columns, a, b, out);
    }

    fn softmax(&self, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: RowsMut<'_, f32>) {
        body::softmax(rows, columns, x, out);
    }

    fn layer_norm(
        &self,
        params: &LayerNormParams<'_>,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, f32>,
        out: RowsMut<'_, f32>,
    ) {
        body::layer_norm(params, rows, columns, x, out);
    }

    fn reduce(&self, op: ReduceOp, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: &mut [f32]) {
        body::reduce(op, rows, columns, x, out);
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;
    use crate::rows::{for_each_row, for_each_row_pair, map, zip_map};
    use quantc_tensor::{math, reduce};

    /// [`Float::unary`].
    #[inline(always)]
    pub fn unary(op: UnaryOp, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: RowsMut<'_, f32>) {
        // A loop for each function, so that each is inlined and vectorised.
        macro_rules! each {
            ($f:expr) => {
                for_each_row(rows, columns, x, out, |x, out| map(x, out, $f))
            };
        }
        match op {
            UnaryOp::Copy => each!(|v| v),
            UnaryOp::Neg => each!(|v: f32| -v),
            UnaryOp::Abs => each!(f32::abs),
            UnaryOp::Relu => each!(math::relu_f32),
            UnaryOp::Clamp { lo, hi } => each!(|v| math::clamp_f32(v, lo, hi)),
            UnaryOp::Sqrt => each!(f32::sqrt),
            UnaryOp::Rsqrt => each!(math::rsqrt_f32),
            UnaryOp::Exp => each!(math::exp_f32),
            UnaryOp::Tanh => each!(math::tanh_f32),
            UnaryOp::Sigmoid => each!(math::sigmoid_f32),
            UnaryOp::Erf => each!(math::erf_f32),
            UnaryOp::Gelu => each!(math::gelu_f32),
            UnaryOp::GeluTanh => each!(math::gelu_tanh_f32),
            UnaryOp::Silu => each!(math::silu_f32),
            UnaryOp::Hardswish => each!(math::hardswish_f32),
            UnaryOp::Hardsigmoid { alpha, beta } => each!(|v| math::hardsigmoid_with_f32(v, (alpha, beta))),
            UnaryOp::Square => each!(|v| v * v),
            UnaryOp::Cube => each!(|v| v * v * v),
            UnaryOp::Reciprocal => each!(|v| 1.0 / v),
            UnaryOp::Floor => each!(f32::floor),
            UnaryOp::Ceil => each!(f32::ceil),
            UnaryOp::Round => each!(f32::round_ties_even),
            UnaryOp::Sign => each!(math::sign_f32),
            UnaryOp::LeakyRelu { slope } => each!(|v| math::leaky_relu_f32(v, slope)),
            UnaryOp::Elu { alpha } => each!(|v| math::elu_f32(v, alpha)),
            UnaryOp::Celu { alpha } => each!(|v| math::celu_f32(v, alpha)),
            UnaryOp::RoundToHalf { saturate } => each!(|v| math::round_to_half_f32(v, saturate)),
            UnaryOp::Threshold { threshold, value } => each!(|v| math::threshold_f32(v, (threshold, value))),
            UnaryOp::Log => each!(math::log_f32),
            UnaryOp::Softplus => each!(math::softplus_f32),
            UnaryOp::Mish => each!(math::mish_f32),
            UnaryOp::Sin => each!(math::sin_f32),
            UnaryOp::Cos => each!(math::cos_f32),
        }
    }

    /// [`Float::binary`].
    #[inline(always)]
    pub fn binary(
        op: BinaryOp,
        rows: Range<usize>,
        columns: usize,
        a: Operand<'_, f32>,
        b: Operand<'_, f32>,
        out: RowsMut<'_, f32>,
    ) {
        macro_rules! each {
            ($f:expr) => {
                for_each_row_pair(rows, columns, a, b, out, |a, b, out| zip_map(a, b, out, $f))
            };
        }
        match op {
            BinaryOp::Add => each!(|a, b| a + b),
            BinaryOp::Sub => each!(|a, b| a - b),
            BinaryOp::Mul => each!(|a, b| a * b),
            BinaryOp::Div => each!(|a, b| a / b),
            BinaryOp::Pow => each!(math::pow_f32),
            BinaryOp::Maximum => each!(math::maximum_f32),
            BinaryOp::Minimum => each!(math::minimum_f32),
            BinaryOp::Prelu => each!(math::leaky_relu_f32),
        }
    }

    /// [`Float::softmax`].
    #[inline(always)]
    pub fn softmax(rows: Range<usize>, columns: usize, x: Operand<'_, f32>, mut out: RowsMut<'_, f32>) {
        for (index, row) in rows.enumerate() {
            let (x, out) = (x.row(row, columns), out.row(index, columns));
            let lanes = reduce::exp_row(x, reduce::max(x), out);
            reduce::normalize_row(out, lanes);
        }
    }

    /// [`Float::layer_norm`].
    #[inline(always)]
    pub fn layer_norm(
        params: &LayerNormParams<'_>,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, f32>,
        mut out: RowsMut<'_, f32>,
    ) {
        let LayerNormParams { gamma, beta, eps } = *params;
        let (gamma, beta) = (gamma.map(|v| &v[..columns]), beta.map(|v| &v[..columns]));
        for (index, row) in rows.enumerate() {
            let (x, out) = (x.row(row, columns), out.row(index, columns));
            assert_eq!(x.len(), out.len(), "rows of one length");
            reduce::layer_norm_row(x, gamma, beta, eps, out);
        }
    }

    /// [`Float::reduce`].
    #[inline(always)]
    pub fn reduce(op: ReduceOp, rows: Range<usize>, columns: usize, x: Operand<'_, f32>, out: &mut [f32]) {
        let out = &mut out[..rows.len()];
        for (row, o) in rows.zip(out) {
            let x = x.row(row, columns);
            assert_eq!(x.len(), columns, "rows of one length");
            *o = match op {
                ReduceOp::Sum => reduce::sum(x),
                ReduceOp::Mean => reduce::mean(x),
                ReduceOp::Max => reduce::max(x),
                ReduceOp::Min => reduce::min(x),
            };
        }
    }
}
