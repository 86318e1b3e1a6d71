//! Reductions over dimensions. The reduced dimensions are moved to the end and every result is one reduction of
//! [`quantc_tensor::reduce`] over a row, whose order of operations is defined.

use quantc_tensor::{DType, Dim, Element, Integers, Scale, ScaledInt, Shape, Tensor, TensorType, Value, reduce};

use crate::activation::UNARY_INPUT;
use crate::conv::scaled;
use crate::dims::{axes, axis};
use crate::movement::permute;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

pub(crate) const DIMS: AttrSpec = attr("dims", AttrDefault::Ints(&[]), "The dimensions; empty is all.");
pub(crate) const KEEPDIM: AttrSpec =
    attr("keepdim", AttrDefault::Bool(false), "Whether reduced dimensions stay, with size 1.");

/// Which reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
}

/// `mean`, `sum`, `amax`, `amin`, `prod`.
pub struct Reduce {
    sig: &'static Signature,
    kind: Kind,
}

macro_rules! reduction {
    ($id:ident, $name:literal, $kind:ident, $doc:literal) => {
        #[doc = $doc]
        pub static $id: Reduce = Reduce {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: &[required("input"), optional("dims")],
                attrs: &[DIMS, KEEPDIM],
                class: OpClass::Reduction,
            },
            kind: Kind::$kind,
        };
    };
}
reduction!(MEAN, "mean", Mean, "The mean over dimensions (torch.mean, ONNX ReduceMean).");
reduction!(SUM, "sum", Sum, "The sum over dimensions (torch.sum, ONNX ReduceSum).");
reduction!(AMAX, "amax", Max, "The largest element over dimensions, ignoring NaN (torch.amax, ONNX ReduceMax).");
reduction!(AMIN, "amin", Min, "The smallest element over dimensions, ignoring NaN (torch.amin, ONNX ReduceMin).");
reduction!(PROD, "prod", Prod, "The product over dimensions (torch.prod, ONNX ReduceProd).");

/// The reduced dimensions: all if none are given.
fn reduced(dims: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    if dims.is_empty() { Ok((0..rank).collect()) } else { axes(dims, rank) }
}

/// The shape after a reduction.
///
/// # Errors
/// If a dimension is out of range.
pub fn reduced_shape(x: &Shape, dims: &[i64], keepdim: bool) -> Result<Shape, OpError> {
    let gone = reduced(dims, x.rank())?;
    let dims = x.dims().iter().enumerate();
    Ok(dims
        .filter(|(i, _)| keepdim || !gone.contains(i))
        .map(|(i, d)| if gone.contains(&i) { Dim::Known(1) } else { d.clone() })
        .collect())
}

/// The tensor with the reduced dimensions moved to the end, and the length of the rows to reduce.
fn rows(x: &Tensor, gone: &[usize]) -> Result<(Tensor, usize), OpError> {
    let mut sorted = gone.to_vec();
    sorted.sort_unstable();
    let order: Vec<i64> =
        (0..x.rank()).filter(|d| !sorted.contains(d)).chain(sorted.iter().copied()).map(|d| d as i64).collect();
    let len = sorted.iter().map(|&d| x.shape()[d]).product();
    Ok((if order.is_empty() { x.clone() } else { permute(x, &order)? }, len))
}

fn fold_rows<T: Element>(x: &Tensor, len: usize, count: usize, f: impl Fn(&[T]) -> T) -> Result<Vec<T>, OpError> {
    let data = x.slice::<T>()?;
    Ok((0..count).map(|i| f(&data[i * len..(i + 1) * len])).collect())
}

fn reduce_tensor(kind: Kind, x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor, OpError> {
    let gone = reduced(dims, x.rank())?;
    let shape = reduced_shape(&Shape::known(x.shape()), dims, keepdim)?.to_known().unwrap_or_default();
    let count = crate::dims::numel(&shape)?;
    let (x, len) = rows(x, &gone)?;
    if len == 0 && matches!(kind, Kind::Max | Kind::Min) && count > 0 {
        return Err(OpError::new("the largest or smallest of no elements"));
    }
    fn int<T: Element + Ord>(
        kind: Kind,
        x: &Tensor,
        len: usize,
        count: usize,
        ops: IntOps<T>,
    ) -> Result<Vec<T>, OpError> {
        match kind {
            Kind::Mean => Err(OpError::new(format!("mean of {}", T::DTYPE))),
            Kind::Sum => fold_rows(x, len, count, |r: &[T]| r.iter().fold(ops.zero, |a, &b| (ops.add)(a, b))),
            Kind::Prod => fold_rows(x, len, count, |r: &[T]| r.iter().fold(ops.one, |a, &b| (ops.mul)(a, b))),
            Kind::Max => fold_rows(x, len, count, |r: &[T]| r.iter().copied().max().unwrap_or(ops.zero)),
            Kind::Min => fold_rows(x, len, count, |r: &[T]| r.iter().copied().min().unwrap_or(ops.zero)),
        }
    }
    Ok(match x.dtype() {
        DType::F32 => {
            let f: fn(&[f32]) -> f32 = match kind {
                Kind::Mean => reduce::mean,
                Kind::Sum => reduce::sum,
                Kind::Max => reduce::max,
                Kind::Min => reduce::min,
                Kind::Prod => |r| r.iter().product(),
            };
            Tensor::from_vec(&shape, fold_rows(&x, len, count, f)?)?
        }
        DType::I32 => {
            let ops = IntOps { zero: 0, one: 1, add: i32::wrapping_add, mul: i32::wrapping_mul };
            Tensor::from_vec(&shape, int(kind, &x, len, count, ops)?)?
        }
        DType::I64 => {
            let ops = IntOps { zero: 0, one: 1, add: i64::wrapping_add, mul: i64::wrapping_mul };
            Tensor::from_vec(&shape, int(kind, &x, len, count, ops)?)?
        }
        DType::U8 => {
            let ops = IntOps { zero: 0, one: 1, add: u8::wrapping_add, mul: u8::wrapping_mul };
            Tensor::from_vec(&shape, int(kind, &x, len, count, ops)?)?
        }
        DType::I8 => {
            let ops = IntOps { zero: 0, one: 1, add: i8::wrapping_add, mul: i8::wrapping_mul };
            Tensor::from_vec(&shape, int(kind, &x, len, count, ops)?)?
        }
        other => return Err(OpError::new(format!("a reduction of {other}"))),
    })
}

/// The arithmetic of an integer reduction.
struct IntOps<T> {
    zero: T,
    one: T,
    add: fn(T, T) -> T,
    mul: fn(T, T) -> T,
}

fn reduce_value(kind: Kind, x: &Value, dims: &[i64], keepdim: bool) -> Result<Value, OpError> {
    if let Value::Scaled(s) = x
        && s.integers != Integers::Sums
        && let Scale::PerTensor(scale) = s.scale
    {
        match (kind, s.code_scale()) {
            (Kind::Mean, Some(scale)) => {
                let sums = reduce_tensor(Kind::Sum, &s.ints, dims, keepdim)?;
                let gone = reduced(dims, x.shape().len())?;
                let n: usize = gone.iter().map(|&d| x.shape()[d]).product();
                return Ok(scaled(sums.shape(), sums.slice::<i32>()?.to_vec(), Scale::PerTensor(scale / n as f32))?);
            }
            (Kind::Max | Kind::Min, _) if scale >= 0.0 => {
                let ints = reduce_tensor(kind, &s.ints, dims, keepdim)?;
                return Ok(Value::Scaled(ScaledInt { ints, ..s.clone() }));
            }
            _ => {}
        }
    }
    Ok(reduce_tensor(kind, &x.to_tensor(), dims, keepdim)?.into())
}

/// The mean of a value: a scaled one without a pending clamp stays scaled, its scale divided by the number of elements.
///
/// # Errors
/// If a dimension is out of range or the type has no mean.
pub fn mean(x: &Value, dims: &[i64], keepdim: bool) -> Result<Value, OpError> {
    reduce_value(Kind::Mean, x, dims, keepdim)
}

impl Operator for Reduce {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = match self.kind {
            Kind::Mean => cx.expect_dtype(0, &[DType::F32])?,
            Kind::Sum | Kind::Prod => cx.expect_dtype(0, &[DType::F32, DType::I32, DType::I64])?,
            _ => cx.expect_dtype(0, &[DType::F32, DType::I32, DType::I64, DType::U8, DType::I8])?,
        };
        let (x, keepdim) = (&cx.ty(0)?.shape, cx.bool("keepdim")?);
        let shape = match cx.ints_or_input("dims", 1)? {
            Some(dims) => reduced_shape(x, &dims, keepdim)?,
            None if keepdim => crate::dims::unknown(x.rank()),
            None => {
                let count = crate::reshape::vector_len(cx.ty(1)?)?;
                crate::dims::unknown(x.rank().saturating_sub(count))
            }
        };
        Ok(vec![TensorType { dtype, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        match self.kind {
            Kind::Mean => IntegerUse::Computed,
            Kind::Max | Kind::Min => IntegerUse::Moved,
            _ => IntegerUse::Unseen,
        }
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let dims = cx.ints_or_input("dims", 1)?;
        Ok(vec![reduce_value(self.kind, cx.value(0)?, &dims, cx.bool("keepdim")?)?])
    }
}

/// `argmax`.
pub struct ArgMax;

impl Operator for ArgMax {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "argmax",
                doc: "Index of the first largest element along a dimension; NaN counts as largest (torch.argmax, ONNX ArgMax).",
                inputs: UNARY_INPUT,
                attrs: &[attr("dim", AttrDefault::Int(0), "The dimension."), KEEPDIM],
                class: OpClass::Reduction,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let shape = reduced_shape(&cx.ty(0)?.shape, &[cx.int("dim")?], cx.bool("keepdim")?)?;
        Ok(vec![TensorType { dtype: DType::I64, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, dim) = (cx.tensor(0)?, cx.int("dim")?);
        let d = axis(dim, x.rank())?;
        let shape = reduced_shape(&Shape::known(x.shape()), &[dim], cx.bool("keepdim")?)?;
        let (x, len) = rows(&x, &[d])?;
        let shape = shape.to_known().unwrap_or_default();
        let count = crate::dims::numel(&shape)?;
        if len == 0 && count > 0 {
            return Err(OpError::new("argmax of no elements"));
        }
        fn first_max<T: Copy + PartialOrd>(row: &[T]) -> i64 {
            let mut best = 0;
            for (i, v) in row.iter().enumerate() {
                #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
                let is_nan = v != v;
                if *v > row[best] || is_nan {
                    best = i;
                    if is_nan {
                        break;
                    }
                }
            }
            best as i64
        }
        let index: Vec<i64> = match x.dtype() {
            DType::F32 => x.slice::<f32>()?.chunks(len.max(1)).take(count).map(first_max).collect(),
            _ => {
                let wide = x.cast(DType::I64);
                wide.slice::<i64>()?.chunks(len.max(1)).take(count).map(first_max).collect()
            }
        };
        Ok(vec![Tensor::from_vec(&shape, index)?.into()])
    }
}

/// `cumsum`.
pub struct CumSum;

impl Operator for CumSum {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "cumsum",
                doc: "Sums of the elements so far along a dimension (torch.cumsum, ONNX CumSum).",
                inputs: UNARY_INPUT,
                attrs: &[attr("dim", AttrDefault::RequiredInt, "The dimension.")],
                class: OpClass::Reduction,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32, DType::I32, DType::I64])?;
        axis(cx.int("dim")?, cx.ty(0)?.shape.rank())?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let d = axis(cx.int("dim")?, x.rank())?;
        let inner: usize = x.shape()[d + 1..].iter().product();
        fn go<T: Element>(x: &Tensor, inner: usize, len: usize, add: impl Fn(T, T) -> T) -> Result<Tensor, OpError> {
            let mut out = x.slice::<T>()?.to_vec();
            for block in out.chunks_exact_mut((inner * len).max(1)) {
                for i in inner..block.len() {
                    block[i] = add(block[i - inner], block[i]);
                }
            }
            Ok(Tensor::from_vec(x.shape(), out)?)
        }
        let len = x.shape()[d];
        let out = match x.dtype() {
            DType::F32 => go::<f32>(&x, inner, len, |a, b| a + b)?,
            DType::I32 => go::<i32>(&x, inner, len, i32::wrapping_add)?,
            DType::I64 => go::<i64>(&x, inner, len, i64::wrapping_add)?,
            other => return Err(OpError::new(format!("cumsum of {other}"))),
        };
        Ok(vec![out.into()])
    }
}
