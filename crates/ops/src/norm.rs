//! Normalisations.

use quantc_tensor::{DType, Shape, Tensor, TensorType, Value, math, reduce};
use rayon::prelude::*;

use crate::dims::axis;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, InputSpec, OpClass, OpError, Operator, Signature};

pub(crate) const EPS: AttrSpec = attr("eps", AttrDefault::Float(1e-5), "Added to the variance.");
pub(crate) const AXIS: AttrSpec = attr("axis", AttrDefault::Int(-1), "First normalised dimension.");
pub(crate) const NUM_GROUPS: AttrSpec = attr("num_groups", AttrDefault::RequiredInt, "Number of groups.");
pub(crate) const AFFINE: &[InputSpec] = &[required("input"), optional("weight"), optional("bias")];

/// Fails unless a parameter has `len` f32 elements, in whatever shape.
fn parameter(t: &Tensor, name: &str, len: usize) -> Result<(), OpError> {
    if t.dtype() == DType::F32 && t.numel() == len {
        return Ok(());
    }
    Err(OpError::new(format!("{name} is {}, it must be f32 with {len} elements", t.ty())))
}

fn optional_parameter(cx: &EvalCx<'_>, i: usize, name: &str, len: usize) -> Result<Option<Tensor>, OpError> {
    let Some(t) = cx.opt_tensor(i) else { return Ok(None) };
    parameter(&t, name, len)?;
    Ok(Some(t))
}

fn infer_f32(cx: &InferCx<'_>, min_rank: usize) -> Result<Vec<TensorType>, OpError> {
    for i in 0..cx.len() {
        if cx.opt_ty(i).is_some() {
            cx.expect_dtype(i, &[DType::F32])?;
        }
    }
    let x = cx.ty(0)?;
    if x.shape.rank() < min_rank {
        return Err(OpError::new(format!("a normalisation of channels needs [N, C, ...], not {}", x.shape)));
    }
    Ok(vec![x.clone()])
}

/// `layer_norm`.
pub struct LayerNorm;

/// `f(row, out)` for all rows of `len` elements.
fn map_rows(x: &[f32], len: usize, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let len = len.max(1);
    out.par_chunks_exact_mut(len).with_min_len(16).zip(x.par_chunks_exact(len)).for_each(|(out, row)| f(row, out));
    out
}

impl Operator for LayerNorm {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "layer_norm",
                doc: "(x - mean) / sqrt(variance + eps) * weight + bias over the dimensions from `axis` on (torch.nn.functional.layer_norm, ONNX LayerNormalization).",
                inputs: AFFINE,
                attrs: &[AXIS, EPS],
                class: OpClass::Reduction,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        axis(cx.int("axis")?, cx.ty(0)?.shape.rank())?;
        infer_f32(cx, 1)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let len: usize = x.shape()[axis(cx.int("axis")?, x.rank())?..].iter().product();
        let (weight, bias) = (optional_parameter(cx, 1, "weight", len)?, optional_parameter(cx, 2, "bias", len)?);
        let weight = weight.as_ref().map(|t| t.slice::<f32>()).transpose()?;
        let bias = bias.as_ref().map(|t| t.slice::<f32>()).transpose()?;
        let eps = cx.float("eps")?;
        let out = map_rows(x.slice()?, len, |row, out| reduce::layer_norm_row(row, weight, bias, eps, out));
        Ok(vec![Tensor::from_vec(x.shape(), out)?.into()])
    }
}

/// `rms_norm`.
pub struct RmsNorm;

impl Operator for RmsNorm {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "rms_norm",
                doc: "x / sqrt(mean(x^2) + eps) * weight over the last dimension (torch.nn.functional.rms_norm).",
                inputs: &[required("input"), optional("weight")],
                attrs: &[EPS],
                class: OpClass::Reduction,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        axis(-1, cx.ty(0)?.shape.rank())?;
        infer_f32(cx, 1)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let len = x.shape()[axis(-1, x.rank())?];
        let weight = optional_parameter(cx, 1, "weight", len)?;
        let weight = weight.as_ref().map(|t| t.slice::<f32>()).transpose()?;
        let eps = cx.float("eps")?;
        let out = map_rows(x.slice()?, len, |row, out| {
            // The variance about 0 is the mean of the squares.
            let inverse = math::rsqrt_f32(reduce::variance(row, 0.0) + eps);
            out.iter_mut().zip(row).for_each(|(o, &v)| *o = v * inverse);
            if let Some(weight) = weight {
                out.iter_mut().zip(weight).for_each(|(o, &w)| *o *= w);
            }
        });
        Ok(vec![Tensor::from_vec(x.shape(), out)?.into()])
    }
}

/// `batch_norm`.
pub struct BatchNorm;

/// Factor and term of a batch normalisation for each channel: `a = weight / sqrt(var + eps)`, `b = bias - mean * a`.
pub fn batch_norm_affine(weight: &[f32], bias: &[f32], mean: &[f32], var: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let a: Vec<f32> = weight.iter().zip(var).map(|(&w, &v)| w / (v + eps).sqrt()).collect();
    let b = bias.iter().zip(mean).zip(&a).map(|((&b, &m), &a)| b - m * a).collect();
    (a, b)
}

/// Inputs of a batch normalisation.
pub(crate) const BATCH_NORM_INPUTS: &[InputSpec] =
    &[required("input"), required("weight"), required("bias"), required("running_mean"), required("running_var")];

/// Fails if the type of a parameter is known not to fit an input of this shape, `[N, C, ...]`.
pub(crate) fn infer_batch_norm_parameters(cx: &InferCx<'_>, shape: &Shape) -> Result<(), OpError> {
    let channels = shape
        .dims()
        .get(1)
        .ok_or_else(|| OpError::new(format!("a normalisation of channels needs [N, C, ...], not {shape}")))?;
    for i in 1..5 {
        cx.expect_dtype(i, &[DType::F32])?;
        let ty = cx.ty(i)?;
        if ty.shape.rank() != 1 || !ty.shape.dims()[0].compatible(channels) {
            return Err(OpError::new(format!("batch_norm of {shape} with a parameter {ty}")));
        }
    }
    Ok(())
}

/// The batch normalisation of `x` with the parameters and `eps` of a call.
pub(crate) fn batch_norm(cx: &EvalCx<'_>, x: &Tensor) -> Result<Tensor, OpError> {
    let channels = *x.shape().get(1).ok_or_else(|| OpError::new("batch_norm needs [N, C, ...]"))?;
    let p: Vec<Tensor> = (1..5).map(|i| cx.tensor(i)).collect::<Result<_, _>>()?;
    p.iter().try_for_each(|t| parameter(t, "a parameter of batch_norm", channels))?;
    let (a, b) = batch_norm_affine(p[0].slice()?, p[1].slice()?, p[2].slice()?, p[3].slice()?, cx.float("eps")?);
    let inner: usize = x.shape()[2..].iter().product();
    let mut out = x.slice::<f32>()?.to_vec();
    for (i, plane) in out.chunks_exact_mut(inner.max(1)).enumerate() {
        let c = i % channels;
        plane.iter_mut().for_each(|v| *v = *v * a[c] + b[c]);
    }
    Ok(Tensor::from_vec(x.shape(), out)?)
}

impl Operator for BatchNorm {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "batch_norm",
                doc: "x * a + b for each channel, a = weight / sqrt(running_var + eps), b = bias - running_mean * a (torch.nn.functional.batch_norm in eval mode).",
                inputs: BATCH_NORM_INPUTS,
                attrs: &[EPS],
                class: OpClass::Reduction,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let out = infer_f32(cx, 2)?;
        infer_batch_norm_parameters(cx, &out[0].shape)?;
        Ok(out)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![batch_norm(cx, &cx.tensor(0)?)?.into()])
    }
}

/// `instance_norm` and `group_norm`.
pub struct GroupNorm {
    sig: &'static Signature,
    instance: bool,
}

/// `instance_norm`.
pub static INSTANCE_NORM: GroupNorm = GroupNorm {
    sig: &Signature {
        name: "instance_norm",
        doc: "Every channel of every sample normalised on its own, then weight and bias for each channel (torch.nn.functional.instance_norm).",
        inputs: AFFINE,
        attrs: &[EPS],
        class: OpClass::Reduction,
    },
    instance: true,
};

/// `group_norm`.
pub static GROUP_NORM: GroupNorm = GroupNorm {
    sig: &Signature {
        name: "group_norm",
        doc: "Groups of channels normalised together, then weight and bias for each channel (torch.nn.functional.group_norm).",
        inputs: AFFINE,
        attrs: &[NUM_GROUPS, EPS],
        class: OpClass::Reduction,
    },
    instance: false,
};

impl Operator for GroupNorm {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        if !self.instance
            && let Some(c) = cx.ty(0)?.shape.dims().get(1).and_then(|d| d.known())
        {
            group_size(c, cx.int("num_groups")?)?;
        }
        infer_f32(cx, 2)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let x = cx.tensor(0)?;
        let name = self.sig.name;
        let channels = *x.shape().get(1).ok_or_else(|| OpError::new(format!("{name} needs [N, C, ...]")))?;
        let size = if self.instance { 1 } else { group_size(channels, cx.int("num_groups")?)? };
        let inner: usize = Shape::known(&x.shape()[2..]).numel().unwrap_or(0);
        let (weight, bias) =
            (optional_parameter(cx, 1, "weight", channels)?, optional_parameter(cx, 2, "bias", channels)?);
        let eps = cx.float("eps")?;
        let mut out = map_rows(x.slice()?, size * inner, |row, out| reduce::layer_norm_row(row, None, None, eps, out));
        let weight = weight.as_ref().map(|t| t.slice::<f32>()).transpose()?;
        let bias = bias.as_ref().map(|t| t.slice::<f32>()).transpose()?;
        for (i, plane) in out.chunks_exact_mut(inner.max(1)).enumerate() {
            if let Some(w) = weight {
                plane.iter_mut().for_each(|v| *v *= w[i % channels]);
            }
            if let Some(b) = bias {
                plane.iter_mut().for_each(|v| *v += b[i % channels]);
            }
        }
        Ok(vec![Tensor::from_vec(x.shape(), out)?.into()])
    }
}

fn group_size(channels: usize, groups: i64) -> Result<usize, OpError> {
    usize::try_from(groups)
        .ok()
        .filter(|&g| g > 0 && channels.is_multiple_of(g))
        .map(|g| channels / g)
        .ok_or_else(|| OpError::new(format!("{channels} channels in {groups} groups")))
}
