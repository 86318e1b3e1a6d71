//! Clamping activations. They keep the integer form of a scaled value: the clamp is carried to the quantize that follows.

use quantc_tensor::{DType, ScaledInt, Tensor, TensorType, Value};

use crate::{EvalCx, InferCx, InputKind, InputSpec, OpClass, OpError, Operator, Signature};

/// The single required input of a unary operator.
pub const UNARY_INPUT: &[InputSpec] = &[InputSpec { name: "input", kind: InputKind::Required }];

/// Applies `min(max(x, lo), hi)` to a value. A scaled value stays scaled.
///
/// # Errors
/// If a dense value is not f32.
pub fn clamp_value(x: &Value, lo: f32, hi: f32) -> Result<Value, OpError> {
    match x {
        // clamp(clamp(x, a, b), lo, hi) is one clamp to the bounds clamped.
        Value::Scaled(s) => {
            let clamp = (s.clamp.0.max(lo).min(hi), s.clamp.1.max(lo).min(hi));
            Ok(Value::Scaled(ScaledInt { clamp, ..s.clone() }))
        }
        Value::Dense(t) => {
            let data: Vec<f32> = t.slice::<f32>()?.iter().map(|&v| v.max(lo).min(hi)).collect();
            Ok(Tensor::from_vec(t.shape(), data)?.into())
        }
    }
}

/// `max(x, 0)`.
pub struct Relu;

impl Operator for Relu {
    fn signature(&self) -> &'static Signature {
        &Signature {
            name: "relu",
            doc: "max(x, 0) (torch.nn.functional.relu, ONNX Relu).",
            inputs: UNARY_INPUT,
            attrs: &[],
            class: OpClass::Unary,
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![clamp_value(cx.value(0)?, 0.0, f32::INFINITY)?])
    }
}
