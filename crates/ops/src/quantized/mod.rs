//! Fused integer operators. Each evaluates as the composition it stands for, by calling the functions of its parts: dequantize, the
//! float operator on scaled values, the residual added, the activation's clamp, a function of one element, quantize. So a fused call
//! has the bits of the graph it replaced.

pub mod composed;
pub mod conv;
pub mod dynamic;
pub mod elementwise;
pub mod embedding;
pub(crate) mod function;
pub mod linear;
pub mod lookup;
pub mod mean;
pub mod norm;
pub mod recurrent;

use quantc_tensor::scaled::quantize_dense;
use quantc_tensor::{DType, QRange, Scale, ScaledInt, Shape, Tensor, Value};

use self::function::apply_function;
use crate::activation::clamp_value;
use crate::dims::broadcast_shapes;
use crate::quantize::{check_scale, check_zero_point, dequantize, range_of};
use crate::spec::attr;
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, OpError};

pub(crate) const X_SCALE: AttrSpec = attr("x_scale", AttrDefault::RequiredFloat, "Scale of the input.");
pub(crate) const X_ZERO_POINT: AttrSpec = attr("x_zero_point", AttrDefault::Int(0), "Zero point of the input.");
pub(crate) const RESIDUAL_SCALE: AttrSpec = attr("residual_scale", AttrDefault::Float(1.0), "Scale of the residual.");
pub(crate) const RESIDUAL_ZERO_POINT: AttrSpec =
    attr("residual_zero_point", AttrDefault::Int(0), "Zero point of the residual.");
pub(crate) const SCALE: AttrSpec = attr("scale", AttrDefault::Float(1.0), "Scale of the result.");
pub(crate) const ZERO_POINT: AttrSpec = attr("zero_point", AttrDefault::Int(0), "Zero point of the result.");
pub(crate) const DTYPE: AttrSpec =
    attr("dtype", AttrDefault::DType(DType::U8), "Integer type of the result; f32 leaves it real.");
pub(crate) const QUANT_MIN: AttrSpec =
    attr("quant_min", AttrDefault::OptionalInt, "Lowest value of the result, if above the type's.");
pub(crate) const QUANT_MAX: AttrSpec =
    attr("quant_max", AttrDefault::OptionalInt, "Highest value of the result, if below the type's.");
pub(crate) const ACTIVATION_MIN: AttrSpec = attr(
    "activation_min",
    AttrDefault::Float(f32::NEG_INFINITY),
    "Lower bound of the real result before it is quantized.",
);
pub(crate) const ACTIVATION_MAX: AttrSpec =
    attr("activation_max", AttrDefault::Float(f32::INFINITY), "Upper bound of the real result before it is quantized.");

/// The quantized types of an activation.
pub(crate) const ACTIVATION_TYPES: &[DType] = &[DType::U8, DType::I8];

/// Where the result of a fused operator goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// It stays real.
    Float,
    /// It is quantized per tensor.
    Quantized {
        /// Scale.
        scale: f32,
        /// Zero point.
        zero_point: i32,
        /// Type and range.
        range: QRange,
    },
}

impl Output {
    /// The attributes `scale`, `zero_point`, `dtype`, and `quant_min` and `quant_max` if the operator has them.
    ///
    /// # Errors
    /// If the dtype is not a quantized one or f32.
    pub fn from_eval(cx: &EvalCx<'_>) -> Result<Output, OpError> {
        let dtype = cx.dtype("dtype")?;
        if dtype == DType::F32 {
            return Ok(Output::Float);
        }
        let bound = |name: &str| if cx.has(name) { cx.int(name).map(Some) } else { Ok(None) };
        let range = range_of(dtype, bound("quant_min")?, bound("quant_max")?)?;
        let zero_point = check_zero_point(cx.int("zero_point")?, dtype)?;
        Ok(Output::Quantized { scale: check_scale(cx.float("scale")?)?, zero_point, range })
    }

    /// Quantizes a value, or leaves it as it is.
    ///
    /// # Errors
    /// If a dense value is not f32.
    pub fn store(self, v: &Value) -> Result<Value, OpError> {
        Ok(match (self, v) {
            (Output::Float, v) => return Ok(v.clone()),
            (Output::Quantized { scale, zero_point, range }, Value::Scaled(s)) => s.quantize(scale, zero_point, range),
            (Output::Quantized { scale, zero_point, range }, Value::Dense(t)) => {
                quantize_dense(t, scale, zero_point, range)?
            }
        }
        .into())
    }
}

/// The dtype of a fused operator's result.
pub(crate) fn output_dtype(cx: &InferCx<'_>) -> Result<DType, OpError> {
    match cx.dtype("dtype")? {
        DType::F32 => Ok(DType::F32),
        other => Ok(range_of(other, None, None)?.dtype),
    }
}

/// Input `i` by the attributes `scale` and `zero_point` of these names.
pub(crate) fn dequantized_input(cx: &EvalCx<'_>, i: usize, scale: &str, zero_point: &str) -> Result<Value, OpError> {
    dequantize(&cx.tensor(i)?, cx.float(scale)?, cx.int(zero_point)?)
}

/// The scaled value of a weight quantized symmetrically, with one scale or one for each index of `axis`.
pub(crate) fn dequantize_weight(w: &Tensor, scales: &Tensor, axis: usize) -> Result<Value, OpError> {
    let scales = scales.slice::<f32>()?.to_vec();
    let channels = *w.shape().get(axis).ok_or_else(|| OpError::new(format!("a weight {}", w.ty())))?;
    let (zero_points, scale) = match scales.as_slice() {
        [one] if channels != 1 => (vec![0], Scale::PerTensor(*one)),
        list if list.len() == channels => (vec![0; channels], Scale::PerChannel { axis, scales }),
        list => return Err(OpError::new(format!("{} weight scales for weight {}", list.len(), w.ty()))),
    };
    Ok(Value::Scaled(ScaledInt::from_quantized(w, &zero_points, scale)?))
}

/// What follows the accumulation: residual added, activation, result stored.
pub(crate) fn finish(cx: &EvalCx<'_>, v: Value, residual: Option<Value>) -> Result<Value, OpError> {
    Output::from_eval(cx)?.store(&activated(cx, v, residual)?)
}

/// The same with the operator's function before the result is stored.
pub(crate) fn finish_with_function(cx: &EvalCx<'_>, v: Value, residual: Option<Value>) -> Result<Value, OpError> {
    Output::from_eval(cx)?.store(&apply_function(cx, activated(cx, v, residual)?)?)
}

fn activated(cx: &EvalCx<'_>, mut v: Value, residual: Option<Value>) -> Result<Value, OpError> {
    if let Some(residual) = residual {
        v = crate::elementwise::add(&v, &residual)?;
    }
    clamp_value(&v, cx.float("activation_min")?, cx.float("activation_max")?)
}

/// The residual input `i` of a call, if it is given.
pub(crate) fn residual_input(cx: &EvalCx<'_>, i: usize) -> Result<Option<Value>, OpError> {
    let Some(r) = cx.opt_tensor(i) else { return Ok(None) };
    dequantize(&r, cx.float("residual_scale")?, cx.int("residual_zero_point")?).map(Some)
}

/// The shape of a layer's result with the residual input `i` added, if it is given: they broadcast like the operands of an addition.
pub(crate) fn infer_residual(cx: &InferCx<'_>, i: usize, shape: Shape) -> Result<Shape, OpError> {
    match cx.opt_ty(i) {
        None => Ok(shape),
        Some(ty) if ACTIVATION_TYPES.contains(&ty.dtype) => broadcast_shapes(&shape, &ty.shape),
        Some(ty) => Err(OpError::new(format!("the residual is {ty}, it must be u8 or i8"))),
    }
}

/// Fails unless input `i` holds weight scales.
pub(crate) fn infer_weight_scale(cx: &InferCx<'_>, i: usize) -> Result<(), OpError> {
    let ty = cx.ty(i)?;
    if ty.dtype == DType::F32 && ty.shape.rank() == 1 {
        return Ok(());
    }
    Err(OpError::new(format!("the weight scales are {ty}, they must be f32[channels] or f32[1]")))
}
