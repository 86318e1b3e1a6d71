//! The quantized tensor: how it is made and what it consists of.

use super::{QDType, QuantizedError, Quantizer, numel, pack, unpack};
use crate::{DType, QScheme, Tensor, TensorError};

/// Integers with their scale and zero point (a PyTorch tensor of a quantized dtype). Cloning shares the integers, which are copied when
/// one of the two is written to; so a view, unlike PyTorch's, does not see what is later written to its base.
#[derive(Clone, Debug)]
pub struct QuantizedTensor {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: QDType,
    pub(super) quantizer: Quantizer,
    /// Of the tensor's shape, or, for types of less than a byte, the packed bytes.
    pub(super) data: Tensor,
}

impl QuantizedTensor {
    /// `clamp(rne(x * (1 / scale)) + zero_point)` of every element (`torch.quantize_per_tensor`). Unlike PyTorch, where the
    /// result depends on the element's place, values of 2^31 steps and more saturate and NaN gives the lowest value; a zero point outside the range of a type of less than a byte, or a
    /// scale that is not positive, is refused.
    ///
    /// # Errors
    /// If the input is not f32, the scale not positive and finite, or the zero point outside the range of the type.
    pub fn quantize_per_tensor(
        input: &Tensor,
        scale: f64,
        zero_point: i64,
        dtype: QDType,
    ) -> Result<QuantizedTensor, QuantizedError> {
        let zero_point = integer_zero_point(zero_point, dtype)?;
        QuantizedTensor::quantize(input, Quantizer::PerTensorAffine { scale, zero_point }, dtype)
    }

    /// The same with a scale and zero point for each index of `axis` (`torch.quantize_per_channel`). Integer zero points make the tensor
    /// per-channel affine, float ones (f32, f64) per-channel affine with float parameters: `clamp(rne(x * (1 / scale) + zero_point))`.
    /// Unlike PyTorch, infinities saturate in that scheme too, NaN gives the lowest value, and integer zero points go with types of less
    /// than a byte.
    ///
    /// # Errors
    /// If the input is not f32, scales or zero points have another type than f32, f64 or (zero points) integer, their number is not that
    /// of the channels, a scale is not positive and finite, or a zero point is outside the range of the type (float ones: is not finite).
    pub fn quantize_per_channel(
        input: &Tensor,
        scales: &Tensor,
        zero_points: &Tensor,
        axis: usize,
        dtype: QDType,
    ) -> Result<QuantizedTensor, QuantizedError> {
        let parameter = |what, wanted, t: &Tensor| Err(QuantizedError::Parameter { what, wanted, got: t.dtype() });
        let is_real = |t: &Tensor| matches!(t.dtype(), DType::F32 | DType::F64);
        if !is_real(scales) {
            return parameter("scales", "f32 or f64", scales);
        }
        let quantizer = if is_real(zero_points) {
            let (scales, zero_points) = (scales.to_f32_vec(), zero_points.to_f32_vec());
            Quantizer::PerChannelAffineFloatQParams { scales, zero_points, axis }
        } else if zero_points.dtype().is_int() {
            let zero_points = zero_points.to_i64_vec().into_iter().map(|z| integer_zero_point(z, dtype));
            Quantizer::PerChannelAffine {
                scales: scales.cast(DType::F64).slice::<f64>()?.to_vec(),
                zero_points: zero_points.collect::<Result<_, _>>()?,
                axis,
            }
        } else {
            return parameter("zero points", "integers, f32 or f64", zero_points);
        };
        QuantizedTensor::quantize(input, quantizer, dtype)
    }

    /// Quantizes with given parameters.
    ///
    /// # Errors
    /// If the input is not f32, or the parameters do not fit its shape or the type.
    pub fn quantize(input: &Tensor, quantizer: Quantizer, dtype: QDType) -> Result<QuantizedTensor, QuantizedError> {
        let values = input.slice::<f32>().map_err(|_| QuantizedError::Input(input.dtype()))?;
        quantizer.check(input.shape(), dtype)?;
        let ints = quantizer.quantize(values, input.shape(), dtype);
        QuantizedTensor::from_ints(input.shape().to_vec(), ints, quantizer, dtype)
    }

    /// A tensor from what [`QuantizedTensor::int_repr`] gave: elements of the storage type in the tensor's shape, or the packed bytes
    /// (`torch._make_per_tensor_quantized_tensor` and its sister for channels).
    ///
    /// # Errors
    /// If they have another type or number, or the parameters do not fit the shape or the type.
    pub fn from_int_repr(
        int_repr: &Tensor,
        shape: &[usize],
        quantizer: Quantizer,
        dtype: QDType,
    ) -> Result<QuantizedTensor, QuantizedError> {
        let len = numel(shape)?;
        if int_repr.dtype() != dtype.storage() {
            return Err(TensorError::DType { expected: dtype.storage(), got: int_repr.dtype() }.into());
        }
        if int_repr.numel() != len.div_ceil(dtype.per_byte()) {
            let len = int_repr.numel().saturating_mul(dtype.per_byte());
            return Err(TensorError::Length { len, shape: shape.to_vec() }.into());
        }
        quantizer.check(shape, dtype)?;
        if dtype.is_packed() {
            // Once through the values, so that unused bits are 0 whatever they were.
            let ints = unpack(int_repr.slice()?, dtype, len).into_iter().map(i32::from).collect();
            return QuantizedTensor::from_ints(shape.to_vec(), ints, quantizer, dtype);
        }
        Ok(QuantizedTensor { shape: shape.to_vec(), dtype, quantizer, data: int_repr.reshape(shape)? })
    }

    /// A tensor of integers that are in the type's range, with parameters that fit.
    pub(super) fn from_ints(
        shape: Vec<usize>,
        ints: Vec<i32>,
        quantizer: Quantizer,
        dtype: QDType,
    ) -> Result<QuantizedTensor, QuantizedError> {
        let data = if dtype.is_packed() {
            let bytes: Vec<u8> = ints.iter().map(|&v| v as u8).collect();
            Tensor::vector(pack(&bytes, dtype))
        } else {
            Tensor::from_vec(&shape, ints)?.cast(dtype.storage())
        };
        Ok(QuantizedTensor { shape, dtype, quantizer, data })
    }

    /// The tensor's integers, unpacked, in row-major order.
    pub fn ints(&self) -> Vec<i32> {
        match &self.data {
            Tensor::U8(d) if self.dtype.is_packed() => {
                let bytes = d.as_slice().unwrap_or(&[]);
                unpack(bytes, self.dtype, self.numel()).into_iter().map(i32::from).collect()
            }
            Tensor::I32(d) => d.iter().copied().collect(),
            Tensor::I8(d) => d.iter().map(|&v| v.into()).collect(),
            other => other.to_i64_vec().into_iter().map(|v| v as i32).collect(),
        }
    }

    /// The real values, `(q - zero_point) * scale` (`torch.dequantize`). Where the difference does
    /// not fit 32 bits (qint32) PyTorch's wraps around, here it is exact before it is rounded to f32.
    pub fn dequantize(&self) -> Tensor {
        let values = self.quantizer.dequantize(&self.ints(), &self.shape);
        // There are as many integers as the shape has elements.
        Tensor::from_vec(&self.shape, values).unwrap_or_else(|_| Tensor::zeros(DType::F32, &self.shape))
    }

    /// The integers in their storage type (`torch.Tensor.int_repr`): in the tensor's shape, or, for quint4x2 and quint2x4, the packed
    /// bytes in one dimension.
    pub fn int_repr(&self) -> Tensor {
        self.data.clone()
    }

    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Element type.
    pub fn dtype(&self) -> QDType {
        self.dtype
    }

    /// The parameters.
    pub fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// The scheme (`torch.Tensor.qscheme`).
    pub fn qscheme(&self) -> QScheme {
        self.quantizer.qscheme()
    }

    /// Scale and zero point of a per-tensor method.
    pub(super) fn per_tensor(&self, method: &'static str) -> Result<(f64, i32), QuantizedError> {
        match &self.quantizer {
            Quantizer::PerTensorAffine { scale, zero_point } => Ok((*scale, *zero_point)),
            other => Err(QuantizedError::Scheme { method, got: other.qscheme(), needed: "per-tensor" }),
        }
    }

    /// The scale of a per-tensor scheme (`torch.Tensor.q_scale`).
    ///
    /// # Errors
    /// If the scheme is per-channel.
    pub fn q_scale(&self) -> Result<f64, QuantizedError> {
        self.per_tensor("q_scale").map(|p| p.0)
    }

    /// The zero point of a per-tensor scheme (`torch.Tensor.q_zero_point`).
    ///
    /// # Errors
    /// If the scheme is per-channel.
    pub fn q_zero_point(&self) -> Result<i32, QuantizedError> {
        self.per_tensor("q_zero_point").map(|p| p.1)
    }

    fn needs_channels(&self, method: &'static str) -> QuantizedError {
        QuantizedError::Scheme { method, got: self.qscheme(), needed: "per-channel" }
    }

    /// The scales of a per-channel scheme, f64, or f32 with float parameters (`torch.Tensor.q_per_channel_scales`).
    ///
    /// # Errors
    /// If the scheme is per-tensor.
    pub fn q_per_channel_scales(&self) -> Result<Tensor, QuantizedError> {
        match &self.quantizer {
            Quantizer::PerTensorAffine { .. } => Err(self.needs_channels("q_per_channel_scales")),
            Quantizer::PerChannelAffine { scales, .. } => Ok(Tensor::vector(scales.clone())),
            Quantizer::PerChannelAffineFloatQParams { scales, .. } => Ok(Tensor::vector(scales.clone())),
        }
    }

    /// The zero points of a per-channel scheme, i64, or f32 with float parameters (`torch.Tensor.q_per_channel_zero_points`).
    ///
    /// # Errors
    /// If the scheme is per-tensor.
    pub fn q_per_channel_zero_points(&self) -> Result<Tensor, QuantizedError> {
        match &self.quantizer {
            Quantizer::PerTensorAffine { .. } => Err(self.needs_channels("q_per_channel_zero_points")),
            Quantizer::PerChannelAffine { zero_points, .. } => {
                Ok(Tensor::vector(zero_points.iter().map(|&z| i64::from(z)).collect()))
            }
            Quantizer::PerChannelAffineFloatQParams { zero_points, .. } => Ok(Tensor::vector(zero_points.clone())),
        }
    }

    /// The channel axis of a per-channel scheme (`torch.Tensor.q_per_channel_axis`).
    ///
    /// # Errors
    /// If the scheme is per-tensor.
    pub fn q_per_channel_axis(&self) -> Result<usize, QuantizedError> {
        self.quantizer.axis().ok_or_else(|| self.needs_channels("q_per_channel_axis"))
    }
}

fn integer_zero_point(zero_point: i64, dtype: QDType) -> Result<i32, QuantizedError> {
    i32::try_from(zero_point).map_err(|_| QuantizedError::ZeroPoint { zero_point, dtype })
}
