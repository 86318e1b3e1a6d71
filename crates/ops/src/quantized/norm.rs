//! Batch normalisation of quantized tensors.

use quantc_tensor::{TensorType, Value};

use super::{
    ACTIVATION_TYPES, DTYPE, Output, QUANT_MAX, QUANT_MIN, SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, dequantized_input,
    output_dtype,
};
use crate::norm::{BATCH_NORM_INPUTS, EPS, batch_norm, infer_batch_norm_parameters};
use crate::{EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `quantized.batch_norm`.
pub struct QBatchNorm;

impl Operator for QBatchNorm {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.batch_norm",
                doc: "quantize(batch_norm(dequantize(input), weight, bias, running_mean, running_var)); the parameters are f32.",
                inputs: BATCH_NORM_INPUTS,
                attrs: &[EPS, X_SCALE, X_ZERO_POINT, SCALE, ZERO_POINT, DTYPE, QUANT_MIN, QUANT_MAX],
                class: OpClass::Elementwise,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        let shape = cx.ty(0)?.shape.clone();
        infer_batch_norm_parameters(cx, &shape)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?.to_tensor();
        Ok(vec![Output::from_eval(cx)?.store(&batch_norm(cx, &x)?.into())?])
    }
}
