//! Types, schemes and quantized tensors.

use super::{Section, item, method, missing};

pub(super) const SECTION: Section = Section {
    title: "Types, schemes, quantized tensors",
    entries: &[
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor (quantized)",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::quantize_per_tensor,
            "torch.quantize_per_tensor",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize",
            "NaN gives the lowest value, what is out of range saturates, the scale must be positive"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::quantize_per_channel,
            "torch.quantize_per_channel",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize",
            "the same; integer zero points work for sub-byte types too"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::dequantize,
            "torch.dequantize",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize",
            "the difference of a qint32 and its zero point is exact, PyTorch's wraps"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::dequantize,
            "torch.Tensor.dequantize",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize",
            "the difference of a qint32 and its zero point is exact, PyTorch's wraps"
        ),
        method!(
            quantc_tensor::quantized::QDType::QUInt8,
            "torch.quint8",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize"
        ),
        method!(
            quantc_tensor::quantized::QDType::QInt8,
            "torch.qint8",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize"
        ),
        method!(
            quantc_tensor::quantized::QDType::QInt32,
            "torch.qint32",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize"
        ),
        method!(
            quantc_tensor::quantized::QDType::QUInt4x2,
            "torch.quint4x2",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize"
        ),
        method!(
            quantc_tensor::quantized::QDType::QUInt2x4,
            "torch.quint2x4",
            "crates/tensor/tests/golden_quantized_tensor.rs::quantize_and_dequantize"
        ),
        method!(
            quantc_tensor::DType::I8,
            "torch.int8",
            "crates/tensor/tests/golden_quantized_tensor.rs::plain_integers"
        ),
        method!(
            quantc_tensor::DType::U8,
            "torch.uint8",
            "crates/tensor/tests/golden_quantized_tensor.rs::plain_integers"
        ),
        method!(
            quantc_tensor::DType::I16,
            "torch.int16",
            "crates/tensor/tests/golden_quantized_tensor.rs::plain_integers"
        ),
        method!(
            quantc_tensor::DType::I32,
            "torch.int32",
            "crates/tensor/tests/golden_quantized_tensor.rs::plain_integers"
        ),
        method!(
            quantc_tensor::DType::F16,
            "torch.float16",
            "crates/tensor/tests/half.rs::conversions_round_to_nearest",
            "a storage type: weights are kept in it and computed in f32"
        ),
        missing("torch.uint16", "no operator or kernel takes it; an observer can have it as its dtype"),
        missing("torch.float8_e4m3fn", "no kernel computes with 8-bit floats"),
        missing("torch.float8_e5m2", "no kernel computes with 8-bit floats"),
        method!(
            quantc_tensor::QScheme::PerTensorAffine,
            "torch.per_tensor_affine",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        method!(
            quantc_tensor::QScheme::PerTensorSymmetric,
            "torch.per_tensor_symmetric",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        method!(
            quantc_tensor::QScheme::PerChannelAffine,
            "torch.per_channel_affine",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        method!(
            quantc_tensor::QScheme::PerChannelSymmetric,
            "torch.per_channel_symmetric",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        method!(
            quantc_tensor::QScheme::PerChannelAffineFloatQParams,
            "torch.per_channel_affine_float_qparams",
            "crates/quant/tests/golden_observers.rs::range_observers_are_bit_identical_to_torch"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::view,
            "torch.Tensor.view",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "the channel axis follows its elements; the result is a copy"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::as_strided,
            "torch.Tensor.as_strided",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "a copy; strides count the tensor's own elements"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::expand,
            "torch.Tensor.expand",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "a copy; strides count the tensor's own elements"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::flatten,
            "torch.Tensor.flatten",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "the channel axis follows its elements; the result is a copy"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::select,
            "torch.Tensor.select",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "any dimension; a fractional zero point is an error"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::copy_,
            "torch.Tensor.copy_",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "for float qparams and sub-byte types too; `copy_from_float_` quantizes"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::equal,
            "torch.Tensor.equal",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::max,
            "torch.Tensor.max",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::mean,
            "torch.Tensor.mean",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "the exact mean of the integers over any dimension; of nothing it is an error"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::min,
            "torch.Tensor.min",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::resize_,
            "torch.Tensor.resize_",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods",
            "new elements are the real 0"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::sort,
            "torch.Tensor.sort",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::topk,
            "torch.Tensor.topk",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::max_dim,
            "torch.Tensor.max (dim)",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::min_dim,
            "torch.Tensor.min (dim)",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            std::clone::Clone,
            "torch.Tensor.clone",
            "crates/tensor/tests/quantized.rs::a_copy_is_its_own",
            "QuantizedTensor implements Clone"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::q_scale,
            "torch.Tensor.q_scale",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::q_zero_point,
            "torch.Tensor.q_zero_point",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::q_per_channel_scales,
            "torch.Tensor.q_per_channel_scales",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::q_per_channel_zero_points,
            "torch.Tensor.q_per_channel_zero_points",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::q_per_channel_axis,
            "torch.Tensor.q_per_channel_axis",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::qscheme,
            "torch.Tensor.qscheme",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        method!(
            quantc_tensor::quantized::QuantizedTensor::int_repr,
            "torch.Tensor.int_repr",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor.eq",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor.ne",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor.ge",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor.le",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor.gt",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
        item!(
            quantc_tensor::quantized::QuantizedTensor,
            "torch.Tensor.lt",
            "crates/tensor/tests/golden_quantized_tensor.rs::methods"
        ),
    ],
};
