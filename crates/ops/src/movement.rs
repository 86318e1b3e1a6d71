//! Operators that permute, repeat, join and split.

use quantc_tensor::{Dim, Integers, ScaledInt, Shape, Tensor, TensorType, Value, with_data};

use crate::activation::UNARY_INPUT;
use crate::dims::{axes, axis, broadcast, broadcast_shapes, moved, sizes, unknown};
use crate::reshape::vector_len;
use crate::spec::{attr, optional, required, variadic};
use crate::strided::{signed_broadcast, signed_strides, view};
use crate::{AttrDefault, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `permute`.
pub struct Permute;

fn permutation(dims: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    // ONNX's default: all dimensions reversed.
    if dims.is_empty() && rank > 0 {
        return Ok((0..rank).rev().collect());
    }
    if dims.len() != rank {
        return Err(OpError::new(format!("permute: {dims:?} for {rank} dimensions")));
    }
    axes(dims, rank)
}

/// The tensor with its dimensions in another order.
///
/// # Errors
/// If `order` is no permutation of the dimensions.
pub fn permute(t: &Tensor, order: &[i64]) -> Result<Tensor, OpError> {
    let order = permutation(order, t.rank())?;
    let own = signed_strides(t.shape());
    let shape: Vec<usize> = order.iter().map(|&d| t.shape()[d]).collect();
    let strides: Vec<isize> = order.iter().map(|&d| own[d]).collect();
    view(t, &shape, &strides, 0)
}

impl Operator for Permute {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "permute",
                doc: "The dimensions in another order (torch.permute, ONNX Transpose).",
                inputs: UNARY_INPUT,
                attrs: &[attr("dims", AttrDefault::Ints(&[]), "Which dimension comes where; empty reverses them.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let order = permutation(&cx.ints("dims")?, x.shape.rank())?;
        let shape = order.iter().map(|&d| x.shape.dims()[d].clone()).collect();
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let order = cx.ints("dims")?;
        Ok(vec![moved(cx.value(0)?, |t| permute(t, &order))?])
    }
}

/// `expand`.
pub struct Expand;

/// Sizes to expand to: -1 keeps the input's (PyTorch), as does 1 (ONNX).
fn expand_target(rank: usize, target: &[i64]) -> Result<Vec<usize>, OpError> {
    if target.len() < rank && target.contains(&-1) {
        return Err(OpError::new(format!("expand of {rank} dimensions to {target:?}")));
    }
    sizes(&target.iter().map(|&d| if d == -1 { 1 } else { d }).collect::<Vec<_>>())
}

impl Operator for Expand {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "expand",
                doc: "Broadcast with a shape, in both directions; -1 keeps a size (ONNX Expand, torch.Tensor.expand).",
                inputs: &[required("input"), optional("shape")],
                attrs: &[attr("shape", AttrDefault::OptionalInts, "The shape, if it is not an input.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let shape = match cx.ints_or_input("shape", 1)? {
            Some(target) => broadcast_shapes(&x.shape, &Shape::known(&expand_target(x.shape.rank(), &target)?))?,
            None => broadcast_shapes(&x.shape, &unknown(vector_len(cx.ty(1)?)?))?,
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let target = cx.ints_or_input("shape", 1)?;
        Ok(vec![moved(cx.value(0)?, |t| {
            let shape = broadcast(t.shape(), &expand_target(t.rank(), &target)?)?;
            view(t, &shape, &signed_broadcast(t.shape(), &shape), 0)
        })?])
    }
}

/// `repeat`.
pub struct Repeat;

impl Operator for Repeat {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "repeat",
                doc: "The tensor laid out several times along each dimension (ONNX Tile, torch.Tensor.repeat).",
                inputs: &[required("input"), optional("repeats")],
                attrs: &[attr(
                    "repeats",
                    AttrDefault::OptionalInts,
                    "How often, for each dimension, if it is not an input.",
                )],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let shape = match cx.ints_or_input("repeats", 1)? {
            Some(list) => {
                let counts = repeats(&list, x.shape.rank())?;
                let dims = x.shape.dims().iter().zip(&counts);
                dims.map(|(d, &n)| match d {
                    Dim::Known(s) => Dim::Known(s.saturating_mul(n)),
                    d if n == 1 => d.clone(),
                    _ => Dim::Unknown,
                })
                .collect()
            }
            None => unknown(x.shape.rank()),
        };
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let list = cx.ints_or_input("repeats", 1)?;
        Ok(vec![moved(cx.value(0)?, |t| {
            let counts = repeats(&list, t.rank())?;
            // Every dimension as (repeat, size), the repeat with stride 0.
            let own = signed_strides(t.shape());
            let (mut shape, mut strides, mut out) = (Vec::new(), Vec::new(), Vec::new());
            for d in 0..t.rank() {
                shape.extend([counts[d], t.shape()[d]]);
                strides.extend([0, own[d]]);
                out.push(counts[d].saturating_mul(t.shape()[d]));
            }
            Ok(view(t, &shape, &strides, 0)?.reshape(&out)?)
        })?])
    }
}

fn repeats(list: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    if list.len() != rank {
        return Err(OpError::new(format!("repeat: {list:?} for {rank} dimensions")));
    }
    sizes(list)
}

/// `cat`.
pub struct Cat;

pub(crate) fn infer_cat(shapes: &[&Shape], dim: i64) -> Result<Shape, OpError> {
    let first = shapes.first().ok_or_else(|| OpError::new("cat of nothing"))?;
    let d = axis(dim, first.rank())?;
    let mut out = first.0.clone();
    for s in &shapes[1..] {
        if s.rank() != first.rank() {
            return Err(OpError::new(format!("cat of {first} and {s}")));
        }
        for i in 0..out.len() {
            let other = &s.dims()[i];
            out[i] = if i == d {
                match (&out[i], other) {
                    (Dim::Known(a), Dim::Known(b)) => Dim::Known(a.saturating_add(*b)),
                    (Dim::Known(0), d) | (d, Dim::Known(0)) => d.clone(),
                    _ => Dim::Unknown,
                }
            } else if out[i].compatible(other) {
                if out[i].known().is_some()
                    || matches!((&out[i], other), (Dim::Symbol(_), Dim::Symbol(_) | Dim::Unknown))
                {
                    out[i].clone()
                } else {
                    other.clone()
                }
            } else {
                return Err(OpError::new(format!("cat along {dim} of {first} and {s}")));
            };
        }
    }
    Ok(Shape(out))
}

/// Tensors of one type joined along a dimension.
///
/// # Errors
/// If types or sizes do not fit.
pub fn cat(parts: &[Tensor], dim: i64) -> Result<Tensor, OpError> {
    let shapes: Vec<Shape> = parts.iter().map(|t| Shape::known(t.shape())).collect();
    let shape = infer_cat(&shapes.iter().collect::<Vec<_>>(), dim)?.to_known().unwrap_or_default();
    let len = crate::dims::numel(&shape)?;
    let d = axis(dim, shape.len())?;
    let outer: usize = shape[..d].iter().product();
    let inner: usize = shape[d + 1..].iter().product();
    let Some(first) = parts.first() else { return Err(OpError::new("cat of nothing")) };
    with_data!(first, |data| {
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&data.as_slice().unwrap_or(&[])[..0]);
        let slices = parts
            .iter()
            .map(|t| Ok((t.slice()?, t.shape()[d] * inner)))
            .collect::<Result<Vec<(&[_], usize)>, OpError>>()?;
        for i in 0..outer {
            for (slice, run) in &slices {
                out.extend_from_slice(&slice[i * run..(i + 1) * run]);
            }
        }
        Ok(Tensor::from_vec(&shape, out)?)
    })
}

/// Values joined along a dimension: scaled ones of one scale and clamp stay scaled.
///
/// # Errors
/// If types or sizes do not fit.
pub fn cat_values(parts: &[&Value], dim: i64) -> Result<Value, OpError> {
    if let Some(Value::Scaled(first)) = parts.first() {
        let alike: Option<Vec<Tensor>> = parts
            .iter()
            .map(|v| match v {
                Value::Scaled(s) if s.integers != Integers::Sums && s.is_like(first) => Some(s.ints.clone()),
                _ => None,
            })
            .collect();
        if let (Some(ints), quantc_tensor::Scale::PerTensor(_)) = (alike, &first.scale) {
            let ints = cat(&ints, dim)?;
            return Ok(Value::Scaled(ScaledInt { ints, ..first.clone() }));
        }
    }
    let tensors: Vec<Tensor> = parts.iter().map(|v| v.to_tensor()).collect();
    Ok(cat(&tensors, dim)?.into())
}

impl Operator for Cat {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "cat",
                doc: "Joined along a dimension (torch.cat, ONNX Concat).",
                inputs: &[variadic("tensors")],
                attrs: &[attr("dim", AttrDefault::Int(0), "The dimension.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let types: Vec<&TensorType> = (0..cx.len()).map(|i| cx.ty(i)).collect::<Result<_, _>>()?;
        let dtype = cx.ty(0)?.dtype;
        if let Some(other) = types.iter().find(|t| t.dtype != dtype) {
            return Err(OpError::new(format!("cat of {dtype} and {}", other.dtype)));
        }
        let shape = infer_cat(&types.iter().map(|t| &t.shape).collect::<Vec<_>>(), cx.int("dim")?)?;
        Ok(vec![TensorType { dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let parts: Vec<&Value> = (0..cx.len()).map(|i| cx.value(i)).collect::<Result<_, _>>()?;
        Ok(vec![cat_values(&parts, cx.int("dim")?)?])
    }
}

/// `split`.
pub struct Split;

impl Operator for Split {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "split",
                doc: "Consecutive parts of the given sizes along a dimension, one output each (torch.split, ONNX Split).",
                inputs: &[required("input"), optional("sizes")],
                attrs: &[
                    attr("sizes", AttrDefault::OptionalInts, "Size of each part, if they are not an input."),
                    attr("dim", AttrDefault::Int(0), "The dimension."),
                ],
                class: OpClass::Movement,
            }
        }
    }

    fn outputs(&self) -> Option<usize> {
        None
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.ty(0)?;
        let d = axis(cx.int("dim")?, x.shape.rank())?;
        let part = |size: Dim| {
            let mut shape = x.shape.clone();
            shape.0[d] = size;
            TensorType { dtype: x.dtype, shape }
        };
        match cx.ints_or_input("sizes", 1)? {
            Some(list) => {
                let list = sizes(&list)?;
                check_split(&list, &x.shape.dims()[d])?;
                Ok(list.into_iter().map(|n| part(Dim::Known(n))).collect())
            }
            None => Ok((0..vector_len(cx.ty(1)?)?).map(|_| part(Dim::Unknown)).collect()),
        }
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.value(0)?;
        let d = axis(cx.int("dim")?, x.shape().len())?;
        let list = sizes(&cx.ints_or_input("sizes", 1)?)?;
        check_split(&list, &Dim::Known(x.shape()[d]))?;
        let mut start = 0;
        list.into_iter()
            .map(|size| {
                let from = start;
                start += size;
                moved(x, |t| {
                    let strides = signed_strides(t.shape());
                    let mut shape = t.shape().to_vec();
                    shape[d] = size;
                    view(t, &shape, &strides, from as isize * strides[d])
                })
            })
            .collect()
    }
}

fn check_split(list: &[usize], size: &Dim) -> Result<(), OpError> {
    let total = list.iter().fold(0usize, |a, &b| a.saturating_add(b));
    match size.known() {
        Some(n) if n != total => Err(OpError::new(format!("split of {n} into {list:?}"))),
        _ => Ok(()),
    }
}
