//! Shapes as values, and tensors made from them.

use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};

use crate::activation::UNARY_INPUT;
use crate::dims::{numel, sizes, unknown};
use crate::reshape::vector_len;
use crate::spec::{attr, required};
use crate::{AttrDefault, Attrs, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

/// `shape`.
pub struct ShapeOf;

/// The dimensions that a call gives: `start..end`, clamped to the rank.
fn cut(rank: usize, start: i64, end: Option<i64>) -> std::ops::Range<usize> {
    let n = rank as i64;
    let at = |v: i64| if v < 0 { v.saturating_add(n) } else { v }.clamp(0, n) as usize;
    let (start, end) = (at(start), at(end.unwrap_or(n)));
    start..end.max(start)
}

/// The value of a call of `shape` with these attributes, if the sizes it gives are known: for folding shape arithmetic without the input.
pub fn shape_value(attrs: &Attrs, shape: &Shape) -> Option<Tensor> {
    let int = |name| match attrs.get(name) {
        Some(crate::Attr::Int(v)) => Some(*v),
        _ => None,
    };
    let dims = &shape.dims()[cut(shape.rank(), int("start").unwrap_or(0), int("end"))];
    dims.iter().map(|d| d.known().map(|n| n as i64)).collect::<Option<Vec<i64>>>().map(Tensor::vector)
}

impl Operator for ShapeOf {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "shape",
                doc: "The sizes of the input, or a range of them, as i64 (ONNX Shape).",
                inputs: UNARY_INPUT,
                attrs: &[
                    attr("start", AttrDefault::Int(0), "First dimension."),
                    attr("end", AttrDefault::OptionalInt, "Dimension after the last."),
                ],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let end = if cx.has("end") { Some(cx.int("end")?) } else { None };
        let len = cut(cx.ty(0)?.shape.rank(), cx.int("start")?, end).len();
        Ok(vec![TensorType { dtype: DType::I64, shape: Shape::known(&[len]) }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let shape = Shape::known(cx.value(0)?.shape());
        shape_value(cx.attrs(), &shape).map(|t| vec![t.into()]).ok_or_else(|| OpError::new(format!("shape of {shape}")))
    }
}

/// `full`.
pub struct Full;

impl Operator for Full {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "full",
                doc: "A tensor of the given shape filled with one value (ONNX ConstantOfShape, torch.full).",
                inputs: &[required("shape")],
                attrs: &[
                    attr("value", AttrDefault::Float(0.0), "The value."),
                    attr("dtype", AttrDefault::DType(DType::F32), "Element type."),
                ],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let shape = match cx.value(0) {
            Some(t) => Shape::known(&sizes(&t.to_i64_vec())?),
            None => unknown(vector_len(cx.ty(0)?)?),
        };
        Ok(vec![TensorType { dtype: cx.dtype("dtype")?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let shape = sizes(&cx.tensor(0)?.to_i64_vec())?;
        numel(&shape)?;
        let one = Tensor::scalar(cx.float("value")?).cast(cx.dtype("dtype")?);
        Ok(vec![quantc_tensor::with_data!(&one, |data| {
            let value = data.iter().next().copied().unwrap_or_default();
            Tensor::full(&shape, value).into()
        })])
    }
}

/// `arange`.
pub struct Arange;

fn arange_len(start: &Tensor, end: &Tensor, step: &Tensor) -> Result<usize, OpError> {
    let bad = || OpError::new(format!("arange from {} to {} by {}", start.ty(), end.ty(), step.ty()));
    if [start, end, step].iter().any(|t| t.numel() != 1) || start.dtype() != end.dtype() || end.dtype() != step.dtype()
    {
        return Err(bad());
    }
    let len = if start.dtype().is_float() {
        let real = |t: &Tensor| f64::from(t.as_scalar_f32().unwrap_or(0.0));
        ((real(end) - real(start)) / real(step)).ceil()
    } else {
        let int = |t: &Tensor| t.to_i64_vec().first().copied().unwrap_or(0);
        ((int(end) as f64 - int(start) as f64) / int(step) as f64).ceil()
    };
    if len.is_nan() {
        return Err(bad());
    }
    let len = len.max(0.0) as usize;
    numel(&[len])?;
    Ok(len)
}

impl Operator for Arange {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "arange",
                doc: "start, start + step, ... below end (ONNX Range, torch.arange).",
                inputs: &[required("start"), required("end"), required("step")],
                attrs: &[],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = cx.expect_dtype(0, &[DType::I64, DType::I32, DType::F32])?;
        let len = match (cx.value(0), cx.value(1), cx.value(2)) {
            (Some(a), Some(b), Some(s)) => Dim::Known(arange_len(a, b, s)?),
            _ => Dim::Unknown,
        };
        Ok(vec![TensorType { dtype, shape: [len].into_iter().collect() }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (start, end, step) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let len = arange_len(&start, &end, &step)?;
        let out = if start.dtype().is_float() {
            let (a, s) = (start.as_scalar_f32().unwrap_or(0.0), step.as_scalar_f32().unwrap_or(0.0));
            Tensor::vector((0..len).map(|i| a + i as f32 * s).collect())
        } else {
            let int = |t: &Tensor| t.to_i64_vec().first().copied().unwrap_or(0);
            let (a, s) = (int(&start), int(&step));
            Tensor::vector((0..len as i64).map(|i| a.wrapping_add(i.wrapping_mul(s))).collect()).cast(start.dtype())
        };
        Ok(vec![out.into()])
    }
}

/// `to`.
pub struct To;

impl Operator for To {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "to",
                doc: "Converted to another element type: to integers by truncation, saturating (ONNX Cast, torch.Tensor.to).",
                inputs: UNARY_INPUT,
                attrs: &[attr("dtype", AttrDefault::RequiredDType, "The element type.")],
                class: OpClass::Other,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![TensorType { dtype: cx.dtype("dtype")?, shape: cx.ty(0)?.shape.clone() }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::HandedOn
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = cx.dtype("dtype")?;
        Ok(vec![match cx.value(0)? {
            // A scaled value is f32 already, and exact.
            v if v.dtype() == dtype => v.clone(),
            v => v.to_tensor().cast(dtype).into(),
        }])
    }
}
