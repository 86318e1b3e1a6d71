//! Quantize, dequantize and observer operators: the boundary between real and integer tensors.

use quantc_tensor::scaled::quantize_dense;
use quantc_tensor::{DType, Integers, QRange, Scale, ScaledInt, Tensor, TensorType, Value, dynamic_qparams, round};

use crate::activation::UNARY_INPUT;
use crate::spec::{attr, optional, required};
use crate::{
    AttrDefault, AttrSpec, EvalCx, InferCx, InputKind, InputSpec, IntegerUse, OpClass, OpError, Operator, Signature,
};

const SCALE: AttrSpec = AttrSpec { name: "scale", default: AttrDefault::RequiredFloat, doc: "The scale." };
const ZERO_POINT: AttrSpec = AttrSpec { name: "zero_point", default: AttrDefault::Int(0), doc: "The zero point." };

/// The quantized range of a call: dtype, narrowed by `quant_min` / `quant_max` if given.
///
/// # Errors
/// If the dtype is not a quantized one, or the range is empty.
pub fn range_of(dtype: DType, quant_min: Option<i64>, quant_max: Option<i64>) -> Result<QRange, OpError> {
    let mut range = QRange::full(dtype).ok_or_else(|| OpError::new(format!("{dtype} is not a quantized type")))?;
    let within = |v: i64, r: &QRange| v.clamp(i64::from(r.qmin), i64::from(r.qmax)) as i32;
    if let Some(v) = quant_min {
        range.qmin = within(v, &range);
    }
    if let Some(v) = quant_max {
        range.qmax = i32::try_from(v).unwrap_or(if v < 0 { i32::MIN } else { i32::MAX }).min(range.qmax);
    }
    if range.qmin > range.qmax {
        return Err(OpError::new(format!("a quantized range from {} to {}", range.qmin, range.qmax)));
    }
    Ok(range)
}

/// Fails unless a zero point is a value of the type, and 0 for i32, whose range leaves no room to shift.
///
/// # Errors
/// Naming the zero point and the type.
pub fn check_zero_point(zero_point: i64, dtype: DType) -> Result<i32, OpError> {
    let (lo, hi) = if dtype == DType::I32 { (0, 0) } else { dtype.quantized_range().unwrap_or((0, 0)) };
    i32::try_from(zero_point)
        .ok()
        .filter(|z| (lo..=hi).contains(z))
        .ok_or_else(|| OpError::new(format!("the zero point {zero_point} is not in {lo}..={hi}, the range of {dtype}")))
}

/// Fails unless a scale is positive and finite.
///
/// # Errors
/// Naming the scale.
pub fn check_scale(scale: f32) -> Result<f32, OpError> {
    if scale > 0.0 && scale.is_finite() {
        return Ok(scale);
    }
    Err(OpError::new(format!("the scale {scale} is not a positive number")))
}

/// Zero points for `count` channels: those of input `i`, or 0.
fn zero_points(cx: &EvalCx<'_>, i: usize, count: usize, dtype: DType) -> Result<Vec<i32>, OpError> {
    match cx.opt_tensor(i) {
        Some(z) => z.to_i64_vec().iter().map(|&v| check_zero_point(v, dtype)).collect(),
        None => Ok(vec![0; count]),
    }
}

/// `quantize_per_tensor`: f32 to integers.
pub struct QuantizePerTensor;

impl Operator for QuantizePerTensor {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantize_per_tensor",
                doc: "clamp(rne(x / scale) + zero_point, quant_min, quant_max) (torch.quantize_per_tensor, ONNX QuantizeLinear).",
                inputs: UNARY_INPUT,
                attrs: &[
                    SCALE,
                    ZERO_POINT,
                    AttrSpec { name: "dtype", default: AttrDefault::DType(DType::U8), doc: "Integer type." },
                    AttrSpec {
                        name: "quant_min",
                        default: AttrDefault::OptionalInt,
                        doc: "Lowest value, if above the type's.",
                    },
                    AttrSpec {
                        name: "quant_max",
                        default: AttrDefault::OptionalInt,
                        doc: "Highest value, if below the type's.",
                    },
                ],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        let range = range_of(cx.dtype("dtype")?, None, None)?;
        Ok(vec![TensorType { dtype: range.dtype, shape: cx.ty(0)?.shape.clone() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Quantized
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let bound = |name: &str| if cx.has(name) { cx.int(name).map(Some) } else { Ok(None) };
        let range = range_of(cx.dtype("dtype")?, bound("quant_min")?, bound("quant_max")?)?;
        let scale = check_scale(cx.float("scale")?)?;
        let zero_point = check_zero_point(cx.int("zero_point")?, range.dtype)?;
        let q = match cx.value(0)? {
            Value::Scaled(s) => s.quantize(scale, zero_point, range),
            Value::Dense(t) => quantize_dense(t, scale, zero_point, range)?,
        };
        Ok(vec![q.into()])
    }
}

/// `quantize_per_channel`: f32 to integers, one scale for each index of an axis.
pub struct QuantizePerChannel;

impl Operator for QuantizePerChannel {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantize_per_channel",
                doc: "clamp(rne(x / scale[c]) + zero_point[c], quant_min, quant_max) along `axis` (torch.quantize_per_channel, ONNX QuantizeLinear).",
                inputs: &[required("input"), required("scales"), optional("zero_points")],
                attrs: &[
                    attr("axis", AttrDefault::Int(0), "The channel axis."),
                    attr("dtype", AttrDefault::DType(DType::I8), "Integer type."),
                    attr("quant_min", AttrDefault::OptionalInt, "Lowest value, if above the type's."),
                    attr("quant_max", AttrDefault::OptionalInt, "Highest value, if below the type's."),
                ],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        let shape = cx.ty(0)?.shape.clone();
        crate::dims::axis(cx.int("axis")?, shape.rank())?;
        Ok(vec![TensorType { dtype: range_of(cx.dtype("dtype")?, None, None)?.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let bound = |name: &str| if cx.has(name) { cx.int(name).map(Some) } else { Ok(None) };
        let range = range_of(cx.dtype("dtype")?, bound("quant_min")?, bound("quant_max")?)?;
        let x = cx.tensor(0)?;
        let axis = crate::dims::axis(cx.int("axis")?, x.rank())?;
        let scales = cx.tensor(1)?.to_f32_vec();
        let zero_points = zero_points(cx, 2, scales.len(), range.dtype)?;
        let channels = x.shape()[axis];
        if scales.len() != channels || zero_points.len() != channels {
            return Err(OpError::new(format!("{} scales for {channels} channels", scales.len())));
        }
        let inner: usize = x.shape()[axis + 1..].iter().product();
        let q: Vec<i32> = x
            .slice::<f32>()?
            .iter()
            .enumerate()
            .map(|(i, &v)| {
                let c = i / inner % channels;
                round::quantize(v, 1.0 / scales[c], zero_points[c], range.qmin, range.qmax)
            })
            .collect();
        Ok(vec![Tensor::from_vec(x.shape(), q)?.cast(range.dtype).into()])
    }
}

/// `dynamic_quantize_dequantize`: what a dynamically quantized layer does to its input.
pub struct DynamicQuantizeDequantize;

/// A dense tensor quantized over its own range (see [`quantc_tensor::dynamic_qparams`]) and read back as a scaled value. NaN does
/// not count for the range.
///
/// # Errors
/// If the tensor is not f32 or the dtype no quantized one.
pub fn dynamic_quantize(x: &Tensor, dtype: DType, reduce_range: bool) -> Result<Value, OpError> {
    let mut range = range_of(dtype, None, None)?;
    if !matches!(dtype, DType::U8 | DType::I8) {
        return Err(OpError::new(format!("dynamic quantization to {dtype}")));
    }
    if reduce_range {
        // One bit less, as FBGEMM and ONNX Runtime need on CPUs without VNNI.
        (range.qmin, range.qmax) = (range.qmin / 2, range.qmax / 2);
    }
    let seen = quantc_tensor::reduce::min_max(x.slice()?);
    let (scale, zero_point) = dynamic_qparams(seen.min, seen.max, range);
    let q = quantize_dense(x, scale, zero_point, range)?;
    let codes = ScaledInt::from_quantized(&q, &[zero_point], Scale::PerTensor(scale))?;
    Ok(Value::Scaled(ScaledInt { integers: Integers::DynamicCodes, ..codes }))
}

impl Operator for DynamicQuantizeDequantize {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "dynamic_quantize_dequantize",
                doc: "Quantized over the range of its own values, and back (the input of torch.ao.nn.quantized.dynamic layers).",
                inputs: UNARY_INPUT,
                attrs: &[
                    attr("dtype", AttrDefault::DType(DType::U8), "Integer type."),
                    attr("reduce_range", AttrDefault::Bool(false), "Half the range."),
                ],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        range_of(cx.dtype("dtype")?, None, None)?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::MakesCodes
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![dynamic_quantize(&cx.tensor(0)?, cx.dtype("dtype")?, cx.bool("reduce_range")?)?])
    }
}

/// The scaled value of a tensor quantized per tensor.
///
/// # Errors
/// If it is not i8, u8, i16 or i32, or a parameter is out of range.
pub fn dequantize(q: &Tensor, scale: f32, zero_point: i64) -> Result<Value, OpError> {
    let zero_point = check_zero_point(zero_point, q.dtype())?;
    let scale = Scale::PerTensor(check_scale(scale)?);
    Ok(Value::Scaled(ScaledInt::from_quantized(q, &[zero_point], scale)?))
}

/// `dequantize_per_tensor`: integers to reals that remember their integers.
pub struct DequantizePerTensor;

impl Operator for DequantizePerTensor {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "dequantize_per_tensor",
                doc: "(q - zero_point) * scale (torch.dequantize, ONNX DequantizeLinear).",
                inputs: UNARY_INPUT,
                attrs: &[SCALE, ZERO_POINT],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::U8, DType::I8, DType::I16, DType::I32])?;
        Ok(vec![TensorType { dtype: DType::F32, shape: cx.ty(0)?.shape.clone() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::MakesCodes
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let q = cx.tensor(0)?;
        Ok(vec![dequantize(&q, cx.float("scale")?, cx.int("zero_point")?)?])
    }
}

/// `dequantize_per_channel`: integers to reals, one scale for each index of an axis.
pub struct DequantizePerChannel;

impl Operator for DequantizePerChannel {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "dequantize_per_channel",
                doc: "(q - zero_point[c]) * scale[c] along `axis` (torch.dequantize of a per-channel tensor, ONNX DequantizeLinear).",
                inputs: &[
                    InputSpec { name: "input", kind: InputKind::Required },
                    InputSpec { name: "scales", kind: InputKind::Required },
                    InputSpec { name: "zero_points", kind: InputKind::Optional },
                ],
                attrs: &[AttrSpec { name: "axis", default: AttrDefault::Int(0), doc: "The channel axis." }],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::U8, DType::I8, DType::I16, DType::I32])?;
        let ty = cx.ty(0)?;
        crate::dims::axis(cx.int("axis")?, ty.shape.rank())?;
        Ok(vec![TensorType { dtype: DType::F32, shape: ty.shape.clone() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::MakesCodes
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let q = cx.tensor(0)?;
        let axis = crate::dims::axis(cx.int("axis")?, q.rank())?;
        let scales = cx.tensor(1)?.to_f32_vec();
        let zero_points = zero_points(cx, 2, scales.len(), q.dtype())?;
        let channels = q.shape().get(axis).copied().unwrap_or(0);
        if scales.len() != channels || zero_points.len() != channels {
            return Err(OpError::new(format!("{} scales for {channels} channels", scales.len())));
        }
        let s = ScaledInt::from_quantized(&q, &zero_points, Scale::PerChannel { axis, scales })?;
        Ok(vec![Value::Scaled(s)])
    }
}

/// `observer`: the identity, where calibration looks at a value.
pub struct Observer;

impl Operator for Observer {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "observer",
                doc: "Identity; calibration records the value (torch.ao.quantization activation_post_process).",
                inputs: UNARY_INPUT,
                attrs: &[AttrSpec {
                    name: "id",
                    default: AttrDefault::RequiredInt,
                    doc: "Which observer of the prepared model.",
                }],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::HandedOn
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![cx.value(0)?.clone()])
    }
}
