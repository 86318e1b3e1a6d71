//! Convolutions of quantized tensors.

use quantc_tensor::{DType, TensorType, Value};

use super::function::{ALPHA, APPROXIMATE, BETA, FUNCTION, NEGATIVE_SLOPE, infer_function};
use super::{
    ACTIVATION_MAX, ACTIVATION_MIN, ACTIVATION_TYPES, DTYPE, QUANT_MAX, QUANT_MIN, RESIDUAL_SCALE, RESIDUAL_ZERO_POINT,
    SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, dequantize_weight, dequantized_input, finish_with_function,
    infer_residual, infer_weight_scale, output_dtype, residual_input,
};
use crate::conv::{ConvParams, DILATION, GROUPS, PADDING, STRIDE, conv, infer_bias};
use crate::conv_transpose::{ConvTransposeParams, OUTPUT_PADDING, conv_transpose};
use crate::spec::{optional, required};
use crate::{EvalCx, InferCx, OpClass, OpError, Operator, Signature};

/// `quantized.conv1d`, `quantized.conv2d`, `quantized.conv3d`.
pub struct QConv {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! qconv {
    ($id:ident, $name:literal, $rank:literal, $doc:literal) => {
        #[doc = $doc]
        pub static $id: QConv = QConv {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: &[
                    required("input"),
                    required("weight"),
                    required("weight_scale"),
                    optional("bias"),
                    optional("residual"),
                ],
                attrs: &[
                    STRIDE,
                    PADDING,
                    DILATION,
                    GROUPS,
                    X_SCALE,
                    X_ZERO_POINT,
                    RESIDUAL_SCALE,
                    RESIDUAL_ZERO_POINT,
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                    ACTIVATION_MIN,
                    ACTIVATION_MAX,
                    FUNCTION,
                    NEGATIVE_SLOPE,
                    ALPHA,
                    BETA,
                    APPROXIMATE,
                ],
                class: OpClass::Heavy,
            },
            rank: $rank,
        };
    };
}
qconv!(
    QCONV1D,
    "quantized.conv1d",
    1,
    "quantize(function(clamp(conv1d(dequantize(input), dequantize(weight), bias) + dequantize(residual)))); the weight is i8 [OC, C/groups, k], its zero points 0."
);
qconv!(
    QCONV2D,
    "quantized.conv2d",
    2,
    "quantize(function(clamp(conv2d(dequantize(input), dequantize(weight), bias) + dequantize(residual)))); the weight is i8 [OC, C/groups, kh, kw], its zero points 0."
);
qconv!(
    QCONV3D,
    "quantized.conv3d",
    3,
    "quantize(function(clamp(conv3d(dequantize(input), dequantize(weight), bias) + dequantize(residual)))); the weight is i8 [OC, C/groups, kd, kh, kw], its zero points 0."
);

impl Operator for QConv {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        cx.expect_dtype(1, &[DType::I8])?;
        infer_weight_scale(cx, 2)?;
        infer_function(cx)?;
        let shape = ConvParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 3, &shape.dims()[1])?;
        let shape = infer_residual(cx, 4, shape)?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let w = dequantize_weight(&cx.tensor(1)?, &cx.tensor(2)?, 0)?;
        let y = conv(&x, &w, cx.opt_tensor(3).as_ref(), &ConvParams::from_eval(self.rank, cx)?)?;
        let residual = residual_input(cx, 4)?;
        Ok(vec![finish_with_function(cx, y, residual)?])
    }
}

/// `quantized.conv_transpose1d`, `quantized.conv_transpose2d`, `quantized.conv_transpose3d`.
pub struct QConvTranspose {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! qconv_transpose {
    ($id:ident, $name:literal, $rank:literal, $doc:literal) => {
        #[doc = $doc]
        pub static $id: QConvTranspose = QConvTranspose {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: &[required("input"), required("weight"), required("weight_scale"), optional("bias")],
                attrs: &[
                    STRIDE,
                    PADDING,
                    OUTPUT_PADDING,
                    DILATION,
                    GROUPS,
                    X_SCALE,
                    X_ZERO_POINT,
                    SCALE,
                    ZERO_POINT,
                    DTYPE,
                    QUANT_MIN,
                    QUANT_MAX,
                    ACTIVATION_MIN,
                    ACTIVATION_MAX,
                    FUNCTION,
                    NEGATIVE_SLOPE,
                    ALPHA,
                    BETA,
                    APPROXIMATE,
                ],
                class: OpClass::Heavy,
            },
            rank: $rank,
        };
    };
}
qconv_transpose!(
    QCONV_TRANSPOSE1D,
    "quantized.conv_transpose1d",
    1,
    "quantize(function(clamp(conv_transpose1d(dequantize(input), dequantize(weight), bias)))); the weight is i8 [C, OC/groups, k], one scale or one for each index of axis 1."
);
qconv_transpose!(
    QCONV_TRANSPOSE2D,
    "quantized.conv_transpose2d",
    2,
    "quantize(function(clamp(conv_transpose2d(dequantize(input), dequantize(weight), bias)))); the weight is i8 [C, OC/groups, kh, kw], one scale or one for each index of axis 1."
);
qconv_transpose!(
    QCONV_TRANSPOSE3D,
    "quantized.conv_transpose3d",
    3,
    "quantize(function(clamp(conv_transpose3d(dequantize(input), dequantize(weight), bias)))); the weight is i8 [C, OC/groups, kd, kh, kw], one scale or one for each index of axis 1."
);

impl Operator for QConvTranspose {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        cx.expect_dtype(1, &[DType::I8])?;
        infer_weight_scale(cx, 2)?;
        infer_function(cx)?;
        let shape = ConvTransposeParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 3, &shape.dims()[1])?;
        Ok(vec![TensorType { dtype: output_dtype(cx)?, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let w = dequantize_weight(&cx.tensor(1)?, &cx.tensor(2)?, 1)?;
        let params = ConvTransposeParams::from_eval(self.rank, cx)?;
        let y = conv_transpose(&x, &w, cx.opt_tensor(3).as_ref(), &params)?;
        Ok(vec![finish_with_function(cx, y, None)?])
    }
}
