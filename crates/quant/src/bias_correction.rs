//! Bias correction: rounding the weights of a layer shifts the mean of its outputs; the bias takes that shift back.
//!
//! For output channel `o` the shift is `sum((W_q - W)[o, i, ..] * E[x_i])`, with the mean of each input channel seen in calibration
//! (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with the means
//! measured; compare torch.ao.quantization._correct_bias). Zero padding is left out of account.

use std::collections::{BTreeMap, HashMap};

use quantc_interp::eval_constant_values;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_tensor::{Tensor, Value};

use crate::convert::ConvertedModel;
use crate::error::QuantError;
use crate::group::{Group, Plan};
use crate::prepare::PreparedModel;

/// The mean of each input channel of the layers whose weights are quantized statically, over all calibration samples. Bounded
/// state: a sum for each channel.
#[derive(Clone, Debug, Default)]
pub struct InputMeans {
    /// By the call that takes the value as its first input.
    layers: BTreeMap<NodeId, ChannelSums>,
    /// The calls that take the result of an `observer` node.
    takers: HashMap<NodeId, Vec<NodeId>>,
}

#[derive(Clone, Debug)]
struct ChannelSums {
    axis: ChannelAxis,
    sums: Vec<f64>,
    /// Elements seen for each channel.
    count: u64,
}

/// Where the channels of a layer's input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelAxis {
    /// Axis 1: convolutions, weight `[out, in / groups, window..]`.
    Second,
    /// The last axis: linear layers, weight `[out, in]`.
    Last,
}

impl ChannelAxis {
    fn of(graph: &Graph, layer: NodeId) -> Option<ChannelAxis> {
        let (op, _) = graph.node(layer).call()?;
        match op.name() {
            "conv1d" | "conv2d" | "conv3d" => Some(ChannelAxis::Second),
            "linear" => Some(ChannelAxis::Last),
            _ => None,
        }
    }
}

impl InputMeans {
    /// Nothing seen yet.
    pub(crate) fn new(prepared: &PreparedModel) -> InputMeans {
        let graph = &prepared.graph;
        let mut means = InputMeans::default();
        for (layer, _) in prepared.groups.iter().filter_map(static_weight) {
            let (Some(axis), Some(Some(input))) = (ChannelAxis::of(graph, layer), graph.node(layer).inputs().first())
            else {
                continue;
            };
            means.takers.entry(input.node).or_default().push(layer);
            means.layers.insert(layer, ChannelSums { axis, sums: Vec::new(), count: 0 });
        }
        means
    }

    /// Adds the value that an `observer` node passed on.
    pub(crate) fn observe(&mut self, observer: NodeId, value: &Value) {
        let Some(takers) = self.takers.get(&observer) else { return };
        let tensor = value.to_tensor();
        let Ok(data) = tensor.slice::<f32>() else { return };
        for layer in takers {
            if let Some(sums) = self.layers.get_mut(layer) {
                sums.add(data, tensor.shape());
            }
        }
    }
}

impl ChannelSums {
    fn add(&mut self, data: &[f32], shape: &[usize]) {
        let axis = match self.axis {
            ChannelAxis::Second => 1,
            ChannelAxis::Last => shape.len().saturating_sub(1),
        };
        let Some(&channels) = shape.get(axis) else { return };
        let inner: usize = shape[axis + 1..].iter().product();
        if data.is_empty() {
            return;
        }
        self.sums.resize(channels, 0.0);
        for (row, values) in data.chunks_exact(inner).enumerate() {
            // Infinities say nothing about a mean.
            self.sums[row % channels] += values.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite()).sum::<f64>();
        }
        self.count += (data.len() / channels) as u64;
    }

    fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|s| s / self.count.max(1) as f64).collect()
    }
}

/// The call whose weight a group quantizes statically, and the input that is the weight.
fn static_weight(group: &Group) -> Option<(NodeId, usize)> {
    group.weight.filter(|_| matches!(group.plan, Plan::Static { .. }))
}

/// Corrects the biases of a converted model; layers without a bias get one. The report lists what was corrected.
///
/// # Errors
/// If a quantized weight can't be evaluated.
pub fn correct_biases(
    prepared: &PreparedModel,
    converted: &mut ConvertedModel,
    means: &InputMeans,
) -> Result<(), QuantError> {
    for (layer, weight) in prepared.groups.iter().filter_map(static_weight) {
        let Some(sums) = means.layers.get(&layer).filter(|s| s.count > 0) else { continue };
        let float = prepared.graph.node(layer).inputs()[weight].and_then(|v| prepared.graph.constant(v));
        let quantized = converted.graph.node(layer).inputs()[weight];
        let (Some(float), Some(quantized)) = (float, quantized) else { continue };
        // A group that stays float after all (a scale that the backend does not allow) has its own weight.
        if prepared.graph.node(layer).inputs()[weight] == Some(quantized) {
            continue;
        }
        let Some(values) = eval_constant_values(&converted.graph, quantized.node)? else { continue };
        let Some(quantized) = values.first().map(Value::to_tensor) else { continue };
        let Some(shift) = shift(float, &quantized, &sums.means()) else { continue };
        if set_bias(&mut converted.graph, layer, weight + 1, &shift) {
            converted.report.bias_corrected.push(converted.graph.node(layer).name().to_owned());
        }
    }
    converted.graph.eliminate_dead();
    converted.graph.verify()?;
    Ok(())
}

/// By how much rounding moves the mean of each output channel. Weights are `[out, in / groups, window..]`.
fn shift(float: &Tensor, quantized: &Tensor, means: &[f64]) -> Option<Vec<f64>> {
    let (float, quantized, shape) = (float.slice::<f32>().ok()?, quantized.slice::<f32>().ok()?, float.shape());
    let (&out, &channels) = (shape.first()?, shape.get(1)?);
    let window: usize = shape[2..].iter().product();
    if out == 0
        || channels == 0
        || window == 0
        || !means.len().is_multiple_of(channels)
        || float.len() != quantized.len()
    {
        return None;
    }
    let groups = means.len() / channels;
    if out % groups != 0 {
        return None;
    }
    let per_group = out / groups;
    let rows = float.chunks_exact(channels * window).zip(quantized.chunks_exact(channels * window));
    Some(
        rows.enumerate()
            .map(|(o, (w, q))| {
                let first = o / per_group * channels;
                let of = |i: usize| (f64::from(q[i]) - f64::from(w[i])) * means[first + i / window];
                (0..w.len()).map(of).sum()
            })
            .collect(),
    )
}

/// Takes the shift off the bias of a layer, unless that is computed at run time. Says whether it was done.
fn set_bias(graph: &mut Graph, layer: NodeId, input: usize, shift: &[f64]) -> bool {
    let old: Option<ValueRef> = graph.node(layer).inputs().get(input).copied().flatten();
    let bias = match old {
        None => vec![0.0; shift.len()],
        Some(value) => match graph.constant(value) {
            Some(bias) => bias.to_f32_vec(),
            None => return false,
        },
    };
    if bias.len() != shift.len() {
        return false;
    }
    let base = match old.and_then(|v| graph.node(v.node).param().cloned()) {
        Some(name) => name.to_string(),
        None => format!("{}.bias", graph.node(layer).name()),
    };
    let bias: Vec<f32> = bias.iter().zip(shift).map(|(b, s)| (f64::from(*b) - s) as f32).collect();
    let name = graph.fresh_param_name(&format!("{base}.corrected"));
    let bias = graph.param(&name, Tensor::vector(bias));
    graph.set_input(layer, input, Some(bias.into()));
    true
}
