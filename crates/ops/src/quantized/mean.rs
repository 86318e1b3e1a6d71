//! Means of quantized tensors.

use quantc_tensor::{TensorType, Value};

use super::{
    ACTIVATION_TYPES, DTYPE, Output, QUANT_MAX, QUANT_MIN, SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, dequantized_input,
    output_dtype,
};
use crate::activation::UNARY_INPUT;
use crate::reduce::{DIMS, KEEPDIM, mean, reduced_shape};
use crate::{EvalCx, InferCx, OpClass, OpError, Operator, Signature};

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
