//! Clamping activations. They keep the integer form of a scaled value: the clamp is carried to the quantize that follows.

use quantc_tensor::math::clamp_f32;
use quantc_tensor::{DType, ScaledInt, Tensor, TensorType, Value};

use crate::spec::{attr, required};
use crate::{AttrDefault, EvalCx, InferCx, InputSpec, IntegerUse, OpClass, OpError, Operator, Signature};

/// The single required input of a unary operator.
pub const UNARY_INPUT: &[InputSpec] = &[required("input")];

/// Applies [`clamp_f32`] to a value. A scaled value stays scaled.
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
            let data: Vec<f32> = t.slice::<f32>()?.iter().map(|&v| clamp_f32(v, lo, hi)).collect();
            Ok(Tensor::from_vec(t.shape(), data)?.into())
        }
    }
}

/// A clamp: fixed bounds, or the attributes `min` and `max`.
pub struct Clamp {
    sig: &'static Signature,
    bounds: Option<(f32, f32)>,
}

/// `relu`.
pub static RELU: Clamp = Clamp {
    sig: &Signature {
        name: "relu",
        doc: "max(x, 0); NaN stays NaN (torch.nn.functional.relu, ONNX Relu).",
        inputs: UNARY_INPUT,
        attrs: &[],
        class: OpClass::Unary,
    },
    bounds: Some((0.0, f32::INFINITY)),
};

/// `relu6`.
pub static RELU6: Clamp = Clamp {
    sig: &Signature {
        name: "relu6",
        doc: "min(max(x, 0), 6) (torch.nn.functional.relu6).",
        inputs: UNARY_INPUT,
        attrs: &[],
        class: OpClass::Unary,
    },
    bounds: Some((0.0, 6.0)),
};

/// `clamp`.
pub static CLAMP: Clamp = Clamp {
    sig: &Signature {
        name: "clamp",
        doc: "min(max(x, min), max) (torch.clamp, hardtanh, ONNX Clip).",
        inputs: UNARY_INPUT,
        attrs: &[
            attr("min", AttrDefault::Float(f32::NEG_INFINITY), "Lower bound."),
            attr("max", AttrDefault::Float(f32::INFINITY), "Upper bound; it wins over the lower one."),
        ],
        class: OpClass::Unary,
    },
    bounds: None,
};

impl Operator for Clamp {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::HandedOn
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (lo, hi) = match self.bounds {
            Some(bounds) => bounds,
            None => (cx.float("min")?, cx.float("max")?),
        };
        Ok(vec![clamp_value(cx.value(0)?, lo, hi)?])
    }
}
