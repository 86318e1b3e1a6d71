//! The function of one element that a fused operator applies to its real result.

use quantc_tensor::{DType, Value};

use crate::spec::attr;
use crate::{AttrDefault, AttrSpec, Attrs, EvalCx, InferCx, OpClass, OpError, OpRef};

pub(crate) const FUNCTION: AttrSpec = attr(
    "function",
    AttrDefault::Str(
        NONE,
        &[NONE, "leaky_relu", "elu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "silu", "gelu", "mish"],
    ),
    "Operator of one element applied to the real result, after the bounds; the attributes after this one are its own.",
);
pub(crate) const NEGATIVE_SLOPE: AttrSpec =
    attr("negative_slope", AttrDefault::Float(0.01), "Of the function `leaky_relu`.");
pub(crate) const ALPHA: AttrSpec = attr("alpha", AttrDefault::Float(1.0), "Of the functions `elu` and `hardsigmoid`.");
pub(crate) const BETA: AttrSpec = attr("beta", AttrDefault::Float(0.5), "Of the function `hardsigmoid`.");
pub(crate) const APPROXIMATE: AttrSpec =
    attr("approximate", AttrDefault::Str(NONE, &[NONE, "tanh"]), "Of the function `gelu`.");

/// No function.
const NONE: &str = "none";

/// The operator of that name, which must be a function of one element.
pub(crate) fn function(name: &str) -> Result<OpRef, OpError> {
    crate::lookup(name)
        .filter(|op| op.class() == OpClass::Unary && !op.signature().attrs.iter().any(|a| a.default.is_required()))
        .ok_or_else(|| {
            OpError::new(format!("`function` can't be {name:?}"))
                .with_hint("the name of an operator of one element, such as sigmoid")
        })
}

/// Fails unless the function is one, and the result it makes is quantized.
pub(crate) fn infer_function(cx: &InferCx<'_>) -> Result<(), OpError> {
    let name = cx.str("function")?;
    if name == NONE {
        return Ok(());
    }
    function(&name)?;
    if cx.dtype("dtype")? == DType::F32 {
        return Err(OpError::new(format!("the result of the function `{name}` is f32"))
            .with_hint("a function is fused to be quantized; for a real result apply it as an operator of its own"));
    }
    Ok(())
}

/// The real result with the function applied.
pub(crate) fn apply_function(cx: &EvalCx<'_>, v: Value) -> Result<Value, OpError> {
    let name = cx.str("function")?;
    if name == NONE {
        return Ok(v);
    }
    let op = function(&name)?;
    let mut attrs = Attrs::new();
    for spec in op.signature().attrs {
        match spec.default {
            AttrDefault::Float(_) => attrs.set(spec.name, cx.float(spec.name)?),
            AttrDefault::Str(..) => attrs.set(spec.name, cx.str(spec.name)?),
            _ => {}
        }
    }
    let result = op.eval(&[Some(v)], &attrs.check(op.signature())?)?;
    result.into_iter().next().ok_or_else(|| OpError::new(format!("`{op}` gives no value")))
}
