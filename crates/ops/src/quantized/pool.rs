//! Averages of quantized tensors.

use quantc_tensor::{TensorType, Value};

use super::{
    ACTIVATION_TYPES, DTYPE, Output, QUANT_MAX, QUANT_MIN, SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, dequantized_input,
    output_dtype,
};
use crate::activation::UNARY_INPUT;
use crate::pool::{
    AVG_POOL_ATTRS, OUTPUT_SIZE, PoolParams, adaptive_avg_pool, adaptive_size, avg_pool, infer_adaptive,
};
use crate::reduce::{DIMS, KEEPDIM, mean, reduced_shape};
use crate::{EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `quantized.avg_pool2d`.
pub struct QAvgPool2d;

impl Operator for QAvgPool2d {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.avg_pool2d",
                doc: "quantize(avg_pool2d(dequantize(input))).",
                inputs: UNARY_INPUT,
                attrs: &[
                    AVG_POOL_ATTRS[0],
                    AVG_POOL_ATTRS[1],
                    AVG_POOL_ATTRS[2],
                    AVG_POOL_ATTRS[3],
                    AVG_POOL_ATTRS[4],
                    X_SCALE,
                    X_ZERO_POINT,
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                ],
                class: OpClass::Pool,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        let shape = PoolParams::infer_average(2, cx)?.infer(&cx.ty(0)?.shape)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let y = avg_pool(&x, &PoolParams::average(2, cx)?, cx.bool("count_include_pad")?)?;
        Ok(vec![Output::from_eval(cx)?.store(&y)?])
    }
}

/// `quantized.adaptive_avg_pool2d`.
pub struct QAdaptiveAvgPool2d;

impl Operator for QAdaptiveAvgPool2d {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.adaptive_avg_pool2d",
                doc: "quantize(adaptive_avg_pool2d(dequantize(input))).",
                inputs: UNARY_INPUT,
                attrs: &[OUTPUT_SIZE, X_SCALE, X_ZERO_POINT, SCALE, ZERO_POINT, DTYPE, QUANT_MIN, QUANT_MAX],
                class: OpClass::Pool,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        let shape = infer_adaptive(&cx.ty(0)?.shape, &adaptive_size(2, &cx.ints("output_size")?)?)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let y = adaptive_avg_pool(&x, &adaptive_size(2, &cx.ints("output_size")?)?)?;
        Ok(vec![Output::from_eval(cx)?.store(&y)?])
    }
}

/// `quantized.mean`.
pub struct QMean;

impl Operator for QMean {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.mean",
                doc: "quantize(mean(dequantize(input))).",
                inputs: UNARY_INPUT,
                attrs: &[DIMS, KEEPDIM, X_SCALE, X_ZERO_POINT, SCALE, ZERO_POINT, DTYPE, QUANT_MIN, QUANT_MAX],
                class: OpClass::Reduction,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        let shape = reduced_shape(&cx.ty(0)?.shape, &cx.ints("dims")?, cx.bool("keepdim")?)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let y = mean(&x, &cx.ints("dims")?, cx.bool("keepdim")?)?;
        Ok(vec![Output::from_eval(cx)?.store(&y)?])
    }
}
