//! Functions of one element.

use quantc_tensor::{DType, Tensor, TensorType, Value, math};

use crate::activation::UNARY_INPUT;
use crate::spec::attr;
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

/// A function of one f32 and up to two parameters.
pub struct Unary {
    sig: &'static Signature,
    map: fn(&EvalCx<'_>, &[f32]) -> Result<Vec<f32>, OpError>,
}

impl Operator for Unary {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let y = (self.map)(cx, x.slice::<f32>()?)?;
        Ok(vec![Tensor::from_vec(x.shape(), y)?.into()])
    }
}

macro_rules! unary {
    ($id:ident, $name:literal, $doc:literal, $f:expr) => {
        unary!($id, $name, $doc, &[], |_| Ok(()), |x, ()| $f(x));
    };
    ($id:ident, $name:literal, $doc:literal, $attrs:expr, $read:expr, $f:expr) => {
        #[doc = $doc]
        pub static $id: Unary = Unary {
            sig: &Signature { name: $name, doc: $doc, inputs: UNARY_INPUT, attrs: $attrs, class: OpClass::Unary },
            map: |cx, x| {
                let read: fn(&EvalCx<'_>) -> Result<_, OpError> = $read;
                let p = read(cx)?;
                let f = $f;
                Ok(x.iter().map(|&v| f(v, p)).collect())
            },
        };
    };
}

const ALPHA_1: &[AttrSpec] = &[attr("alpha", AttrDefault::Float(1.0), "Factor of the negative side.")];
const SLOPE: &[AttrSpec] = &[attr("negative_slope", AttrDefault::Float(0.01), "Factor of negative inputs.")];
const THRESHOLDS: &[AttrSpec] = &[
    attr("threshold", AttrDefault::Float(0.0), "What an input must exceed to stay."),
    attr("value", AttrDefault::Float(0.0), "What the others become."),
];
const APPROXIMATE: &[AttrSpec] =
    &[attr("approximate", AttrDefault::Str("none", &["none", "tanh"]), "`none` (erf) or `tanh`.")];
const HARDSIGMOID: &[AttrSpec] = &[
    attr("alpha", AttrDefault::Float(1.0 / 6.0), "Slope (ONNX)."),
    attr("beta", AttrDefault::Float(0.5), "Value at 0 (ONNX)."),
];

unary!(SIGMOID, "sigmoid", "1 / (1 + e^-x) (torch.sigmoid).", math::sigmoid_f32);
unary!(TANH, "tanh", "Hyperbolic tangent (torch.tanh).", math::tanh_f32);
unary!(HARDSWISH, "hardswish", "x * relu6(x + 3) / 6 (torch.nn.functional.hardswish).", math::hardswish_f32);
unary!(SILU, "silu", "x * sigmoid(x), also called swish (torch.nn.functional.silu).", math::silu_f32);
unary!(MISH, "mish", "x * tanh(softplus(x)) (torch.nn.functional.mish).", math::mish_f32);
unary!(SOFTPLUS, "softplus", "ln(1 + e^x) (torch.nn.functional.softplus).", math::softplus_f32);
unary!(ERF, "erf", "The error function (torch.erf).", math::erf_f32);
unary!(EXP, "exp", "e^x (torch.exp).", math::exp_f32);
unary!(LOG, "log", "Natural logarithm (torch.log).", math::log_f32);
unary!(SQRT, "sqrt", "Square root (torch.sqrt).", f32::sqrt);
unary!(RSQRT, "rsqrt", "1 / sqrt(x) (torch.rsqrt).", math::rsqrt_f32);
unary!(RECIPROCAL, "reciprocal", "1 / x (torch.reciprocal).", |x: f32| 1.0 / x);
unary!(FLOOR, "floor", "Largest integer not above x (torch.floor).", f32::floor);
unary!(CEIL, "ceil", "Smallest integer not below x (torch.ceil).", f32::ceil);
unary!(ROUND, "round", "Nearest integer, half to even (torch.round).", f32::round_ties_even);
unary!(SIN, "sin", "Sine (torch.sin).", math::sin_f32);
unary!(COS, "cos", "Cosine (torch.cos).", math::cos_f32);
unary!(
    LEAKY_RELU,
    "leaky_relu",
    "x, or negative_slope * x below 0 (torch.nn.functional.leaky_relu).",
    SLOPE,
    |cx| cx.float("negative_slope"),
    math::leaky_relu_f32
);
unary!(
    ELU,
    "elu",
    "x, or alpha * (e^x - 1) below 0 (torch.nn.functional.elu).",
    ALPHA_1,
    |cx| cx.float("alpha"),
    math::elu_f32
);
unary!(
    CELU,
    "celu",
    "x, or alpha * (e^(x / alpha) - 1) below 0 (torch.nn.functional.celu).",
    ALPHA_1,
    |cx| cx.float("alpha"),
    math::celu_f32
);
unary!(
    THRESHOLD,
    "threshold",
    "x above the threshold, else a value (torch.nn.functional.threshold).",
    THRESHOLDS,
    |cx| Ok((cx.float("threshold")?, cx.float("value")?)),
    math::threshold_f32
);
unary!(
    ROUND_TO_HALF,
    "round_to_half",
    "The nearest IEEE binary16 number, half to even, as f32 (torch.Tensor.to(float16) and back).",
    &[attr("saturate", AttrDefault::Bool(false), "Whether what is too large becomes 65504 instead of infinite.")],
    |cx| cx.bool("saturate"),
    math::round_to_half_f32
);
unary!(
    HARDSIGMOID_OP,
    "hardsigmoid",
    "relu6(x + 3) / 6 (torch.nn.functional.hardsigmoid); with other attributes clamp(alpha * x + beta, 0, 1) (ONNX HardSigmoid).",
    HARDSIGMOID,
    |cx| Ok((cx.float("alpha")?, cx.float("beta")?)),
    math::hardsigmoid_with_f32
);
unary!(
    GELU,
    "gelu",
    "x * Phi(x) with the normal distribution function, exactly or by tanh (torch.nn.functional.gelu).",
    APPROXIMATE,
    |cx| match cx.str("approximate")?.as_str() {
        "none" => Ok(false),
        "tanh" => Ok(true),
        other => Err(OpError::new(format!("`approximate` of `gelu` can't be {other:?}")).with_hint("none or tanh")),
    },
    |x, tanh| if tanh { math::gelu_tanh_f32(x) } else { math::gelu_f32(x) }
);

/// `neg`, `abs` and `sign`, of floats and integers.
pub struct Signed {
    sig: &'static Signature,
    float: fn(f32) -> f32,
    int: fn(i64) -> i64,
}

macro_rules! signed {
    ($id:ident, $name:literal, $doc:literal, $float:expr, $int:expr) => {
        #[doc = $doc]
        pub static $id: Signed = Signed {
            sig: &Signature { name: $name, doc: $doc, inputs: UNARY_INPUT, attrs: &[], class: OpClass::Unary },
            float: $float,
            int: $int,
        };
    };
}
signed!(NEG, "neg", "-x (torch.neg).", |x| -x, i64::wrapping_neg);
signed!(ABS, "abs", "|x| (torch.abs).", f32::abs, i64::wrapping_abs);
signed!(SIGN, "sign", "-1, 0 or 1; NaN stays NaN (torch.sign).", math::sign_f32, i64::signum);

impl Operator for Signed {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32, DType::I32, DType::I64])?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let y = match &x {
            Tensor::F32(d) => Tensor::from_vec(x.shape(), d.iter().map(|&v| (self.float)(v)).collect())?,
            Tensor::I64(d) => Tensor::from_vec(x.shape(), d.iter().map(|&v| (self.int)(v)).collect())?,
            Tensor::I32(d) => {
                Tensor::from_vec(x.shape(), d.iter().map(|&v| (self.int)(i64::from(v)) as i32).collect())?
            }
            other => return Err(OpError::new(format!("`{}` of {}", self.sig.name, other.dtype()))),
        };
        Ok(vec![y.into()])
    }
}

/// `identity` and `dropout`: the value itself.
pub struct Identity {
    pub(crate) sig: &'static Signature,
}

/// `identity`.
pub static IDENTITY: Identity = Identity {
    sig: &Signature {
        name: "identity",
        doc: "x (torch.nn.Identity).",
        inputs: UNARY_INPUT,
        attrs: &[],
        class: OpClass::Unary,
    },
};

/// `dropout`.
pub static DROPOUT: Identity = Identity {
    sig: &Signature {
        name: "dropout",
        doc: "x: dropout does nothing outside training (torch.nn.Dropout in eval mode).",
        inputs: UNARY_INPUT,
        attrs: &[attr("p", AttrDefault::Float(0.5), "Probability in training; unused.")],
        class: OpClass::Unary,
    },
};

impl Operator for Identity {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::HandedOn
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![cx.value(0)?.clone()])
    }
}

/// `not`.
pub struct Not;

impl Operator for Not {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "not",
                doc: "Logical negation (torch.logical_not).",
                inputs: UNARY_INPUT,
                attrs: &[],
                class: OpClass::Unary,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::Bool])?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        Ok(vec![Tensor::from_vec(x.shape(), x.slice::<bool>()?.iter().map(|v| !v).collect())?.into()])
    }
}
