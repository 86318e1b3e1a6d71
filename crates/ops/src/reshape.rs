//! Operators that keep the elements and their order: reshape, flatten, squeeze, unsqueeze.

use quantc_tensor::{Dim, Shape, TensorType};

use crate::activation::UNARY_INPUT;
use crate::dims::{axes, axis, moved, unknown};
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `reshape`.
pub struct Reshape;

/// The concrete shape asked for: 0 copies the input's size unless `allow_zero`, -1 is what is left.
fn resolve(input: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, OpError> {
    let bad = |why: &str| OpError::new(format!("{input:?} can't be reshaped to {target:?}: {why}"));
    let total: usize = input.iter().product();
    let mut out = Vec::with_capacity(target.len());
    let mut free = None;
    for (i, &d) in target.iter().enumerate() {
        out.push(match d {
            0 if !allow_zero => *input.get(i).ok_or_else(|| bad("0 copies a dimension the input lacks"))?,
            -1 if free.is_none() => {
                free = Some(i);
                1
            }
            -1 => return Err(bad("more than one -1")),
            d => usize::try_from(d).map_err(|_| bad("negative size"))?,
        });
    }
    let known = crate::dims::numel(&out)?;
    if let Some(i) = free {
        if known == 0 || !total.is_multiple_of(known) {
            return Err(bad("the sizes do not divide"));
        }
        out[i] = total / known;
    } else if known != total {
        return Err(bad("the number of elements differs"));
    }
    Ok(out)
}

/// The shape of a reshape to `target`, in which 0 copies a size of the input unless `allow_zero`; -1 is found where the sizes that can't be
/// compared cancel.
///
/// # Errors
/// If the sizes contradict each other.
pub fn reshaped(input: &Shape, target: &[i64], allow_zero: bool) -> Result<Shape, OpError> {
    if let Some(known) = input.to_known() {
        return Ok(Shape::known(&resolve(&known, target, allow_zero)?));
    }
    let mut out = Vec::with_capacity(target.len());
    for (i, &d) in target.iter().enumerate() {
        out.push(match d {
            0 if !allow_zero => input.dims().get(i).cloned().ok_or_else(|| {
                OpError::new(format!("{input} can't be reshaped to {target:?}: 0 copies a dimension the input lacks"))
            })?,
            -1 => Dim::Unknown,
            d => Dim::Known(usize::try_from(d).map_err(|_| OpError::new(format!("{target:?} has a negative size")))?),
        });
    }
    if let Some(free) = target.iter().position(|&d| d == -1) {
        let mut left: Vec<Dim> = input.dims().iter().filter(|d| d.known().is_none()).cloned().collect();
        let mut right = 1usize;
        for (i, d) in out.iter().enumerate().filter(|(i, _)| *i != free) {
            match d {
                Dim::Known(n) => right = right.saturating_mul(*n),
                // The same symbol, or the very dimension that a 0 copied.
                d => match left.iter().position(|l| l == d && (*d != Dim::Unknown || target[i] == 0)) {
                    Some(at) => drop(left.remove(at)),
                    None => return Ok(out.into_iter().collect()),
                },
            }
        }
        let known = input.dims().iter().filter_map(Dim::known).fold(1usize, usize::saturating_mul);
        out[free] = match left.as_slice() {
            [] if right > 0 && known % right == 0 => Dim::Known(known / right),
            [only] if right == known => only.clone(),
            _ => Dim::Unknown,
        };
    }
    Ok(out.into_iter().collect())
}

impl Operator for Reshape {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "reshape",
                doc: "The elements in another shape; 0 copies a size, -1 is inferred (ONNX Reshape; torch.reshape with allowzero).",
                inputs: &[required("input"), optional("shape")],
                attrs: &[
                    attr("shape", AttrDefault::OptionalInts, "The shape, if it is not an input."),
                    attr("allowzero", AttrDefault::Bool(false), "0 is the size 0 instead of a copy."),
                ],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let shape = match cx.ints_or_input("shape", 1)? {
            Some(target) => reshaped(&x.shape, &target, cx.bool("allowzero")?)?,
            None => unknown(vector_len(cx.ty(1)?)?),
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<quantc_tensor::Value>, OpError> {
        let target = cx.ints_or_input("shape", 1)?;
        let allow_zero = cx.bool("allowzero")?;
        Ok(vec![moved(cx.value(0)?, |t| Ok(t.reshape(&resolve(t.shape(), &target, allow_zero)?)?))?])
    }
}

/// Number of entries of a vector input, which is the rank of a result.
///
/// # Errors
/// If it is no vector or its length is unknown.
pub(crate) fn vector_len(ty: &TensorType) -> Result<usize, OpError> {
    match ty.shape.dims() {
        [Dim::Known(n)] if *n <= 16 => Ok(*n),
        _ => Err(OpError::new(format!("a shape given as {ty}"))
            .with_hint("the number of dimensions of every value must be known")),
    }
}

/// `flatten`.
pub struct Flatten;

impl Operator for Flatten {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "flatten",
                doc: "Dimensions start_dim..=end_dim as one (torch.flatten).",
                inputs: UNARY_INPUT,
                attrs: &[
                    attr("start_dim", AttrDefault::Int(1), "First dimension."),
                    attr("end_dim", AttrDefault::Int(-1), "Last dimension."),
                ],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let shape = flatten(&x.shape, cx.int("start_dim")?, cx.int("end_dim")?)?;
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<quantc_tensor::Value>, OpError> {
        let (start, end) = (cx.int("start_dim")?, cx.int("end_dim")?);
        Ok(vec![moved(cx.value(0)?, |t| {
            let shape = flatten(&Shape::known(t.shape()), start, end)?.to_known().unwrap_or_default();
            Ok(t.reshape(&shape)?)
        })?])
    }
}

fn flatten(x: &Shape, start: i64, end: i64) -> Result<Shape, OpError> {
    if x.rank() == 0 {
        return Ok(Shape::known(&[1]));
    }
    let (start, end) = (axis(start, x.rank())?, axis(end, x.rank())?);
    if start > end {
        return Err(OpError::new(format!("flatten: start_dim {start} is after end_dim {end}")));
    }
    Ok(x.dims()[..start]
        .iter()
        .cloned()
        .chain([product(&x.dims()[start..=end])])
        .chain(x.dims()[end + 1..].iter().cloned())
        .collect())
}

/// The product of dimensions, a symbol if it is the only one that is not 1.
fn product(dims: &[Dim]) -> Dim {
    let mut others = dims.iter().filter(|d| **d != Dim::Known(1));
    match (others.next(), others.next()) {
        (None, _) => Dim::Known(1),
        (Some(only), None) => only.clone(),
        _ => dims.iter().map(Dim::known).product::<Option<usize>>().map_or(Dim::Unknown, Dim::Known),
    }
}

/// `flatten2d`.
pub struct Flatten2d;

impl Operator for Flatten2d {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "flatten2d",
                doc: "A matrix: the dimensions before `axis` as rows, the others as columns (ONNX Flatten).",
                inputs: UNARY_INPUT,
                attrs: &[attr("axis", AttrDefault::Int(1), "First dimension of the columns.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        Ok(vec![TensorType { dtype: x.dtype, shape: flatten2d(&x.shape, cx.int("axis")?)? }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<quantc_tensor::Value>, OpError> {
        let at = cx.int("axis")?;
        Ok(vec![moved(cx.value(0)?, |t| {
            Ok(t.reshape(&flatten2d(&Shape::known(t.shape()), at)?.to_known().unwrap_or_default())?)
        })?])
    }
}

fn flatten2d(x: &Shape, at: i64) -> Result<Shape, OpError> {
    // The axis may be the rank itself: everything is rows.
    let at = if at == x.rank() as i64 { x.rank() } else { axis(at, x.rank())? };
    Ok([product(&x.dims()[..at]), product(&x.dims()[at..])].into_iter().collect())
}

/// `squeeze`.
pub struct Squeeze;

fn squeeze(x: &Shape, dims: &[i64]) -> Result<Shape, OpError> {
    if dims.is_empty() {
        if let Some(d) = x.dims().iter().find(|d| d.known().is_none()) {
            return Err(
                OpError::new(format!("squeeze of every size 1 of {x}, where {d} is unknown")).with_hint("give `dims`")
            );
        }
        return Ok(x.dims().iter().filter(|d| **d != Dim::Known(1)).cloned().collect());
    }
    let drop = axes(dims, x.rank())?;
    if let Some(&d) = drop.iter().find(|&&d| x.dims()[d].known().is_some_and(|n| n != 1)) {
        return Err(OpError::new(format!("squeeze: dimension {d} of {x} is not 1")));
    }
    Ok(x.dims().iter().enumerate().filter(|(i, _)| !drop.contains(i)).map(|(_, d)| d.clone()).collect())
}

impl Operator for Squeeze {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "squeeze",
                doc: "Without the given dimensions of size 1, or all of them (ONNX Squeeze, torch.squeeze).",
                inputs: &[required("input"), optional("dims")],
                attrs: &[attr("dims", AttrDefault::Ints(&[]), "The dimensions; empty is every one of size 1.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let shape = match cx.ints_or_input("dims", 1)? {
            Some(dims) => squeeze(&x.shape, &dims)?,
            None => unknown(x.shape.rank().saturating_sub(vector_len(cx.ty(1)?)?)),
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<quantc_tensor::Value>, OpError> {
        let dims = cx.ints_or_input("dims", 1)?;
        Ok(vec![moved(cx.value(0)?, |t| {
            Ok(t.reshape(&squeeze(&Shape::known(t.shape()), &dims)?.to_known().unwrap_or_default())?)
        })?])
    }
}

/// `unsqueeze`.
pub struct Unsqueeze;

fn unsqueeze(x: &Shape, dims: &[i64]) -> Result<Shape, OpError> {
    let rank = x.rank() + dims.len();
    let new = axes(dims, rank)?;
    let mut old = x.dims().iter().cloned();
    Ok((0..rank).map(|i| if new.contains(&i) { Dim::Known(1) } else { old.next().unwrap_or(Dim::Unknown) }).collect())
}

impl Operator for Unsqueeze {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "unsqueeze",
                doc: "With new dimensions of size 1 at the given places of the result (ONNX Unsqueeze, torch.unsqueeze).",
                inputs: &[required("input"), optional("dims")],
                attrs: &[attr("dims", AttrDefault::OptionalInts, "The dimensions, if they are not an input.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let shape = match cx.ints_or_input("dims", 1)? {
            Some(dims) => unsqueeze(&x.shape, &dims)?,
            None => unknown(x.shape.rank() + vector_len(cx.ty(1)?)?),
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<quantc_tensor::Value>, OpError> {
        let dims = cx.ints_or_input("dims", 1)?;
        Ok(vec![moved(cx.value(0)?, |t| {
            Ok(t.reshape(&unsqueeze(&Shape::known(t.shape()), &dims)?.to_known().unwrap_or_default())?)
        })?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concrete_reshapes() {
        assert_eq!(resolve(&[2, 3, 4], &[0, -1], false), Ok(vec![2, 12]));
        assert_eq!(resolve(&[0, 3], &[0, 3], true), Ok(vec![0, 3]));
        assert!(resolve(&[2, 3], &[4, -1], false).is_err());
        assert!(resolve(&[2, 3], &[-1, -1], false).is_err());
        assert!(resolve(&[2], &[2, 0], false).is_err());
        assert!(resolve(&[2], &[i64::MAX, 2], false).is_err());
    }

    #[test]
    fn symbols_survive_reshapes() {
        let x: Shape = [Dim::symbol("N"), Dim::Known(8), Dim::Known(4)].into_iter().collect();
        let show = |t: &[i64]| reshaped(&x, t, false).map(|s| s.to_string());
        assert_eq!(show(&[0, -1]), Ok("[N,32]".to_owned()));
        assert_eq!(show(&[-1, 32]), Ok("[N,32]".to_owned()));
        assert_eq!(show(&[-1, 16]), Ok("[?,16]".to_owned()));
        assert_eq!(show(&[0, 2, -1]), Ok("[N,2,16]".to_owned()));
    }
}
