//! Any function of one element as a table of 256 entries.

use quantc_tensor::{DType, Tensor, TensorType, Value};

use super::function::function;
use super::{
    ACTIVATION_TYPES, DTYPE, Output, QUANT_MAX, QUANT_MIN, SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, output_dtype,
};
use crate::activation::UNARY_INPUT;
use crate::quantize::dequantize;
use crate::spec::attr;
use crate::{Attr, AttrDefault, Attrs, EvalCx, InferCx, OpClass, OpError, OpRef, Operator, Signature};

/// `quantized.lookup`.
pub struct QLookup;

/// The attributes of the function: its first real one is `alpha`, its second `beta`, its word is `approximate`.
fn function_attrs(sig: &Signature, alpha: f32, beta: f32, approximate: &str) -> Result<Attrs, OpError> {
    let mut attrs = Attrs::new();
    let mut reals = [alpha, beta].into_iter();
    for spec in sig.attrs {
        match spec.default {
            AttrDefault::Float(_) => {
                if let Some(v) = reals.next() {
                    attrs.set(spec.name, v);
                }
            }
            AttrDefault::Str(..) => attrs.set(spec.name, approximate),
            _ => {}
        }
    }
    attrs.check(sig)
}

/// The attributes `alpha`, `beta` and `approximate` of a `quantized.lookup` that computes a call of `op` with these attributes: the inverse
/// of how evaluation maps them.
pub fn lookup_attrs(op: OpRef, attrs: &Attrs) -> Attrs {
    let mut out = Attrs::new().with("function", op.name());
    let mut reals = ["alpha", "beta"].into_iter();
    for spec in op.signature().attrs {
        match op.signature().attr(attrs, spec.name) {
            Some(Attr::Float(v)) => {
                if let Some(name) = reals.next() {
                    out.set(name, v.0);
                }
            }
            Some(Attr::Str(v)) => out.set("approximate", v),
            _ => {}
        }
    }
    out
}

/// The result for every value of the input's type, from its lowest to its highest: `quantize(function(dequantize(q)))`.
///
/// # Errors
/// If the function or an attribute is wrong.
pub fn lookup_table(cx: &EvalCx<'_>, dtype: DType) -> Result<Tensor, OpError> {
    let op = function(&cx.str("function")?)?;
    let attrs = function_attrs(op.signature(), cx.float("alpha")?, cx.float("beta")?, &cx.str("approximate")?)?;
    let inputs = match dtype {
        DType::U8 => Tensor::vector((0..=u8::MAX).collect::<Vec<u8>>()),
        DType::I8 => Tensor::vector((i8::MIN..=i8::MAX).collect::<Vec<i8>>()),
        other => return Err(OpError::new(format!("`quantized.lookup` of {other}"))),
    };
    let x = dequantize(&inputs, cx.float("x_scale")?, cx.int("x_zero_point")?)?;
    let y = op.eval(&[Some(x)], &attrs)?;
    let y = y.first().ok_or_else(|| OpError::new(format!("`{op}` gives no value")))?;
    Ok(Output::from_eval(cx)?.store(y)?.to_tensor())
}

impl Operator for QLookup {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.lookup",
                doc: "quantize(function(dequantize(input))) for the operator of one element named by `function`.",
                inputs: UNARY_INPUT,
                attrs: &[
                    attr("function", AttrDefault::RequiredStr, "Name of the operator."),
                    attr("alpha", AttrDefault::Float(0.0), "Its first real attribute."),
                    attr("beta", AttrDefault::Float(0.0), "Its second real attribute."),
                    attr("approximate", AttrDefault::Str("none", &["none", "tanh"]), "Its attribute `approximate`."),
                    X_SCALE,
                    X_ZERO_POINT,
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                ],
                class: OpClass::Unary,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        function(&cx.str("function")?)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape: cx.ty(0)?.shape.clone() }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let table = lookup_table(cx, x.dtype())?;
        let lowest = x.dtype().quantized_range().map_or(0, |r| r.0);
        let index: Vec<usize> = x.to_i64_vec().iter().map(|&q| (q - i64::from(lowest)) as usize).collect();
        Ok(vec![quantc_tensor::with_data!(&table, |data| {
            let entries = data.as_slice().unwrap_or(&[]);
            let mapped: Option<Vec<_>> = index.iter().map(|&i| entries.get(i).copied()).collect();
            Tensor::from_vec(x.shape(), mapped.unwrap_or_default())?.into()
        })])
    }
}
