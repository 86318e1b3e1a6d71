//! Values of the reference evaluation: dense tensors, and real tensors known to be integers times a scale.
//!
//! The numeric contract (`docs/numerics.md`) gives a q/dq graph an integer meaning: `dequantize` yields a
//! [`ScaledInt`], operators that are exact on integers (convolution, matmul, max pooling, reshapes, relu, ...) keep that
//! form, every other operator sees the f32 tensor [`ScaledInt::to_real`], and `quantize` of a [`ScaledInt`] is one
//! requantization. So the meaning of the graph is compositional, and the fused integer kernels have one definition
//! to be bit-identical to.

use crate::round::{dequantize, quantize, requantize};
use crate::{DType, Element, QRange, Tensor, TensorError};

/// The scale of a [`ScaledInt`].
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// One scale.
    PerTensor(f32),
    /// A scale for each index of an axis.
    PerChannel {
        /// The axis.
        axis: usize,
        /// One scale for each index.
        scales: Vec<f32>,
    },
}

/// What the integers of a [`ScaledInt`] are, which decides the operators that compute with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integers {
    /// 8-bit codes less their zero point, so at most 255 in magnitude: their products and sums are exact.
    Codes,
    /// The same, but their scale is only known when the graph runs: their products are real numbers at once.
    DynamicCodes,
    /// Results of arithmetic, which further products could overflow: only a clamp and a quantize see them, everything else sees
    /// reals.
    Sums,
}

/// A real tensor known exactly: `clamp(ints * scale, lo, hi)`.
#[derive(Clone, Debug)]
pub struct ScaledInt {
    /// i32 integers (zero point already subtracted).
    pub ints: Tensor,
    /// The scale.
    pub scale: Scale,
    /// A pending clamp in real numbers (relu, relu6, hardtanh), infinite where there is none.
    pub clamp: (f32, f32),
    /// What the integers are.
    pub integers: Integers,
    /// The smallest integer that codes can be: what the maximum of no codes is.
    pub lowest: i32,
}

/// A value of the reference evaluation.
#[derive(Clone, Debug)]
pub enum Value {
    /// A plain tensor.
    Dense(Tensor),
    /// A real tensor with an exact integer form; its dtype is f32.
    Scaled(ScaledInt),
}

impl Value {
    /// The plain tensor: a scaled value becomes f32.
    pub fn to_tensor(&self) -> Tensor {
        match self {
            Value::Dense(t) => t.clone(),
            Value::Scaled(s) => s.to_real(),
        }
    }

    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Value::Dense(t) => t.shape(),
            Value::Scaled(s) => s.ints.shape(),
        }
    }

    /// Element type as the graph sees it.
    pub fn dtype(&self) -> DType {
        match self {
            Value::Dense(t) => t.dtype(),
            Value::Scaled(_) => DType::F32,
        }
    }
}

impl From<Tensor> for Value {
    fn from(t: Tensor) -> Self {
        Value::Dense(t)
    }
}

/// For each element in row-major order its index along `axis`, given as (block size, axis length):
/// `index = (i / inner) % len`.
fn axis_strides(shape: &[usize], axis: usize) -> (usize, usize) {
    (shape[axis + 1..].iter().product::<usize>().max(1), shape[axis].max(1))
}

impl ScaledInt {
    /// No pending clamp.
    pub const UNCLAMPED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

    /// The scale of each element's channel, in row-major order of elements: `f(element index) -> scale index`.
    fn map<T: Element>(&self, f: impl Fn(i32, f32) -> T) -> Tensor {
        let ints: &[i32] = self.ints.slice().unwrap_or(&[]);
        let shape = self.ints.shape();
        let data: Vec<T> = match &self.scale {
            Scale::PerTensor(s) => ints.iter().map(|&v| f(v, *s)).collect(),
            Scale::PerChannel { axis, scales } => {
                let (inner, len) = axis_strides(shape, *axis);
                ints.iter().enumerate().map(|(i, &v)| f(v, scales[(i / inner) % len])).collect()
            }
        };
        Tensor::from_vec(shape, data).unwrap_or_else(|_| Tensor::full(shape, T::default()))
    }

    /// Results of integer arithmetic.
    pub fn sums(ints: Tensor, scale: Scale) -> ScaledInt {
        ScaledInt { ints, scale, clamp: ScaledInt::UNCLAMPED, integers: Integers::Sums, lowest: i32::MIN }
    }

    /// The scale of codes that have one for all and no pending clamp: what arithmetic on integers takes.
    pub fn code_scale(&self) -> Option<f32> {
        match self.scale {
            Scale::PerTensor(s) if self.integers == Integers::Codes && self.clamp == ScaledInt::UNCLAMPED => Some(s),
            _ => None,
        }
    }

    /// Whether the integers of both mean the same.
    pub fn is_like(&self, other: &ScaledInt) -> bool {
        let meaning = |s: &ScaledInt| (s.clamp, s.integers, s.lowest);
        self.scale == other.scale && meaning(self) == meaning(other)
    }

    /// The f32 tensor: `clamp(f32(int) * scale, lo, hi)`.
    pub fn to_real(&self) -> Tensor {
        let (lo, hi) = self.clamp;
        self.map(|v, s| (v as f32 * s).max(lo).min(hi))
    }

    /// Quantizes per tensor: `clamp(rne(f32(int) * (scale / y_scale)) + z, lo', hi')`, where the pending clamp becomes
    /// a clamp to the quantized bounds.
    pub fn quantize(&self, y_scale: f32, zero_point: i32, range: QRange) -> Tensor {
        let (lo, hi) = clamp_bounds(self.clamp, y_scale, zero_point, range);
        let q = self.map(|v, s| requantize(v, requantize_multiplier(s, y_scale), zero_point, lo, hi));
        q.cast(range.dtype)
    }

    /// The integers of a dequantized tensor: `q - zero_point`, per tensor or per channel.
    ///
    /// # Errors
    /// If `q` is not i8, u8, i16 or i32.
    pub fn from_quantized(q: &Tensor, zero_point: &[i32], scale: Scale) -> Result<ScaledInt, TensorError> {
        let Some((lowest, _)) = q.dtype().quantized_range() else {
            return Err(TensorError::DType { expected: DType::U8, got: q.dtype() });
        };
        let lowest = lowest.wrapping_sub(zero_point.first().copied().unwrap_or(0));
        let wide = q.cast(DType::I32);
        let ints: &[i32] = wide.slice()?;
        let data = match &scale {
            Scale::PerTensor(_) => ints.iter().map(|&v| v.wrapping_sub(zero_point[0])).collect(),
            Scale::PerChannel { axis, .. } => {
                let (inner, len) = axis_strides(q.shape(), *axis);
                ints.iter().enumerate().map(|(i, &v)| v.wrapping_sub(zero_point[(i / inner) % len])).collect()
            }
        };
        let integers = if matches!(q.dtype(), DType::U8 | DType::I8) { Integers::Codes } else { Integers::Sums };
        Ok(ScaledInt { ints: Tensor::from_vec(q.shape(), data)?, scale, clamp: ScaledInt::UNCLAMPED, integers, lowest })
    }
}

/// `s_in / s_out` in f32, the one multiplier of a requantization. For a convolution `s_in` is the f32 product
/// `s_x * s_w`.
#[inline]
pub fn requantize_multiplier(scale_in: f32, scale_out: f32) -> f32 {
    scale_in / scale_out
}

/// The bias of an integer convolution or matmul, added to its accumulator: `rne(bias / (s_x * s_w))`, product and
/// quotient in f32, saturating; NaN gives 0.
#[inline]
pub fn quantize_bias(bias: f32, x_scale: f32, weight_scale: f32) -> i32 {
    // `as` saturates and maps NaN to 0.
    (bias / (x_scale * weight_scale)).round_ties_even() as i32
}

/// The quantized bounds of a real clamp: `quantize(lo)`, `quantize(hi)` within the range.
pub fn clamp_bounds(clamp: (f32, f32), scale: f32, zero_point: i32, range: QRange) -> (i32, i32) {
    let inverse = 1.0 / scale;
    (
        quantize(clamp.0, inverse, zero_point, range.qmin, range.qmax),
        quantize(clamp.1, inverse, zero_point, range.qmin, range.qmax),
    )
}

/// Quantizes a dense f32 tensor per tensor.
///
/// # Errors
/// If the tensor is not f32.
pub fn quantize_dense(x: &Tensor, scale: f32, zero_point: i32, range: QRange) -> Result<Tensor, TensorError> {
    let inverse = 1.0 / scale;
    let q: Vec<i32> =
        x.slice::<f32>()?.iter().map(|&v| quantize(v, inverse, zero_point, range.qmin, range.qmax)).collect();
    Ok(Tensor::from_vec(x.shape(), q)?.cast(range.dtype))
}

/// Dequantizes one per-tensor quantized tensor to f32.
///
/// # Errors
/// If `q` is not a quantized integer type.
pub fn dequantize_dense(q: &Tensor, scale: f32, zero_point: i32) -> Result<Tensor, TensorError> {
    let data: Vec<f32> = q.cast(DType::I32).slice::<i32>()?.iter().map(|&v| dequantize(v, scale, zero_point)).collect();
    Tensor::from_vec(q.shape(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dequantize_then_quantize_is_identity() {
        let range = QRange { dtype: DType::U8, qmin: 0, qmax: 255 };
        let q = Tensor::vector((0..=255u8).collect::<Vec<_>>());
        for scale in [1e-6f32, 0.1, 0.017, 3.3, 1e6] {
            let s = ScaledInt::from_quantized(&q, &[131], Scale::PerTensor(scale)).expect("u8");
            assert!(s.quantize(scale, 131, range).bits_eq(&q));
        }
    }

    #[test]
    fn pending_clamp_equals_clamp_before_quantizing() {
        let range = QRange { dtype: DType::U8, qmin: 0, qmax: 255 };
        let ints = Tensor::vector((-600..600).collect::<Vec<i32>>());
        let s = ScaledInt { clamp: (0.0, 6.0), ..ScaledInt::sums(ints, Scale::PerTensor(0.013)) };
        let q = s.quantize(0.05, 7, range);
        assert_eq!(q.slice::<u8>().expect("u8").first(), Some(&7));
        assert_eq!(q.slice::<u8>().expect("u8").last(), Some(&127));
    }
}
