//! `slice` and `pad`.

use quantc_tensor::{DType, Dim, Element, Shape, Tensor, TensorType, Value, with_data};

use crate::dims::{axes, moved, unknown};
use crate::spec::{attr, optional, required};
use crate::strided::{signed_strides, view};
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `slice`.
pub struct Slice;

/// First index, step and number of elements of a slice of a dimension (ONNX Slice, NumPy indexing).
fn bounds(size: usize, start: i64, end: i64, step: i64) -> Result<(usize, i64, usize), OpError> {
    if step == 0 {
        return Err(OpError::new("slice with step 0"));
    }
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    let from_end = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (start, end) = (from_end(start), from_end(end));
    let count = if step > 0 {
        let (start, end) = (start.clamp(0, n), end.clamp(0, n));
        if end > start { ((end - start) as u64).div_ceil(step as u64) } else { 0 }
    } else {
        let (start, end) = (start.clamp(-1, n - 1), end.clamp(-1, n - 1));
        if start > end { ((start - end) as u64).div_ceil(step.unsigned_abs()) } else { 0 }
    };
    let first = if step > 0 { start.clamp(0, n) } else { start.clamp(0, (n - 1).max(0)) };
    Ok((first as usize, step, count as usize))
}

/// Starts, ends, axes and steps of a call, one entry for each sliced axis.
struct Ranges {
    axes: Vec<usize>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    steps: Vec<i64>,
}

impl Ranges {
    fn new(rank: usize, starts: Vec<i64>, ends: Vec<i64>, dims: Vec<i64>, steps: Vec<i64>) -> Result<Ranges, OpError> {
        let count = starts.len();
        let axes = if dims.is_empty() { (0..count).collect() } else { axes(&dims, rank)? };
        let steps = if steps.is_empty() { vec![1; count] } else { steps };
        if ends.len() != count || axes.len() != count || steps.len() != count || count > rank {
            return Err(OpError::new(format!(
                "slice of {rank} dimensions: {count} starts, {} ends, {} axes, {} steps",
                ends.len(),
                axes.len(),
                steps.len()
            )));
        }
        Ok(Ranges { axes, starts, ends, steps })
    }
}

impl Operator for Slice {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "slice",
                doc: "starts[i]..ends[i] by steps[i] along axes[i]; negative indices count from the end (ONNX Slice).",
                inputs: &[required("input"), optional("starts"), optional("ends"), optional("axes"), optional("steps")],
                attrs: &[
                    attr("starts", AttrDefault::OptionalInts, "First index for each axis."),
                    attr(
                        "ends",
                        AttrDefault::OptionalInts,
                        "Index after the last for each axis; may be beyond the end.",
                    ),
                    attr("axes", AttrDefault::Ints(&[]), "The axes; empty is the first ones in order."),
                    attr("steps", AttrDefault::Ints(&[]), "Step for each axis, may be negative; empty is 1."),
                ],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let rank = x.shape.rank();
        let given = |name, i| cx.ints_or_input(name, i);
        let (starts, ends) = (given("starts", 1)?, given("ends", 2)?);
        let (dims, steps) = (given("axes", 3)?, given("steps", 4)?);
        let mut shape = x.shape.clone();
        let Some(dims) = dims else {
            return Ok(vec![TensorType { dtype: x.dtype, shape: unknown(rank) }]);
        };
        let (Some(starts), Some(ends), Some(steps)) = (&starts, &ends, &steps) else {
            // Which axes are cut is known, to what size is not.
            let cut = if dims.is_empty() {
                let count = [starts, ends].into_iter().flatten().map(|v| v.len()).next();
                (0..count.unwrap_or(rank).min(rank)).collect()
            } else {
                axes(&dims, rank)?
            };
            cut.into_iter().for_each(|d| shape.0[d] = Dim::Unknown);
            return Ok(vec![TensorType { dtype: x.dtype, shape }]);
        };
        let r = Ranges::new(rank, starts.clone(), ends.clone(), dims, steps.clone())?;
        for (i, &d) in r.axes.iter().enumerate() {
            let whole = r.starts[i] == 0 && r.ends[i] >= i64::from(i32::MAX) && r.steps[i] == 1;
            shape.0[d] = match &shape.0[d] {
                Dim::Known(n) => Dim::Known(bounds(*n, r.starts[i], r.ends[i], r.steps[i])?.2),
                other if whole => other.clone(),
                _ => Dim::Unknown,
            };
        }
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.value(0)?;
        let given = |name, i| cx.ints_or_input(name, i);
        let r = Ranges::new(
            x.shape().len(),
            given("starts", 1)?,
            given("ends", 2)?,
            given("axes", 3)?,
            given("steps", 4)?,
        )?;
        Ok(vec![moved(x, |t| {
            let mut strides = signed_strides(t.shape());
            let mut shape = t.shape().to_vec();
            let mut offset = 0;
            for (i, &d) in r.axes.iter().enumerate() {
                let (first, step, count) = bounds(shape[d], r.starts[i], r.ends[i], r.steps[i])?;
                if count > 0 {
                    offset += first as isize * strides[d];
                }
                shape[d] = count;
                // A step beyond the size is never taken twice, so its stride does not matter.
                strides[d] = strides[d].saturating_mul(step as isize);
            }
            view(t, &shape, &strides, offset)
        })?])
    }
}

/// The tensor with indices taken along a dimension; `None` is filled with a value.
pub(crate) fn take<T: Element>(x: &[T], shape: &[usize], dim: usize, index: &[Option<usize>], fill: T) -> Vec<T> {
    let outer: usize = shape[..dim].iter().product();
    let inner: usize = shape[dim + 1..].iter().product();
    let block = shape[dim] * inner;
    let mut out = Vec::with_capacity(outer * index.len() * inner);
    for o in 0..outer {
        for i in index {
            match i {
                Some(i) => out.extend_from_slice(&x[o * block + i * inner..][..inner]),
                None => out.resize(out.len() + inner, fill),
            }
        }
    }
    out
}

/// `pad`.
pub struct Pad;

/// How padding is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
}

fn mode(name: &str) -> Result<Mode, OpError> {
    match name {
        "constant" => Ok(Mode::Constant),
        "reflect" => Ok(Mode::Reflect),
        "edge" => Ok(Mode::Edge),
        other => {
            Err(OpError::new(format!("`mode` of `pad` can't be {other:?}")).with_hint("constant, reflect or edge"))
        }
    }
}

/// Where each index of a padded dimension comes from.
fn source(size: usize, begin: i64, end: i64, mode: Mode) -> Result<Vec<Option<usize>>, OpError> {
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    let total = n.checked_add(begin).and_then(|t| t.checked_add(end)).filter(|&t| t >= 0);
    let total = total.ok_or_else(|| OpError::new(format!("padding a size of {n} by {begin} and {end}")))?;
    crate::dims::numel(&[total as usize])?;
    if mode != Mode::Constant && n == 0 && total > 0 || mode == Mode::Reflect && (begin >= n.max(1) || end >= n.max(1))
    {
        return Err(OpError::new(format!("padding a size of {n} by {begin} and {end} from its own elements")));
    }
    Ok((0..total)
        .map(|i| {
            let at = i - begin;
            let at = match mode {
                Mode::Constant => at,
                Mode::Edge => at.clamp(0, n - 1),
                Mode::Reflect if at < 0 => -at,
                Mode::Reflect if at >= n => 2 * (n - 1) - at,
                Mode::Reflect => at,
            };
            usize::try_from(at).ok().filter(|&a| a < size)
        })
        .collect())
}

fn check_pads(pads: &[i64], rank: usize) -> Result<(), OpError> {
    if pads.len() == 2 * rank {
        return Ok(());
    }
    Err(OpError::new(format!("pad: {pads:?} for {rank} dimensions")).with_hint("all before, then all after"))
}

/// The tensor padded; `value` is converted to its type.
fn pad(t: &Tensor, pads: &[i64], mode: Mode, value: f32) -> Result<Tensor, OpError> {
    let rank = t.rank();
    check_pads(pads, rank)?;
    let fill = Tensor::scalar(value).cast(t.dtype());
    let mut out = t.clone();
    for d in 0..rank {
        if pads[d] == 0 && pads[rank + d] == 0 {
            continue;
        }
        let index = source(out.shape()[d], pads[d], pads[rank + d], mode)?;
        let mut shape = out.shape().to_vec();
        shape[d] = index.len();
        crate::dims::numel(&shape)?;
        out = with_data!(&out, |data| {
            let fill = fill.slice()?.first().copied().unwrap_or_default();
            let padded = take(data.as_slice().unwrap_or(&[]), data.shape(), d, &index, fill);
            Tensor::from_vec(&shape, padded)?
        });
    }
    Ok(out)
}

impl Operator for Pad {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "pad",
                doc: "Elements added before and after along every dimension, or removed where negative (ONNX Pad).",
                inputs: &[required("input"), optional("pads"), optional("value")],
                attrs: &[
                    attr(
                        "pads",
                        AttrDefault::OptionalInts,
                        "All counts before, then all after, if they are not an input.",
                    ),
                    attr(
                        "mode",
                        AttrDefault::Str("constant", &["constant", "reflect", "edge"]),
                        "`constant`, `reflect` or `edge`.",
                    ),
                    attr("value", AttrDefault::Float(0.0), "The constant, if it is not an input."),
                ],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let (rank, mode) = (x.shape.rank(), mode(&cx.str("mode")?)?);
        let shape: Shape = match cx.ints_or_input("pads", 1)? {
            None => unknown(rank),
            Some(pads) => {
                check_pads(&pads, rank)?;
                let dims = x.shape.dims().iter().enumerate();
                dims.map(|(d, dim)| {
                    Ok(match (dim, pads[d], pads[rank + d]) {
                        (d, 0, 0) => d.clone(),
                        (Dim::Known(n), b, e) => Dim::Known(source(*n, b, e, mode)?.len()),
                        _ => Dim::Unknown,
                    })
                })
                .collect::<Result<Shape, OpError>>()?
            }
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let pads = cx.ints_or_input("pads", 1)?;
        let mode = mode(&cx.str("mode")?)?;
        let value = match cx.opt_tensor(2) {
            Some(v) => v.as_scalar_f32().ok_or_else(|| OpError::new(format!("the value of `pad` is {}", v.ty())))?,
            None => cx.float("value")?,
        };
        let x = cx.value(0)?;
        // A pending clamp would move a zero outside its bounds.
        let keeps_zero = !matches!(x, Value::Scaled(s) if s.clamp.0 > 0.0 || s.clamp.1 < 0.0);
        if mode != Mode::Constant || (value == 0.0 && keeps_zero) {
            return Ok(vec![moved(x, |t| pad(t, &pads, mode, 0.0))?]);
        }
        let x = x.to_tensor();
        if x.dtype() == DType::Bool {
            return Err(OpError::new("pad of bool with a value"));
        }
        Ok(vec![pad(&x, &pads, mode, value)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_numpy() {
        assert_eq!(bounds(10, 2, 8, 3), Ok((2, 3, 2)));
        assert_eq!(bounds(10, -1, i64::MIN, -1), Ok((9, -1, 10)));
        assert_eq!(bounds(10, 100, 0, -4), Ok((9, -4, 3)));
        assert_eq!(bounds(10, 5, i64::MAX, 1), Ok((5, 1, 5)));
        assert_eq!(bounds(0, 0, 5, 1), Ok((0, 1, 0)));
        assert_eq!(bounds(3, 2, 1, 1).map(|b| b.2), Ok(0));
        assert!(bounds(3, 0, 1, 0).is_err());
    }

    #[test]
    fn padding_is_not_clamped() {
        use quantc_tensor::{Scale, ScaledInt};
        let codes = Tensor::vector(vec![10i8, 30]);
        let mut x = ScaledInt::from_quantized(&codes, &[0], Scale::PerTensor(0.1)).expect("i8");
        x.clamp = (2.0, 6.0);
        let pad = crate::lookup("pad").expect("there");
        let attrs = crate::Attrs::new().with("pads", vec![1i64, 0]);
        let y = pad.eval(&[Some(Value::Scaled(x))], &attrs).expect("pads");
        assert_eq!(y[0].to_tensor().to_f32_vec(), [0.0, 2.0, 3.0]);
    }

    #[test]
    fn padding_sources() {
        assert_eq!(source(3, 2, 1, Mode::Reflect), Ok(vec![Some(2), Some(1), Some(0), Some(1), Some(2), Some(1)]));
        assert_eq!(source(2, 1, 1, Mode::Edge), Ok(vec![Some(0), Some(0), Some(1), Some(1)]));
        assert_eq!(source(3, -1, 1, Mode::Constant), Ok(vec![Some(1), Some(2), None]));
        assert!(source(3, 3, 0, Mode::Reflect).is_err());
        assert!(source(3, -2, -2, Mode::Constant).is_err());
        assert!(source(0, 1, 0, Mode::Edge).is_err());
    }
}
