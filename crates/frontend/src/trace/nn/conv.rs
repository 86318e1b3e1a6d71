//! Convolutions.

use quantc_ops::Attrs;

use super::only;
use crate::trace::{Init, Module, Proxy, TraceError, Tracer};

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

    fn attrs(&self) -> Attrs {
        Attrs::new()
            .with("stride", unless_all(&self.stride, 1))
            .with("padding", unless_all(&self.padding, 0))
            .with("dilation", unless_all(&self.dilation, 1))
            .with("groups", self.groups)
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
        let mut shape = vec![self.out_channels, per_group(self.in_channels, self.groups)?];
        shape.extend(&self.kernel_size);
        let fan_in: usize = shape[1..].iter().product();
        let weight = t.param("weight", &shape, Init::He { fan_in })?;
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let bias = self.bias.then(|| t.param("bias", &[self.out_channels], Init::Uniform(bound))).transpose()?;
        let op = match self.kernel_size.len() {
            1 => "conv1d",
            3 => "conv3d",
            _ => "conv2d",
        };
        t.main_call(op, &[Some(only(inputs)?), Some(weight), bias], self.attrs())
    }
}

/// The list, empty if all are the operator's default.
fn unless_all(list: &[i64], default: i64) -> Vec<i64> {
    if list.iter().all(|v| *v == default) { Vec::new() } else { list.to_vec() }
}

/// The channels of each group.
fn per_group(channels: usize, groups: usize) -> Result<usize, TraceError> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(TraceError::new(format!("{channels} channels can't be in {groups} groups")));
    }
    Ok(channels / groups)
}

/// `ConvTranspose1d`, `ConvTranspose2d`, `ConvTranspose3d`. Parameters `weight` `[in, out / groups, kernel..]` and `bias` `[out]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    /// What it has in common with a convolution.
    pub conv: Conv,
    /// Added to the size of the result at the end, for each dimension.
    pub output_padding: Vec<i64>,
}

impl Module for ConvTranspose {
    fn type_name(&self) -> &str {
        match self.conv.kernel_size.len() {
            1 => "ConvTranspose1d",
            3 => "ConvTranspose3d",
            _ => "ConvTranspose2d",
        }
    }

    fn is_leaf(&self) -> bool {
        true
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let Conv { in_channels, out_channels, groups, .. } = self.conv;
        per_group(in_channels, groups)?;
        let mut sizes = self.output_padding.iter().zip(self.conv.stride.iter().zip(&self.conv.dilation));
        if let Some((padding, _)) = sizes.find(|(padding, (stride, dilation))| padding >= stride.max(dilation)) {
            let message = format!("output_padding {padding} is not smaller than the stride or the dilation");
            return Err(TraceError::new(message));
        }
        let mut shape = vec![in_channels, per_group(out_channels, groups)?];
        shape.extend(&self.conv.kernel_size);
        let fan_in: usize = shape[1..].iter().product();
        let weight = t.param("weight", &shape, Init::He { fan_in })?;
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let bias = self.conv.bias.then(|| t.param("bias", &[out_channels], Init::Uniform(bound))).transpose()?;
        let op = match self.conv.kernel_size.len() {
            1 => "conv_transpose1d",
            3 => "conv_transpose3d",
            _ => "conv_transpose2d",
        };
        let attrs = self.conv.attrs().with("output_padding", unless_all(&self.output_padding, 0));
        t.main_call(op, &[Some(only(inputs)?), Some(weight), bias], attrs)
    }
}
