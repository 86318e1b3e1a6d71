//! Convolution.

use quantc_tensor::scaled::quantize_bias;
use quantc_tensor::{DType, Dim, Integers, Scale, ScaledInt, Shape, Tensor, TensorType, Value};

use crate::float::conv::{Channels, conv_nchw};
use crate::integer::conv_i32;
use crate::spec::{attr, optional, required};
use crate::window::{Window, spatial};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, InputSpec, IntegerUse, OpClass, OpError, Operator, Signature};

/// Inputs of every convolution.
pub(crate) const CONV_INPUTS: &[InputSpec] = &[required("input"), required("weight"), optional("bias")];

pub(crate) const STRIDE: AttrSpec =
    attr("stride", AttrDefault::Ints(&[]), "Step of the window; empty is 1 everywhere.");
pub(crate) const PADDING: AttrSpec = attr(
    "padding",
    AttrDefault::Ints(&[]),
    "Zeros around the input: one entry for each spatial dimension, or all before, then all after (ONNX order).",
);
pub(crate) const DILATION: AttrSpec =
    attr("dilation", AttrDefault::Ints(&[]), "Step between elements of a window; empty is 1 everywhere.");
pub(crate) const GROUPS: AttrSpec = attr("groups", AttrDefault::Int(1), "Groups of channels convolved separately.");

/// `conv1d`, `conv2d`, `conv3d`.
pub struct Conv {
    sig: &'static Signature,
    rank: usize,
}

macro_rules! conv {
    ($id:ident, $name:literal, $rank:literal, $doc:literal) => {
        #[doc = $doc]
        pub static $id: Conv = Conv {
            sig: &Signature {
                name: $name,
                doc: $doc,
                inputs: CONV_INPUTS,
                attrs: &[STRIDE, PADDING, DILATION, GROUPS],
                class: OpClass::Heavy,
            },
            rank: $rank,
        };
    };
}
conv!(CONV1D, "conv1d", 1, "Convolution over one spatial dimension (torch.nn.functional.conv1d, ONNX Conv).");
conv!(CONV2D, "conv2d", 2, "Convolution over two spatial dimensions (torch.nn.functional.conv2d, ONNX Conv).");
conv!(CONV3D, "conv3d", 3, "Convolution over three spatial dimensions (torch.nn.functional.conv3d, ONNX Conv).");

/// Stride, padding, dilation and groups of a call.
#[derive(Clone, Debug)]
pub struct ConvParams {
    /// Spatial dimensions.
    pub rank: usize,
    /// `stride`.
    pub stride: Vec<i64>,
    /// `padding`.
    pub padding: Vec<i64>,
    /// `dilation`.
    pub dilation: Vec<i64>,
    /// `groups`, at least 1.
    pub groups: usize,
}

impl ConvParams {
    fn new(
        rank: usize,
        ints: impl Fn(&str) -> Result<Vec<i64>, OpError>,
        groups: Result<i64, OpError>,
    ) -> Result<Self, OpError> {
        let groups = groups?;
        let count = usize::try_from(groups).ok().filter(|&g| g > 0);
        Ok(ConvParams {
            rank,
            stride: ints("stride")?,
            padding: ints("padding")?,
            dilation: ints("dilation")?,
            groups: count.ok_or_else(|| OpError::new(format!("`groups` can't be {groups}")))?,
        })
    }

    /// The attributes of a call being typed.
    ///
    /// # Errors
    /// If an attribute is missing or out of range.
    pub fn from_infer(rank: usize, cx: &InferCx<'_>) -> Result<Self, OpError> {
        ConvParams::new(rank, |name| cx.ints(name), cx.int("groups"))
    }

    /// The attributes of a call being evaluated.
    ///
    /// # Errors
    /// If an attribute is missing or out of range.
    pub fn from_eval(rank: usize, cx: &EvalCx<'_>) -> Result<Self, OpError> {
        ConvParams::new(rank, |name| cx.ints(name), cx.int("groups"))
    }

    /// The window of a kernel of these sizes.
    ///
    /// # Errors
    /// If an attribute has the wrong length or an entry is out of range.
    pub fn window(&self, kernel: &[usize]) -> Result<Window, OpError> {
        Window::new(kernel, &self.stride, &vec![1; self.rank], &self.padding, &self.dilation)
    }

    /// Shape of the result; `x` is `[N, C, ...]`, `w` is `[OC, C / groups, ...]`.
    ///
    /// # Errors
    /// If the known sizes do not fit together.
    pub fn infer(&self, x: &Shape, w: &Shape) -> Result<Shape, OpError> {
        let rank = self.rank;
        if x.rank() != rank + 2 || w.rank() != rank + 2 {
            return Err(OpError::new(format!(
                "a convolution over {rank} dimensions takes {} dimensions, not input {x} and weight {w}",
                rank + 2
            )));
        }
        if let (Dim::Known(c), Dim::Known(gin)) = (&x.dims()[1], &w.dims()[1])
            && gin.checked_mul(self.groups) != Some(*c)
        {
            return Err(OpError::new(format!(
                "input {x} has {c} channels, weight {w} with groups={} needs {}",
                self.groups,
                gin.saturating_mul(self.groups)
            )));
        }
        if w.dims()[0].known().is_some_and(|oc| oc % self.groups != 0) {
            return Err(OpError::new(format!(
                "the output channels of weight {w} are no multiple of groups={}",
                self.groups
            )));
        }
        let kernel: Option<Vec<usize>> = w.dims()[2..].iter().map(Dim::known).collect();
        let mut out = vec![x.dims()[0].clone(), w.dims()[0].clone()];
        match kernel {
            None => out.extend((0..rank).map(|_| Dim::Unknown)),
            Some(kernel) => {
                let window = self.window(&kernel)?;
                for d in 0..rank {
                    out.push(window.count_dim(3 - rank + d, &x.dims()[2 + d], false)?);
                }
            }
        }
        Ok(out.into_iter().collect())
    }

    fn eval(&self, x: &Value, w: &Value, bias: Option<&Tensor>) -> Result<Value, OpError> {
        let (xs, ws) = (x.shape(), w.shape());
        let shape = self.infer(&Shape::known(xs), &Shape::known(ws))?.to_known().unwrap_or_default();
        crate::dims::numel(&shape)?;
        let window = self.window(&ws[2..])?;
        let grid = window.over(spatial(xs, self.rank), false)?;
        let channels = Channels { input: xs[1], output: ws[0], groups: self.groups };
        check_bias(bias, ws[0])?;
        if let Some((xi, sx, wi)) = exact_operands(x, w, Some(0)) {
            let mut acc = conv_i32(xs[0], xi.ints.slice()?, wi.ints.slice()?, channels, &grid);
            let scale = product_scale(sx, &wi.scale, 1);
            add_bias_i32(&mut acc, bias, sx, &wi.scale, grid.out_len())?;
            return product(&shape, acc, scale, xi);
        }
        let (x, w) = (x.to_tensor(), w.to_tensor());
        let bias = bias.map(|b| b.slice::<f32>()).transpose()?;
        let out = conv_nchw(x.shape()[0], x.slice()?, w.slice()?, bias, channels, &grid);
        Ok(Tensor::from_vec(&shape, out)?.into())
    }
}

/// Convolution of values: exact on integers if both operands are scaled (see [`exact_operands`]), else in f32.
///
/// # Errors
/// If sizes or types do not fit.
pub fn conv(x: &Value, w: &Value, bias: Option<&Tensor>, params: &ConvParams) -> Result<Value, OpError> {
    params.eval(x, w, bias)
}

/// The operands of an exact integer product: an activation with one scale and a weight with one scale or one for each index of
/// `weight_axis`, both codes without a pending clamp. Gives the activation, its scale, and the weight.
pub fn exact_operands<'a>(
    x: &'a Value,
    w: &'a Value,
    weight_axis: Option<usize>,
) -> Option<(&'a ScaledInt, f32, &'a ScaledInt)> {
    let (Value::Scaled(xi), Value::Scaled(wi)) = (x, w) else { return None };
    let Scale::PerTensor(sx) = xi.scale else { return None };
    let axis_fits = match &wi.scale {
        Scale::PerTensor(_) => true,
        Scale::PerChannel { axis, .. } => Some(*axis) == weight_axis,
    };
    let codes = |v: &ScaledInt| v.clamp == ScaledInt::UNCLAMPED && v.integers != Integers::Sums;
    let plain = codes(xi) && codes(wi);
    (plain && axis_fits).then_some((xi, sx, wi))
}

/// The scale of a product: `s_x * s_w`, for each output channel along `axis` if the weight has a scale for each.
pub fn product_scale(sx: f32, weight: &Scale, axis: usize) -> Scale {
    match weight {
        Scale::PerTensor(sw) => Scale::PerTensor(sx * sw),
        Scale::PerChannel { scales, .. } => {
            Scale::PerChannel { axis, scales: scales.iter().map(|sw| sx * sw).collect() }
        }
    }
}

/// Adds the bias, quantized at the product's scale, to accumulators in which the channel advances every `inner` elements.
///
/// # Errors
/// If the bias is not f32.
pub(crate) fn add_bias_i32(
    acc: &mut [i32],
    bias: Option<&Tensor>,
    sx: f32,
    weight: &Scale,
    inner: usize,
) -> Result<(), OpError> {
    let Some(bias) = bias else { return Ok(()) };
    let ints: Vec<i32> = bias
        .slice::<f32>()?
        .iter()
        .enumerate()
        .map(|(c, &b)| match weight {
            Scale::PerTensor(sw) => quantize_bias(b, sx, *sw),
            Scale::PerChannel { scales, .. } => quantize_bias(b, sx, scales[c % scales.len().max(1)]),
        })
        .collect();
    for (i, run) in acc.chunks_exact_mut(inner.max(1)).enumerate() {
        let b = ints[i % ints.len().max(1)];
        run.iter_mut().for_each(|v| *v = v.wrapping_add(b));
    }
    Ok(())
}

/// Fails unless the bias has one f32 for each output channel.
pub(crate) fn check_bias(bias: Option<&Tensor>, channels: usize) -> Result<(), OpError> {
    match bias {
        Some(b) if b.shape() != [channels] || b.dtype() != DType::F32 => {
            Err(OpError::new(format!("the bias is {}, it must be f32[{channels}]", b.ty())))
        }
        _ => Ok(()),
    }
}

/// Fails if the type of a bias is known not to fit.
pub(crate) fn infer_bias(cx: &InferCx<'_>, i: usize, channels: &Dim) -> Result<(), OpError> {
    match cx.opt_ty(i) {
        Some(ty) if ty.dtype != DType::F32 || ty.shape.rank() != 1 || !ty.shape.dims()[0].compatible(channels) => {
            Err(OpError::new(format!("the bias is {ty}, it must be f32[{channels}]")))
        }
        _ => Ok(()),
    }
}

/// The result of an exact product with the activation `x`: real at once if the activation was quantized when the graph ran.
///
/// # Errors
/// If `ints` does not have the shape.
pub(crate) fn product(shape: &[usize], ints: Vec<i32>, scale: Scale, x: &ScaledInt) -> Result<Value, OpError> {
    let sums = ScaledInt::sums(Tensor::from_vec(shape, ints)?, scale);
    Ok(if x.integers == Integers::DynamicCodes { sums.to_real().into() } else { Value::Scaled(sums) })
}

/// The result of integer arithmetic.
pub(crate) fn scaled(shape: &[usize], ints: Vec<i32>, scale: Scale) -> Result<Value, quantc_tensor::TensorError> {
    Ok(Value::Scaled(ScaledInt::sums(Tensor::from_vec(shape, ints)?, scale)))
}

impl Operator for Conv {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        cx.expect_dtype(1, &[DType::F32])?;
        let shape = ConvParams::from_infer(self.rank, cx)?.infer(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 2, &shape.dims()[1])?;
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Computed
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let params = ConvParams::from_eval(self.rank, cx)?;
        Ok(vec![params.eval(cx.value(0)?, cx.value(1)?, cx.opt_tensor(2).as_ref())?])
    }
}
