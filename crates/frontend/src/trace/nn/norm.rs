//! Normalisations.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// `BatchNorm1d`, `BatchNorm2d`, `BatchNorm3d` in evaluation. Parameters `weight`, `bias`, `running_mean`, `running_var`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Dimensions behind batch and channel.
    pub dims: usize,
    /// Channels.
    pub num_features: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl Module for BatchNorm {
    fn type_name(&self) -> &str {
        match self.dims {
            1 => "BatchNorm1d",
            3 => "BatchNorm3d",
            _ => "BatchNorm2d",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let mut args = vec![Some(only(inputs)?)];
        for (name, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            args.push(Some(t.param(name, &[self.num_features], Init::Constant(value))?));
        }
        t.main_call("batch_norm", &args, Attrs::new().with("eps", self.eps))
    }
}

/// The parameters `weight` and `bias`, those that there are.
fn affine(t: &mut Tracer, shape: &[usize], has: [bool; 2]) -> Result<[Option<Proxy>; 2], TraceError> {
    let weight = has[0].then(|| t.param("weight", shape, Init::Constant(1.0))).transpose()?;
    let bias = has[1].then(|| t.param("bias", shape, Init::Constant(0.0))).transpose()?;
    Ok([weight, bias])
}

/// `LayerNorm`. Parameters `weight` and `bias` of the normalised shape.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The last dimensions, over which it normalises.
    pub normalized_shape: Vec<usize>,
    /// Added to the variance.
    pub eps: f32,
    /// Whether there is a weight.
    pub weight: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Module for LayerNorm {
    fn type_name(&self) -> &str {
        "LayerNorm"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let [weight, bias] = affine(t, &self.normalized_shape, [self.weight, self.bias])?;
        let attrs = Attrs::new().with("axis", -(self.normalized_shape.len() as i64)).with("eps", self.eps);
        t.main_call("layer_norm", &[Some(only(inputs)?), weight, bias], attrs)
    }
}

/// `GroupNorm`. Parameters `weight` and `bias` for each channel.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// Groups of channels, each normalised together.
    pub num_groups: usize,
    /// Channels.
    pub num_channels: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Whether there are parameters.
    pub affine: bool,
}

impl Module for GroupNorm {
    fn type_name(&self) -> &str {
        "GroupNorm"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let x = only(inputs)?;
        has_channels(t, x, self.num_channels)?;
        let [weight, bias] = affine(t, &[self.num_channels], [self.affine; 2])?;
        let attrs = Attrs::new().with("num_groups", self.num_groups).with("eps", self.eps);
        t.main_call("group_norm", &[Some(x), weight, bias], attrs)
    }
}

/// `InstanceNorm1d`, `InstanceNorm2d`, `InstanceNorm3d` of batches, without running statistics. Parameters, if any, `weight` and `bias` for each
/// channel.
#[derive(Clone, Debug)]
pub struct InstanceNorm {
    /// Dimensions behind batch and channel.
    pub dims: usize,
    /// Channels.
    pub num_features: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Whether there are parameters.
    pub affine: bool,
}

impl Module for InstanceNorm {
    fn type_name(&self) -> &str {
        match self.dims {
            1 => "InstanceNorm1d",
            3 => "InstanceNorm3d",
            _ => "InstanceNorm2d",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let x = only(inputs)?;
        let shape = &x.ty(t).shape;
        if shape.rank() != self.dims + 2 {
            let text = format!("{} of {shape}, it takes {} dimensions", self.type_name(), self.dims + 2);
            return Err(TraceError::new(text).with_hint("the first is the batch, the second the channel"));
        }
        has_channels(t, x, self.num_features)?;
        let [weight, bias] = affine(t, &[self.num_features], [self.affine; 2])?;
        t.main_call("instance_norm", &[Some(x), weight, bias], Attrs::new().with("eps", self.eps))
    }
}

/// Fails if dimension 1 of the input is known to have another size.
fn has_channels(t: &Tracer, x: Proxy, channels: usize) -> Result<(), TraceError> {
    let shape = &x.ty(t).shape;
    match shape.dims().get(1).map(|d| d.known()) {
        Some(Some(n)) if n != channels => {
            Err(TraceError::new(format!("a normalisation of {channels} channels gets {shape}")))
        }
        _ => Ok(()),
    }
}
