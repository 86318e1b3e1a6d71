//! Operators that are their float form between dequantize and quantize: averages, normalisations, resampling.

use quantc_tensor::{DType, TensorType, Value};

use super::{
    ACTIVATION_TYPES, DTYPE, Output, QUANT_MAX, QUANT_MIN, SCALE, X_SCALE, X_ZERO_POINT, ZERO_POINT, dequantized_input,
    output_dtype,
};
use crate::activation::UNARY_INPUT;
use crate::norm::{AFFINE, AXIS, EPS, GROUP_NORM, INSTANCE_NORM, LayerNorm, NUM_GROUPS};
use crate::pool::{
    ADAPTIVE_AVG_POOL1D, ADAPTIVE_AVG_POOL2D, ADAPTIVE_AVG_POOL3D, AVG_POOL_ATTRS, AVG_POOL1D, AVG_POOL2D, AVG_POOL3D,
    OUTPUT_SIZE,
};
use crate::resize::{INTERPOLATE_ATTRS, Interpolate};
use crate::{EvalCx, InferCx, InputInfo, OpClass, OpError, Operator, Signature};

/// `quantize(float(dequantize(input), ..))`; the other inputs are those of the float operator.
pub struct Composed {
    sig: &'static Signature,
    float: &'static dyn Operator,
}

macro_rules! composed {
    ($id:ident, $name:literal, $doc:literal, $float:expr, $inputs:expr, [$($attr:expr),* $(,)?], $class:expr) => {
        #[doc = concat!("`", $name, "`.")]
        pub static $id: Composed = Composed {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: $inputs,
                attrs: &[$($attr,)* X_SCALE, X_ZERO_POINT, SCALE, ZERO_POINT, DTYPE, QUANT_MIN, QUANT_MAX],
                class: $class,
            },
            float: $float,
        };
    };
}

macro_rules! average_pool {
    ($id:ident, $name:literal, $doc:literal, $float:expr) => {
        composed!(
            $id,
            $name,
            $doc,
            $float,
            UNARY_INPUT,
            [AVG_POOL_ATTRS[0], AVG_POOL_ATTRS[1], AVG_POOL_ATTRS[2], AVG_POOL_ATTRS[3], AVG_POOL_ATTRS[4]],
            OpClass::Pool
        );
    };
}

average_pool!(QAVG_POOL1D, "quantized.avg_pool1d", "quantize(avg_pool1d(dequantize(input))).", &AVG_POOL1D);
average_pool!(
    QAVG_POOL2D,
    "quantized.avg_pool2d",
    "quantize(avg_pool2d(dequantize(input))) (torch.ao.nn.quantized.functional.avg_pool2d).",
    &AVG_POOL2D
);
average_pool!(
    QAVG_POOL3D,
    "quantized.avg_pool3d",
    "quantize(avg_pool3d(dequantize(input))) (torch.ao.nn.quantized.functional.avg_pool3d).",
    &AVG_POOL3D
);
composed!(
    QADAPTIVE_AVG_POOL1D,
    "quantized.adaptive_avg_pool1d",
    "quantize(adaptive_avg_pool1d(dequantize(input))).",
    &ADAPTIVE_AVG_POOL1D,
    UNARY_INPUT,
    [OUTPUT_SIZE],
    OpClass::Pool
);
composed!(
    QADAPTIVE_AVG_POOL2D,
    "quantized.adaptive_avg_pool2d",
    "quantize(adaptive_avg_pool2d(dequantize(input))) (torch.ao.nn.quantized.functional.adaptive_avg_pool2d).",
    &ADAPTIVE_AVG_POOL2D,
    UNARY_INPUT,
    [OUTPUT_SIZE],
    OpClass::Pool
);
composed!(
    QADAPTIVE_AVG_POOL3D,
    "quantized.adaptive_avg_pool3d",
    "quantize(adaptive_avg_pool3d(dequantize(input))) (torch.ao.nn.quantized.functional.adaptive_avg_pool3d).",
    &ADAPTIVE_AVG_POOL3D,
    UNARY_INPUT,
    [OUTPUT_SIZE],
    OpClass::Pool
);
composed!(
    QLAYER_NORM,
    "quantized.layer_norm",
    "quantize(layer_norm(dequantize(input), weight, bias)); the parameters are f32 (torch.ao.nn.quantized.LayerNorm).",
    &LayerNorm,
    AFFINE,
    [AXIS, EPS],
    OpClass::Reduction
);
composed!(
    QGROUP_NORM,
    "quantized.group_norm",
    "quantize(group_norm(dequantize(input), weight, bias)); the parameters are f32 (torch.ao.nn.quantized.GroupNorm).",
    &GROUP_NORM,
    AFFINE,
    [NUM_GROUPS, EPS],
    OpClass::Reduction
);
composed!(
    QINSTANCE_NORM,
    "quantized.instance_norm",
    "quantize(instance_norm(dequantize(input), weight, bias)); the parameters are f32 (torch.ao.nn.quantized.InstanceNorm1d, 2d, 3d).",
    &INSTANCE_NORM,
    AFFINE,
    [EPS],
    OpClass::Reduction
);
composed!(
    QINTERPOLATE,
    "quantized.interpolate",
    "quantize(interpolate(dequantize(input))) (torch.ao.nn.quantized.functional.interpolate, upsample, upsample_bilinear).",
    &Interpolate,
    UNARY_INPUT,
    [INTERPOLATE_ATTRS[0], INTERPOLATE_ATTRS[1], INTERPOLATE_ATTRS[2], INTERPOLATE_ATTRS[3], INTERPOLATE_ATTRS[4]],
    OpClass::Other
);

impl Operator for Composed {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, ACTIVATION_TYPES)?;
        let dtype = output_dtype(cx)?;
        let real = |i: usize| {
            let ty = cx.opt_ty(i)?.clone();
            Some(InputInfo { ty: if i == 0 { TensorType { dtype: DType::F32, ..ty } } else { ty }, value: None })
        };
        let inputs: Vec<Option<InputInfo<'_>>> = (0..cx.len()).map(real).collect();
        let types = self.float.infer(&InferCx::new(self.float.signature(), &inputs, cx.attrs()))?;
        Ok(types.into_iter().map(|ty| TensorType { dtype, ..ty }).collect())
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let first = dequantized_input(cx, 0, "x_scale", "x_zero_point")?;
        let others = (1..cx.len()).map(|i| cx.opt_value(i).cloned());
        let inputs: Vec<Option<Value>> = std::iter::once(Some(first)).chain(others).collect();
        let results = self.float.eval(&EvalCx::new(self.float.signature(), &inputs, cx.attrs()))?;
        let output = Output::from_eval(cx)?;
        results.iter().map(|v| output.store(v)).collect()
    }
}
