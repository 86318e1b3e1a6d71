//! Operators that pick elements by index.

use quantc_tensor::{DType, Dim, Tensor, TensorType, Value, with_data};

use crate::dims::{axis, moved, numel, strides};
use crate::slice::take;
use crate::spec::{attr, required};
use crate::{AttrDefault, EvalCx, InferCx, InputSpec, OpClass, OpError, Operator, Signature};

const DATA_AND_INDICES: &[InputSpec] = &[required("input"), required("indices")];

/// Indices into a dimension of `size`; negative ones count from the end.
pub(crate) fn resolve(indices: &Tensor, size: usize) -> Result<Vec<usize>, OpError> {
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    indices
        .to_i64_vec()
        .into_iter()
        .map(|i| {
            let at = if i < 0 { i.saturating_add(n) } else { i };
            usize::try_from(at)
                .ok()
                .filter(|&a| a < size)
                .ok_or_else(|| OpError::new(format!("index {i} is outside a dimension of {size}")))
        })
        .collect()
}

/// `gather`.
pub struct Gather;

impl Operator for Gather {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "gather",
                doc: "The parts of the input at the indices along a dimension, which the indices' shape replaces (ONNX Gather, torch.index_select, embedding).",
                inputs: DATA_AND_INDICES,
                attrs: &[attr("dim", AttrDefault::Int(0), "The dimension.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(1, &[DType::I64, DType::I32])?;
        let (x, indices) = (cx.ty(0)?, cx.ty(1)?);
        let d = axis(cx.int("dim")?, x.shape.rank())?;
        let dims = x.shape.dims();
        if let (Some(value), Dim::Known(n)) = (cx.value(1), &dims[d]) {
            resolve(value, *n)?;
        }
        let shape = dims[..d].iter().chain(indices.shape.dims()).chain(&dims[d + 1..]).cloned().collect();
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, indices) = (cx.value(0)?, cx.tensor(1)?);
        let d = axis(cx.int("dim")?, x.shape().len())?;
        let picked: Vec<Option<usize>> = resolve(&indices, x.shape()[d])?.into_iter().map(Some).collect();
        let xs = x.shape();
        let shape: Vec<usize> = xs[..d].iter().chain(indices.shape()).chain(&xs[d + 1..]).copied().collect();
        numel(&shape)?;
        Ok(vec![moved(x, |t| {
            with_data!(t, |data| {
                let fill = Default::default();
                let out = take(data.as_slice().unwrap_or(&[]), data.shape(), d, &picked, fill);
                Ok(Tensor::from_vec(&shape, out)?)
            })
        })?])
    }
}

/// `gather_elements`.
pub struct GatherElements;

impl Operator for GatherElements {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "gather_elements",
                doc: "Element by element: the index replaces the position along one dimension (ONNX GatherElements, torch.gather).",
                inputs: DATA_AND_INDICES,
                attrs: &[attr("dim", AttrDefault::Int(0), "The dimension.")],
                class: OpClass::Movement,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(1, &[DType::I64, DType::I32])?;
        let (x, indices) = (cx.ty(0)?, cx.ty(1)?);
        axis(cx.int("dim")?, x.shape.rank())?;
        if indices.shape.rank() != x.shape.rank() {
            return Err(OpError::new(format!("gather_elements of {x} by {indices}")));
        }
        Ok(vec![TensorType { dtype: x.dtype, shape: indices.shape.clone() }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, indices) = (cx.value(0)?, cx.tensor(1)?);
        let d = axis(cx.int("dim")?, x.shape().len())?;
        let (xs, is) = (x.shape().to_vec(), indices.shape().to_vec());
        let fits = xs.len() == is.len() && (0..xs.len()).all(|i| i == d || is[i] <= xs[i]);
        if !fits {
            return Err(OpError::new(format!("gather_elements of {xs:?} by {is:?}")));
        }
        let (from, at) = (strides(&xs), strides(&is));
        let source: Vec<usize> = resolve(&indices, xs[d])?
            .into_iter()
            .enumerate()
            .map(|(i, picked)| {
                (0..is.len()).map(|k| if k == d { picked * from[k] } else { i / at[k] % is[k] * from[k] }).sum()
            })
            .collect();
        Ok(vec![moved(x, |t| {
            with_data!(t, |data| {
                let flat = data.as_slice().unwrap_or(&[]);
                Ok(Tensor::from_vec(&is, source.iter().map(|&i| flat[i]).collect())?)
            })
        })?])
    }
}
