//! Quantize and dequantize with parameters that are tensors, known when the graph runs (torch `quantized_decomposed`, overload `tensor`).

use quantc_tensor::scaled::quantize_dense;
use quantc_tensor::{DType, Integers, Scale, ScaledInt, TensorType, Value};

use crate::quantize::{check_zero_point, range_of};
use crate::spec::{attr, required};
use crate::{AttrDefault, EvalCx, InferCx, InputSpec, IntegerUse, OpClass, OpError, Operator, Signature};

const INPUTS: &[InputSpec] = &[required("input"), required("scale"), required("zero_point")];

/// The types of scale and zero point, which must be single numbers.
fn check_types(cx: &InferCx<'_>) -> Result<(), OpError> {
    cx.expect_dtype(1, &[DType::F32, DType::F64])?;
    cx.expect_dtype(2, &[DType::I32, DType::I64])?;
    for i in [1, 2] {
        let ty = cx.ty(i)?;
        if ty.shape.numel().is_some_and(|n| n != 1) {
            return Err(OpError::new(format!("input {i} is {ty}, it must be one number")));
        }
    }
    Ok(())
}

/// The scale and the zero point for integers of a type.
fn parameters(cx: &EvalCx<'_>, dtype: DType) -> Result<(f32, i32), OpError> {
    let one = |count| OpError::new(format!("{count} numbers given for a parameter, it must be one"));
    let (scale, zero_point) = (cx.tensor(1)?.to_f32_vec(), cx.tensor(2)?.to_i64_vec());
    let [scale] = scale[..] else { return Err(one(scale.len())) };
    let [zero_point] = zero_point[..] else { return Err(one(zero_point.len())) };
    // A range of infinite width has an infinite scale: everything becomes the zero point.
    if scale > 0.0 {
        return Ok((scale, check_zero_point(zero_point, dtype)?));
    }
    Err(OpError::new(format!("the scale {scale} is not a positive number")))
}

/// `quantize_per_tensor.tensor`.
pub struct QuantizePerTensorTensor;

impl Operator for QuantizePerTensorTensor {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantize_per_tensor.tensor",
                doc: "quantize_per_tensor with scale and zero point from tensors of one element (torch.ops.quantized_decomposed.quantize_per_tensor.tensor).",
                inputs: INPUTS,
                attrs: &[
                    attr("dtype", AttrDefault::DType(DType::U8), "Integer type."),
                    attr("quant_min", AttrDefault::OptionalInt, "Lowest value, if above the type's."),
                    attr("quant_max", AttrDefault::OptionalInt, "Highest value, if below the type's."),
                ],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        check_types(cx)?;
        let dtype = range_of(cx.dtype("dtype")?, None, None)?.dtype;
        Ok(vec![TensorType { dtype, shape: cx.ty(0)?.shape.clone() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let bound = |name: &str| if cx.has(name) { cx.int(name).map(Some) } else { Ok(None) };
        let range = range_of(cx.dtype("dtype")?, bound("quant_min")?, bound("quant_max")?)?;
        let (scale, zero_point) = parameters(cx, range.dtype)?;
        Ok(vec![quantize_dense(&cx.tensor(0)?, scale, zero_point, range)?.into()])
    }
}

/// `dequantize_per_tensor.tensor`.
pub struct DequantizePerTensorTensor;

impl Operator for DequantizePerTensorTensor {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "dequantize_per_tensor.tensor",
                doc: "dequantize_per_tensor with scale and zero point from tensors of one element; products with the result are exact integer products, real at once (torch.ops.quantized_decomposed.dequantize_per_tensor.tensor).",
                inputs: INPUTS,
                attrs: &[],
                class: OpClass::Quantization,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::U8, DType::I8])?;
        check_types(cx)?;
        Ok(vec![TensorType { dtype: DType::F32, shape: cx.ty(0)?.shape.clone() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::MakesCodes
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let q = cx.tensor(0)?;
        let (scale, zero_point) = parameters(cx, q.dtype())?;
        let codes = ScaledInt::from_quantized(&q, &[zero_point], Scale::PerTensor(scale))?;
        Ok(vec![Value::Scaled(ScaledInt { integers: Integers::DynamicCodes, ..codes })])
    }
}
