//! Products of integer tensors with i32 results: what a linear layer or convolution of quantized tensors is without its scales (torch
//! `out_dtype(aten.linear, int32, ..)`).

use quantc_tensor::{DType, Shape, Tensor, TensorType, Value};

use crate::conv::{ConvParams, DILATION, GROUPS, PADDING, STRIDE};
use crate::dims::numel;
use crate::float::conv::Channels;
use crate::integer::{Right, conv_i32, matmul_i32};
use crate::linear::infer_linear;
use crate::spec::required;
use crate::window::spatial;
use crate::{EvalCx, InferCx, InputSpec, OpClass, OpError, Operator, Signature};

const INPUTS: &[InputSpec] = &[required("input"), required("weight")];
const INTEGERS: &[DType] = &[DType::U8, DType::I8, DType::I16, DType::I32];

/// `integer.linear`.
pub struct IntegerLinear;

/// The two operands as i32.
fn operands(cx: &EvalCx<'_>) -> Result<(Tensor, Tensor), OpError> {
    Ok((cx.tensor(0)?.cast(DType::I32), cx.tensor(1)?.cast(DType::I32)))
}

impl Operator for IntegerLinear {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "integer.linear",
                doc: "x * weight^T of integers, weight [out, in]; i32, wrapping (torch out_dtype of aten.linear with int32).",
                inputs: INPUTS,
                attrs: &[],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, INTEGERS)?;
        cx.expect_dtype(1, INTEGERS)?;
        let shape = infer_linear(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: DType::I32, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = operands(cx)?;
        let shape = infer_linear(&Shape::known(x.shape()), &Shape::known(w.shape()))?.to_known().unwrap_or_default();
        let (outputs, inputs) = (w.shape()[0], w.shape()[1]);
        let mut acc = vec![0; numel(&shape)?];
        let rows = acc.len().checked_div(outputs).unwrap_or(0);
        matmul_i32(x.slice()?, w.slice()?, Right::Transposed, rows, inputs, outputs, &mut acc);
        Ok(vec![Tensor::from_vec(&shape, acc)?.into()])
    }
}

/// `integer.conv1d`, `integer.conv2d`, `integer.conv3d`.
pub struct IntegerConv {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! conv {
    ($id:ident, $name:literal, $rank:literal, $doc:literal) => {
        #[doc = $doc]
        pub static $id: IntegerConv = IntegerConv {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: INPUTS,
                attrs: &[STRIDE, PADDING, DILATION, GROUPS],
                class: OpClass::Heavy,
            },
            rank: $rank,
        };
    };
}
conv!(
    INTEGER_CONV1D,
    "integer.conv1d",
    1,
    "Convolution of integers over one spatial dimension; i32, wrapping (torch out_dtype of aten.convolution with int32)."
);
conv!(
    INTEGER_CONV2D,
    "integer.conv2d",
    2,
    "Convolution of integers over two spatial dimensions; i32, wrapping (torch out_dtype of aten.convolution with int32)."
);
conv!(
    INTEGER_CONV3D,
    "integer.conv3d",
    3,
    "Convolution of integers over three spatial dimensions; i32, wrapping (torch out_dtype of aten.convolution with int32)."
);

impl Operator for IntegerConv {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, INTEGERS)?;
        cx.expect_dtype(1, INTEGERS)?;
        let shape = ConvParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: DType::I32, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let params = ConvParams::from_eval(self.rank, cx)?;
        let (x, w) = operands(cx)?;
        let shape = params.infer(&Shape::known(x.shape()), &Shape::known(w.shape()))?.to_known().unwrap_or_default();
        numel(&shape)?;
        let grid = params.window(&w.shape()[2..])?.over(spatial(x.shape(), self.rank), false)?;
        let channels = Channels { input: x.shape()[1], output: w.shape()[0], groups: params.groups };
        let acc = conv_i32(x.shape()[0], x.slice()?, w.slice()?, channels, &grid);
        Ok(vec![Tensor::from_vec(&shape, acc)?.into()])
    }
}
