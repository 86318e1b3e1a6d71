//! Modules of one operator, and sequences.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

/// A module without parameters that is one call of an operator: activations, pooling, flatten, ...
#[derive(Clone, Debug)]
pub struct Simple {
    type_name: &'static str,
    op: &'static str,
    attrs: Attrs,
}

impl Simple {
    /// A module of that type calling that operator.
    pub fn new(type_name: &'static str, op: &'static str, attrs: Attrs) -> Simple {
        Simple { type_name, op, attrs }
    }

    /// `ReLU`.
    pub fn relu() -> Simple {
        Simple::new("ReLU", "relu", Attrs::new())
    }

    /// `MaxPool2d` of a square window.
    pub fn max_pool2d(kernel_size: i64, stride: i64, padding: i64) -> Simple {
        let attrs = Attrs::new()
            .with("kernel_size", vec![kernel_size; 2])
            .with("stride", vec![stride; 2])
            .with("padding", vec![padding; 2]);
        Simple::new("MaxPool2d", "max_pool2d", attrs)
    }
}

impl Module for Simple {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        t.main_call(self.op, &[Some(only(inputs)?)], self.attrs.clone())
    }
}

/// `Conv1d`, `Conv2d`, `Conv3d`. Parameters `weight` `[out, in / groups, kernel..]` and `bias` `[out]`.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Size of the kernel, one number for each of 1 to 3 dimensions.
    pub kernel_size: Vec<usize>,
    /// Step, for each dimension.
    pub stride: Vec<i64>,
    /// Zeros at both sides, for each dimension.
    pub padding: Vec<i64>,
    /// Step between elements of the kernel, for each dimension.
    pub dilation: Vec<i64>,
    /// Groups of channels convolved separately.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Conv {
    /// A `Conv2d` with a square kernel, stride 1, no padding and a bias.
    pub fn new_2d(in_channels: usize, out_channels: usize, kernel_size: usize) -> Conv {
        Conv {
            in_channels,
            out_channels,
            kernel_size: vec![kernel_size; 2],
            stride: vec![1; 2],
            padding: vec![0; 2],
            dilation: vec![1; 2],
            groups: 1,
            bias: true,
        }
    }

    /// The same stride in every dimension.
    pub fn stride(mut self, stride: i64) -> Conv {
        self.stride = vec![stride; self.kernel_size.len()];
        self
    }

    /// The same padding in every dimension.
    pub fn padding(mut self, padding: i64) -> Conv {
        self.padding = vec![padding; self.kernel_size.len()];
        self
    }

    /// Without a bias.
    pub fn without_bias(mut self) -> Conv {
        self.bias = false;
        self
    }
}

impl Module for Conv {
    fn type_name(&self) -> &str {
        match self.kernel_size.len() {
            1 => "Conv1d",
            3 => "Conv3d",
            _ => "Conv2d",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        if self.groups == 0 || !self.in_channels.is_multiple_of(self.groups) {
            return Err(TraceError::new(format!("{} channels can't be in {} groups", self.in_channels, self.groups)));
        }
        let mut shape = vec![self.out_channels, self.in_channels / self.groups];
        shape.extend(&self.kernel_size);
        let fan_in: usize = shape[1..].iter().product();
        let weight = t.param("weight", &shape, Init::He { fan_in })?;
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let bias = self.bias.then(|| t.param("bias", &[self.out_channels], Init::Uniform(bound))).transpose()?;
        let list = |v: &[i64], default: i64| if v.iter().all(|v| *v == default) { Vec::new() } else { v.to_vec() };
        let attrs = Attrs::new()
            .with("stride", list(&self.stride, 1))
            .with("padding", list(&self.padding, 0))
            .with("dilation", list(&self.dilation, 1))
            .with("groups", self.groups);
        let op = match self.kernel_size.len() {
            1 => "conv1d",
            3 => "conv3d",
            _ => "conv2d",
        };
        t.main_call(op, &[Some(only(inputs)?), Some(weight), bias], attrs)
    }
}

/// `Linear`. Parameters `weight` `[out, in]` and `bias` `[out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Size of the last dimension of the input.
    pub in_features: usize,
    /// Size of the last dimension of the output.
    pub out_features: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Module for Linear {
    fn type_name(&self) -> &str {
        "Linear"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let fan_in = self.in_features;
        let weight = t.param("weight", &[self.out_features, fan_in], Init::He { fan_in })?;
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let bias = self.bias.then(|| t.param("bias", &[self.out_features], Init::Uniform(bound))).transpose()?;
        t.main_call("linear", &[Some(only(inputs)?), Some(weight), bias], Attrs::new())
    }
}

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

/// `LayerNorm`. Parameters `weight` and `bias` of the normalised shape.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The last dimensions, over which it normalises.
    pub normalized_shape: Vec<usize>,
    /// Added to the variance.
    pub eps: f32,
}

impl Module for LayerNorm {
    fn type_name(&self) -> &str {
        "LayerNorm"
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let weight = t.param("weight", &self.normalized_shape, Init::Constant(1.0))?;
        let bias = t.param("bias", &self.normalized_shape, Init::Constant(0.0))?;
        let attrs = Attrs::new().with("axis", -(self.normalized_shape.len() as i64)).with("eps", self.eps);
        t.main_call("layer_norm", &[Some(only(inputs)?), Some(weight), Some(bias)], attrs)
    }
}

/// `Sequential`: each module gets the output of the one before; they are named 0, 1, ...
#[derive(Default)]
pub struct Sequential {
    /// The modules in order.
    pub modules: Vec<Box<dyn Module>>,
}

impl Module for Sequential {
    fn type_name(&self) -> &str {
        "Sequential"
    }

    fn children(&self) -> Vec<(String, &dyn Module)> {
        self.modules.iter().enumerate().map(|(i, m)| (i.to_string(), &**m)).collect()
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let mut values = inputs.to_vec();
        for (i, module) in self.modules.iter().enumerate() {
            values = t.module(&i.to_string(), module.as_ref(), &values)?;
        }
        Ok(values)
    }
}
