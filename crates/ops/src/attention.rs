//! Attention as one operator.

use quantc_tensor::{DType, Shape, Tensor, TensorType, Value};

use crate::dims::broadcast_shapes;
use crate::linear::infer_matmul;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, Attrs, EvalCx, InferCx, OpClass, OpError, Operator, Signature, lookup};

/// `scaled_dot_product_attention`.
pub struct Attention;

/// What an attention is composed of.
#[derive(Clone, Copy, Debug)]
pub struct Composition {
    /// Factor of the queries.
    pub scale: f32,
    /// What a score becomes where a boolean mask is false.
    pub fill: f32,
    /// Dimensions of the keys.
    pub key_rank: usize,
    /// Element type of the mask.
    pub mask: Option<DType>,
}

/// Makes the calls of a composition: computes them, or adds them to a graph.
pub trait Calls {
    /// What a call takes and makes.
    type Value: Clone;
    /// Why it may fail.
    type Error;

    /// A constant.
    fn constant(&mut self, value: Tensor) -> Self::Value;

    /// A call of an operator with one output.
    ///
    /// # Errors
    /// If it can't be made.
    fn call(&mut self, op: &'static str, inputs: &[Self::Value], attrs: Attrs) -> Result<Self::Value, Self::Error>;
}

impl Composition {
    /// `softmax((query * scale) key^T + mask) value` in calls of other operators: the definition of the operator. A row of a boolean
    /// mask that allows nothing gives 0, as in PyTorch, if what is masked is filled with `-inf`.
    ///
    /// # Errors
    /// Those of `calls`.
    ///
    /// # Panics
    /// If the keys have fewer than 2 dimensions.
    pub fn build<C: Calls>(
        &self,
        calls: &mut C,
        [query, key, value]: [C::Value; 3],
        mask: Option<C::Value>,
    ) -> Result<C::Value, C::Error> {
        let mut query = query;
        // The queries are smaller than the scores.
        if self.scale != 1.0 {
            let scale = calls.constant(Tensor::scalar(self.scale));
            query = calls.call("mul", &[query, scale], Attrs::new())?;
        }
        let mut order: Vec<i64> = (0..self.key_rank as i64).collect();
        order.swap(self.key_rank - 2, self.key_rank - 1);
        let key = calls.call("permute", &[key], Attrs::new().with("dims", order))?;
        let mut scores = calls.call("matmul", &[query, key], Attrs::new())?;
        let boolean = self.mask == Some(DType::Bool);
        if let Some(mask) = mask {
            scores = if boolean {
                let fill = calls.constant(Tensor::scalar(self.fill));
                calls.call("where", &[mask, scores, fill], Attrs::new())?
            } else {
                calls.call("add", &[scores, mask], Attrs::new())?
            };
        }
        let mut weights = calls.call("softmax", &[scores], Attrs::new())?;
        if boolean && self.fill == f32::NEG_INFINITY {
            let empty = calls.call("not_equal", &[weights.clone(), weights.clone()], Attrs::new())?;
            let zero = calls.constant(Tensor::scalar(0.0f32));
            weights = calls.call("where", &[empty, zero, weights], Attrs::new())?;
        }
        calls.call("matmul", &[weights, value], Attrs::new())
    }
}

/// Calls that are computed at once.
struct Evaluation;

impl Calls for Evaluation {
    type Value = Value;
    type Error = OpError;

    fn constant(&mut self, value: Tensor) -> Value {
        value.into()
    }

    fn call(&mut self, op: &'static str, inputs: &[Value], attrs: Attrs) -> Result<Value, OpError> {
        let op = lookup(op).ok_or_else(|| OpError::new(format!("there is no operator `{op}`")))?;
        let inputs: Vec<Option<Value>> = inputs.iter().cloned().map(Some).collect();
        let result = op.eval(&inputs, &attrs)?.into_iter().next();
        result.ok_or_else(|| OpError::new(format!("`{op}` has no output")))
    }
}

fn at_least_a_matrix(rank: usize) -> Result<(), OpError> {
    if rank < 2 {
        return Err(OpError::new(format!(
            "the query, key and value of attention have 2 dimensions or more, not {rank}"
        )));
    }
    Ok(())
}

fn swapped(shape: &Shape) -> Shape {
    let mut dims = shape.dims().to_vec();
    let n = dims.len();
    dims.swap(n - 2, n - 1);
    dims.into_iter().collect()
}

impl Operator for Attention {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "scaled_dot_product_attention",
                doc: "softmax(query * scale * key^T + attn_mask) * value (torch.nn.functional.scaled_dot_product_attention without dropout).",
                inputs: &[required("query"), required("key"), required("value"), optional("attn_mask")],
                attrs: &[
                    attr(
                        "scale",
                        AttrDefault::RequiredFloat,
                        "Factor of the scores; PyTorch's default is 1 / sqrt of the size of a query.",
                    ),
                    attr(
                        "fill",
                        AttrDefault::Float(f32::NEG_INFINITY),
                        "What a score becomes where a boolean mask is false.",
                    ),
                ],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        for i in 0..3 {
            cx.expect_dtype(i, &[DType::F32])?;
            at_least_a_matrix(cx.ty(i)?.shape.rank())?;
        }
        let mut scores = infer_matmul(&cx.ty(0)?.shape, &swapped(&cx.ty(1)?.shape))?;
        if let Some(mask) = cx.opt_ty(3) {
            cx.expect_dtype(3, &[DType::F32, DType::Bool])?;
            scores = broadcast_shapes(&scores, &mask.shape)?;
        }
        Ok(vec![TensorType { dtype: DType::F32, shape: infer_matmul(&scores, &cx.ty(2)?.shape)? }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        for i in 0..3 {
            at_least_a_matrix(cx.value(i)?.shape().len())?;
        }
        let mask = cx.opt_value(3).cloned();
        let composition = Composition {
            scale: cx.float("scale")?,
            fill: cx.float("fill")?,
            key_rank: cx.value(1)?.shape().len(),
            mask: mask.as_ref().map(|m| m.to_tensor().dtype()),
        };
        let inputs = [cx.value(0)?.clone(), cx.value(1)?.clone(), cx.value(2)?.clone()];
        Ok(vec![composition.build(&mut Evaluation, inputs, mask)?])
    }
}
