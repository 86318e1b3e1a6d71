//! Quantization parameters.

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
    /// Whether there is a scale for each channel.
    pub fn is_per_channel(self) -> bool {
        !matches!(self, QScheme::PerTensorAffine | QScheme::PerTensorSymmetric)
    }

    /// Whether the zero point is fixed to the middle of the range.
    pub fn is_symmetric(self) -> bool {
        matches!(self, QScheme::PerTensorSymmetric | QScheme::PerChannelSymmetric)
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
