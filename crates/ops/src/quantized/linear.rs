//! Matrix products of quantized tensors.

use quantc_tensor::{DType, Dim, TensorType, Value};

use super::function::{ALPHA, APPROXIMATE, BETA, FUNCTION, NEGATIVE_SLOPE, infer_function};
use super::{
    ACTIVATION_MAX, ACTIVATION_MIN, ACTIVATION_TYPES, DTYPE, QUANT_MAX, QUANT_MIN, RESIDUAL_SCALE, RESIDUAL_ZERO_POINT,
    SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, dequantize_weight, dequantized_input, finish, finish_with_function,
    infer_residual, infer_weight_scale, output_dtype, residual_input,
};
use crate::conv::infer_bias;
use crate::linear::{infer_linear, infer_matmul, linear, matmul};
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `quantized.linear`.
pub struct QLinear;

impl Operator for QLinear {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.linear",
                doc: "quantize(function(clamp(linear(dequantize(input), dequantize(weight), bias) + dequantize(residual)))); the weight is i8 [out, in], its zero points 0.",
                inputs: &[
                    required("input"),
                    required("weight"),
                    required("weight_scale"),
                    optional("bias"),
                    optional("residual"),
                ],
                attrs: &[
                    X_SCALE,
                    X_ZERO_POINT,
                    RESIDUAL_SCALE,
                    RESIDUAL_ZERO_POINT,
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                    ACTIVATION_MIN,
                    ACTIVATION_MAX,
                    FUNCTION,
                    NEGATIVE_SLOPE,
                    ALPHA,
                    BETA,
                    APPROXIMATE,
                ],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        cx.expect_dtype(1, &[DType::I8])?;
        infer_weight_scale(cx, 2)?;
        infer_function(cx)?;
        let shape = infer_linear(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 3, shape.dims().last().unwrap_or(&Dim::Unknown))?;
        let shape = infer_residual(cx, 4, shape)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let w = dequantize_weight(&cx.tensor(1)?, &cx.tensor(2)?, 0)?;
        let y = linear(&x, &w, cx.opt_tensor(3).as_ref())?;
        let residual = residual_input(cx, 4)?;
        Ok(vec![finish_with_function(cx, y, residual)?])
    }
}

/// `quantized.matmul`.
pub struct QMatMul;

impl Operator for QMatMul {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.matmul",
                doc: "quantize(clamp(matmul(dequantize(a), dequantize(b)))).",
                inputs: &[required("a"), required("b")],
                attrs: &[
                    attr("a_scale", AttrDefault::RequiredFloat, "Scale of the left operand."),
                    attr("a_zero_point", AttrDefault::Int(0), "Zero point of the left operand."),
                    attr("b_scale", AttrDefault::RequiredFloat, "Scale of the right operand."),
                    attr("b_zero_point", AttrDefault::Int(0), "Zero point of the right operand."),
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                    ACTIVATION_MIN,
                    ACTIVATION_MAX,
                ],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        cx.expect_dtype(1, ACTIVATION_TYPES)?;
        let shape = infer_matmul(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let a = dequantized_input(cx, 0, "a_scale", "a_zero_point")?;
        let b = dequantized_input(cx, 1, "b_scale", "b_zero_point")?;
        Ok(vec![finish(cx, matmul(&a, &b)?, None)?])
    }
}
