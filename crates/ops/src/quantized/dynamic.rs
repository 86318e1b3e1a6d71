//! Products whose input is quantized over its own range when the graph runs: f32 in and out.

use quantc_tensor::{DType, Dim, TensorType, Value};

use super::{ACTIVATION_MAX, ACTIVATION_MIN, dequantize_weight, infer_weight_scale};
use crate::activation::clamp_value;
use crate::conv::{ConvParams, DILATION, GROUPS, PADDING, STRIDE, conv, infer_bias};
use crate::conv_transpose::{ConvTransposeParams, OUTPUT_PADDING, conv_transpose};
use crate::linear::{infer_linear, linear};
use crate::quantize::dynamic_quantize;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, InputSpec, IntegerUse, OpClass, OpError, Operator, Signature};

const REDUCE_RANGE: AttrSpec =
    attr("reduce_range", AttrDefault::Bool(false), "Half the range of the input's integers.");

const INPUTS: &[InputSpec] = &[required("input"), required("weight"), required("weight_scale"), optional("bias")];

/// Fails unless input, weight and weight scales have the types of a dynamically quantized product.
fn infer_inputs(cx: &InferCx<'_>) -> Result<(), OpError> {
    cx.expect_dtype(0, &[DType::F32])?;
    cx.expect_dtype(1, &[DType::I8])?;
    infer_weight_scale(cx, 2)
}

/// The input by its own range, and the weight with a scale for each index of `axis`.
fn operands(cx: &EvalCx<'_>, axis: usize) -> Result<(Value, Value), OpError> {
    let x = dynamic_quantize(&cx.tensor(0)?, DType::U8, cx.bool("reduce_range")?)?;
    Ok((x, dequantize_weight(&cx.tensor(1)?, &cx.tensor(2)?, axis)?))
}

/// The real result of a product, clamped. Its scale is only known when the graph runs.
fn finish(cx: &EvalCx<'_>, y: &Value) -> Result<Vec<Value>, OpError> {
    let y = clamp_value(y, cx.float("activation_min")?, cx.float("activation_max")?)?;
    Ok(vec![y.to_tensor().into()])
}

/// `quantized.linear_dynamic`.
pub struct QLinearDynamic;

impl Operator for QLinearDynamic {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "quantized.linear_dynamic",
                doc: "clamp(linear(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [out, in], its zero points 0.",
                inputs: INPUTS,
                attrs: &[REDUCE_RANGE, ACTIVATION_MIN, ACTIVATION_MAX],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        infer_inputs(cx)?;
        let shape = infer_linear(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 3, shape.dims().last().unwrap_or(&Dim::Unknown))?;
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = operands(cx, 0)?;
        finish(cx, &linear(&x, &w, cx.opt_tensor(3).as_ref())?)
    }
}

/// `quantized.conv1d_dynamic`, `quantized.conv2d_dynamic`, `quantized.conv3d_dynamic`.
pub struct QConvDynamic {
    sig: &'static Signature,
    rank: usize,
}

/// `quantized.conv_transpose1d_dynamic`, `quantized.conv_transpose2d_dynamic`, `quantized.conv_transpose3d_dynamic`.
pub struct QConvTransposeDynamic {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! dynamic {
    ($ty:ident, $id:ident, $name:literal, $rank:literal, [$($attr:ident),*], $doc:literal) => {
        #[doc = $doc]
        pub static $id: $ty = $ty {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: INPUTS,
                attrs: &[$($attr,)* REDUCE_RANGE, ACTIVATION_MIN, ACTIVATION_MAX],
                class: OpClass::Heavy,
            },
            rank: $rank,
        };
    };
}
dynamic!(
    QConvDynamic,
    QCONV1D_DYNAMIC,
    "quantized.conv1d_dynamic",
    1,
    [STRIDE, PADDING, DILATION, GROUPS],
    "clamp(conv1d(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [OC, C/groups, k], its zero points 0."
);
dynamic!(
    QConvDynamic,
    QCONV2D_DYNAMIC,
    "quantized.conv2d_dynamic",
    2,
    [STRIDE, PADDING, DILATION, GROUPS],
    "clamp(conv2d(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [OC, C/groups, kh, kw], its zero points 0."
);
dynamic!(
    QConvDynamic,
    QCONV3D_DYNAMIC,
    "quantized.conv3d_dynamic",
    3,
    [STRIDE, PADDING, DILATION, GROUPS],
    "clamp(conv3d(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [OC, C/groups, kd, kh, kw], its zero points 0."
);
dynamic!(
    QConvTransposeDynamic,
    QCONV_TRANSPOSE1D_DYNAMIC,
    "quantized.conv_transpose1d_dynamic",
    1,
    [STRIDE, PADDING, OUTPUT_PADDING, DILATION, GROUPS],
    "clamp(conv_transpose1d(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [C, OC/groups, k], one scale or one for each index of axis 1."
);
dynamic!(
    QConvTransposeDynamic,
    QCONV_TRANSPOSE2D_DYNAMIC,
    "quantized.conv_transpose2d_dynamic",
    2,
    [STRIDE, PADDING, OUTPUT_PADDING, DILATION, GROUPS],
    "clamp(conv_transpose2d(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [C, OC/groups, kh, kw], one scale or one for each index of axis 1."
);
dynamic!(
    QConvTransposeDynamic,
    QCONV_TRANSPOSE3D_DYNAMIC,
    "quantized.conv_transpose3d_dynamic",
    3,
    [STRIDE, PADDING, OUTPUT_PADDING, DILATION, GROUPS],
    "clamp(conv_transpose3d(dynamic_quantize_dequantize(input), dequantize(weight), bias)), f32 in and out; the weight is i8 [C, OC/groups, kd, kh, kw], one scale or one for each index of axis 1."
);

impl Operator for QConvDynamic {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        infer_inputs(cx)?;
        let shape = ConvParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 3, &shape.dims()[1])?;
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = operands(cx, 0)?;
        finish(cx, &conv(&x, &w, cx.opt_tensor(3).as_ref(), &ConvParams::from_eval(self.rank, cx)?)?)
    }
}

impl Operator for QConvTransposeDynamic {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        infer_inputs(cx)?;
        let shape = ConvTransposeParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 3, &shape.dims()[1])?;
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Unseen
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = operands(cx, 1)?;
        finish(cx, &conv_transpose(&x, &w, cx.opt_tensor(3).as_ref(), &ConvTransposeParams::from_eval(self.rank, cx)?)?)
    }
}
