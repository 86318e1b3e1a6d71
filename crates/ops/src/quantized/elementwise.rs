//! Sums, products, joins and requantization of quantized tensors.

use quantc_tensor::{TensorType, Value};

use super::{
    ACTIVATION_MAX, ACTIVATION_MIN, ACTIVATION_TYPES, DTYPE, Output, QUANT_MAX, QUANT_MIN, SCALE, X_SCALE,
    X_ZERO_POINT, ZERO_POINT, dequantized_input, finish, output_dtype,
};
use crate::activation::UNARY_INPUT;
use crate::dims::broadcast_shapes;
use crate::movement::{cat_values, infer_cat};
use crate::quantize::dequantize;
use crate::spec::{attr, required, variadic};
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature, elementwise};

/// `quantized.add`, `quantized.sub`, `quantized.mul`.
pub struct QBinary {
    sig: &'static Signature,
    f: fn(&Value, &Value) -> Result<Value, OpError>,
}

macro_rules! qbinary {
    ($id:ident, $name:literal, $f:path, $doc:literal) => {
        #[doc = $doc]
        pub static $id: QBinary = QBinary {
            sig: &Signature {
                name: $name,
                doc: $doc,
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
                class: OpClass::Elementwise,
            },
            f: $f,
        };
    };
}
qbinary!(QADD, "quantized.add", elementwise::add, "quantize(clamp(dequantize(a) + dequantize(b))).");
qbinary!(QSUB, "quantized.sub", elementwise::sub, "quantize(clamp(dequantize(a) - dequantize(b))).");
qbinary!(QMUL, "quantized.mul", elementwise::mul, "quantize(clamp(dequantize(a) * dequantize(b))).");

impl Operator for QBinary {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        cx.expect_dtype(1, ACTIVATION_TYPES)?;
        let shape = broadcast_shapes(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let a = dequantized_input(cx, 0, "a_scale", "a_zero_point")?;
        let b = dequantized_input(cx, 1, "b_scale", "b_zero_point")?;
        Ok(vec![finish(cx, (self.f)(&a, &b)?, None)?])
    }
}

/// `quantized.cat`.
pub struct QCat;

impl Operator for QCat {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.cat",
                doc: "quantize(cat(dequantize(tensors)...)), every input with its own scale and zero point.",
                inputs: &[variadic("tensors")],
                attrs: &[
                    attr("dim", AttrDefault::Int(0), "The dimension."),
                    attr("scales", AttrDefault::RequiredFloats, "Scale of each input."),
                    attr("zero_points", AttrDefault::RequiredInts, "Zero point of each input."),
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                ],
                class: OpClass::Elementwise,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let mut shapes = Vec::with_capacity(cx.len());
        for i in 0..cx.len() {
            cx.expect_dtype(i, ACTIVATION_TYPES)?;
            shapes.push(&cx.ty(i)?.shape);
        }
        check_count(cx.len(), cx.floats("scales")?.len(), cx.ints("zero_points")?.len())?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape: infer_cat(&shapes, cx.int("dim")?)? }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (scales, zero_points) = (cx.floats("scales")?, cx.ints("zero_points")?);
        check_count(cx.len(), scales.len(), zero_points.len())?;
        let parts = (0..cx.len())
            .map(|i| dequantize(&cx.tensor(i)?, scales[i], zero_points[i]))
            .collect::<Result<Vec<_>, OpError>>()?;
        let joined = cat_values(&parts.iter().collect::<Vec<_>>(), cx.int("dim")?)?;
        Ok(vec![Output::from_eval(cx)?.store(&joined)?])
    }
}

fn check_count(inputs: usize, scales: usize, zero_points: usize) -> Result<(), OpError> {
    if scales == inputs && zero_points == inputs {
        return Ok(());
    }
    Err(OpError::new(format!("quantized.cat of {inputs} inputs with {scales} scales and {zero_points} zero points")))
}

/// `quantized.requantize`.
pub struct Requantize;

impl Operator for Requantize {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.requantize",
                doc: "quantize(clamp(dequantize(input))): other parameters for the same real tensor.",
                inputs: UNARY_INPUT,
                attrs: &[
                    X_SCALE,
                    X_ZERO_POINT,
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                    ACTIVATION_MIN,
                    ACTIVATION_MAX,
                ],
                class: OpClass::Unary,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape: cx.ty(0)?.shape.clone() }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![finish(cx, dequantized_input(cx, 0, "x_scale", "x_zero_point")?, None)?])
    }
}
