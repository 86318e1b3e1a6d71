//! Quantization parameters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::DType;
use crate::round;

/// How the scale and zero point relate to the range (PyTorch `torch.qscheme`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QScheme {
    /// One scale and zero point for the tensor.
    PerTensorAffine,
    /// One scale for the tensor, zero point in the middle of the range.
    PerTensorSymmetric,
    /// A scale and zero point for each index of one axis.
    PerChannelAffine,
    /// A scale for each index of one axis, zero point in the middle of the range.
    PerChannelSymmetric,
    /// A scale and a float zero point for each index of one axis, over exactly the range of the data
    /// (`torch.per_channel_affine_float_qparams`, for embeddings).
    #[serde(rename = "per_channel_affine_float_qparams")]
    PerChannelAffineFloatQParams,
}

impl QScheme {
    /// PyTorch's name: `per_tensor_affine`, ...
    pub fn name(self) -> &'static str {
        match self {
            QScheme::PerTensorAffine => "per_tensor_affine",
            QScheme::PerTensorSymmetric => "per_tensor_symmetric",
            QScheme::PerChannelAffine => "per_channel_affine",
            QScheme::PerChannelSymmetric => "per_channel_symmetric",
            QScheme::PerChannelAffineFloatQParams => "per_channel_affine_float_qparams",
        }
    }

    /// Whether there is a scale for each channel.
    pub fn is_per_channel(self) -> bool {
        !matches!(self, QScheme::PerTensorAffine | QScheme::PerTensorSymmetric)
    }

    /// Whether the zero point is fixed to the middle of the range.
    pub fn is_symmetric(self) -> bool {
        matches!(self, QScheme::PerTensorSymmetric | QScheme::PerChannelSymmetric)
    }
}

impl fmt::Display for QScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An integer type and the part of its range in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QRange {
    /// Storage type.
    pub dtype: DType,
    /// Lowest value, inclusive.
    pub qmin: i32,
    /// Highest value, inclusive.
    pub qmax: i32,
}

impl QRange {
    /// The full range of an 8, 16 or 32-bit integer type; `None` for other types.
    pub fn full(dtype: DType) -> Option<QRange> {
        dtype.quantized_range().map(|(qmin, qmax)| QRange { dtype, qmin, qmax })
    }
}

/// Scale(s), zero point(s) and range of a quantized tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct QParams {
    /// One scale, or one for each index of `axis`.
    pub scale: Vec<f32>,
    /// One zero point, or one for each index of `axis`.
    pub zero_point: Vec<i32>,
    /// The channel axis; `None` if per tensor.
    pub axis: Option<usize>,
    /// Integer type and range.
    pub range: QRange,
}

impl QParams {
    /// Per-tensor parameters.
    pub fn per_tensor(scale: f32, zero_point: i32, range: QRange) -> QParams {
        QParams { scale: vec![scale], zero_point: vec![zero_point], axis: None, range }
    }

    /// Quantizes one value of channel `channel` (0 if per tensor): PyTorch `quantize_per_tensor` / `_per_channel`.
    #[inline]
    pub fn quantize(&self, x: f32, channel: usize) -> i32 {
        round::quantize(x, 1.0 / self.scale[channel], self.zero_point[channel], self.range.qmin, self.range.qmax)
    }

    /// Dequantizes one value of channel `channel` (0 if per tensor).
    #[inline]
    pub fn dequantize(&self, q: i32, channel: usize) -> f32 {
        round::dequantize(q, self.scale[channel], self.zero_point[channel])
    }
}

/// Per-tensor parameters from the range of the data, as dynamic quantization chooses them when the model runs: with 0 in the
/// range, `scale = max((hi - lo) / (qmax - qmin), 2^-23)` and `zero_point = clamp(qmin - rne(lo / scale))`, all in f32
/// (ONNX DynamicQuantizeLinear, with a lower bound on the scale).
pub fn dynamic_qparams(lo: f32, hi: f32, range: QRange) -> (f32, i32) {
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let scale = ((hi - lo) / (range.qmax - range.qmin) as f32).max(f32::EPSILON);
    (scale, round::round_saturate(-(lo / scale), range.qmin, range.qmin, range.qmax))
}

/// A range that no parameters can be chosen from.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ChooseError {
    /// The values' range is not one of finite numbers, the lower first.
    #[error("{lo} to {hi} is no range of values (hint: is a value NaN or infinite?)")]
    Values {
        /// Lowest value.
        lo: f32,
        /// Highest value.
        hi: f32,
    },
    /// The integers' range has no two numbers.
    #[error("{qmin} to {qmax} is no range of integers")]
    Integers {
        /// Lowest integer.
        qmin: i32,
        /// Highest integer.
        qmax: i32,
    },
}

/// Scales below this are raised to it: the smallest normal f16, about.
const SMALL_SCALE: f32 = 6.1e-5;

/// Per-tensor parameters as the C++ of PyTorch's dynamic operators chooses them (`ChooseQuantizationParams`, FBGEMM's function of the same
/// name; in Python `torch._choose_qparams_per_tensor`). With 0 in the range, in f64: `scale = (hi - lo) / (qmax - qmin)`, 0.1 if it has
/// no finite f32 reciprocal, and at least 6.1e-5, for which the range is widened in proportion. The zero point is that of the endpoint
/// with the smaller error, rounded half to even and clamped. `reduce_range` halves both ends of the integer range towards 0.
///
/// quantc's own dynamic operators use [`dynamic_qparams`]; the two differ for ranges so small that the floor counts, and by a zero point
/// where f32 rounds the quotient across a tie.
///
/// # Errors
/// If `lo..=hi` or `qmin..=qmax` is no range. PyTorch gives an infinite scale for infinite values.
pub fn choose_qparams(lo: f32, hi: f32, range: QRange, reduce_range: bool) -> Result<(f64, i32), ChooseError> {
    if !(lo <= hi && lo.is_finite() && hi.is_finite()) {
        return Err(ChooseError::Values { lo, hi });
    }
    let half = |v: i32| if reduce_range { v / 2 } else { v };
    let (qmin, qmax) = (half(range.qmin), half(range.qmax));
    if qmin >= qmax {
        return Err(ChooseError::Integers { qmin, qmax });
    }
    let (qmin, qmax) = (f64::from(qmin), f64::from(qmax));
    let (mut lo, mut hi) = (lo.min(0.0), hi.max(0.0));
    let mut scale = (f64::from(hi) - f64::from(lo)) / (qmax - qmin);
    if !(1.0 / scale as f32).is_finite() {
        scale = 0.1;
    }
    if scale < f64::from(SMALL_SCALE) {
        let widest = SMALL_SCALE * (qmax - qmin) as f32;
        if lo == 0.0 {
            hi = widest;
        } else if hi == 0.0 {
            lo = -widest;
        } else {
            let factor = SMALL_SCALE / scale as f32;
            (lo, hi) = (lo * factor, hi * factor);
        }
        scale = SMALL_SCALE.into();
    }
    let (lo, hi) = (f64::from(lo) / scale, f64::from(hi) / scale);
    let from_lo = qmin.abs() - lo.abs() < qmax.abs() - hi.abs();
    let zero_point = if from_lo { qmin - lo } else { qmax - hi };
    Ok((scale, zero_point.clamp(qmin, qmax).round_ties_even() as i32))
}
