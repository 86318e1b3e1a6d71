//! Inputs and outputs of the model that are integers.

use std::collections::BTreeSet;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attr, Attrs, lookup};
use quantc_tensor::{DType, TensorType};

use super::{CustomConfigError, Edges, PrepareCustomConfig};
use crate::error::QuantError;
use crate::placement::{Placed, Site};
use crate::prepare::Observing;
use crate::qconfig_mapping::QConfigMapping;
use crate::report::QuantizedPort;

/// Which inputs arrive, and which outputs leave, as integers.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizedPorts {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl From<&PrepareCustomConfig> for QuantizedPorts {
    fn from(custom: &PrepareCustomConfig) -> QuantizedPorts {
        let once = |list: &[usize]| BTreeSet::from_iter(list.iter().copied()).into_iter().collect();
        QuantizedPorts {
            inputs: once(&custom.input_quantized_indexes),
            outputs: once(&custom.output_quantized_indexes),
        }
    }
}

/// Puts an observer where a value leaves the graph quantized, unless it has one there. The QConfig is that of the call that makes it, as in PyTorch.
pub(crate) fn observe_outputs(
    graph: &Graph,
    mapping: &QConfigMapping,
    edges: &Edges,
    placed: &mut Placed,
) -> Result<(), QuantError> {
    let (Some(output), resolver) = (graph.output_node(), mapping.resolver(graph)) else { return Ok(()) };
    let values = graph.outputs().into_iter().enumerate().filter(|(_, (_, value))| edges.leaving.contains(value));
    for (index, (name, value)) in values {
        let reader = (output, index);
        let reads = |s: &Site| s.value == value && s.readers.contains(&reader);
        if edges.quantized.contains_key(&value) || placed.sites.iter().any(reads) {
            continue;
        }
        if let Some(site) = placed.sites.iter_mut().find(|s| s.value == value) {
            site.readers.push(reader);
            continue;
        }
        let port = |reason: &str| CustomConfigError::Port { name: name.to_string(), reason: reason.to_owned() };
        if graph.ty(value).dtype != DType::F32 || graph.node(value.node).call().is_none() {
            return Err(port("it is no float that a call makes").into());
        }
        let qconfig = resolver.resolve(value.node).qconfig;
        let qconfig = qconfig.filter(|q| !q.is_dynamic() && q.activation.dtype.storage().is_some());
        let qconfig =
            qconfig.ok_or_else(|| port("the call that makes it has no QConfig with quantized activations"))?;
        placed.observers.push(Observing::Calibrated(qconfig.activation.clone()));
        placed.sites.push(Site { value, observer: placed.observers.len() - 1, readers: vec![reader] });
    }
    Ok(())
}

/// Makes integers of the inputs and outputs of a converted graph that are to be.
///
/// # Errors
/// If an input is quantized nowhere.
pub(crate) fn quantize_ports(
    graph: &mut Graph,
    ports: &QuantizedPorts,
) -> Result<(Vec<QuantizedPort>, Vec<QuantizedPort>), QuantError> {
    let placeholders: Vec<NodeId> = graph.placeholders().collect();
    let inputs = ports.inputs.iter().map(|&i| quantize_input(graph, placeholders[i])).collect::<Result<Vec<_>, _>>()?;
    let mut outputs = Vec::new();
    for &index in &ports.outputs {
        let (name, value) = graph.outputs().swap_remove(index);
        let quantized = graph.node(value.node).inputs().first().copied().flatten();
        let port = quantized
            .filter(|_| graph.node(value.node).is_op("dequantize_per_tensor"))
            .and_then(|q| Some((q, port_of(graph, &name, q.node)?)));
        let (Some((quantized, port)), Some(output)) = (port, graph.output_node()) else {
            let reason = "what makes it stayed float".to_owned();
            return Err(CustomConfigError::Port { name: name.to_string(), reason }.into());
        };
        graph.set_input(output, index, Some(quantized));
        outputs.push(port);
    }
    Ok((inputs, outputs))
}

/// What a `quantize_per_tensor` does.
fn port_of(graph: &Graph, name: &str, quantize: NodeId) -> Option<QuantizedPort> {
    let (op, attrs) = graph.node(quantize).call().filter(|(op, _)| op.name() == "quantize_per_tensor")?;
    let get = |name: &str| op.signature().attr(attrs, name);
    let scale = match get("scale")? {
        Attr::Float(scale) => scale.0,
        _ => return None,
    };
    let zero_point = match get("zero_point")? {
        Attr::Int(zero_point) => i32::try_from(zero_point).ok()?,
        _ => return None,
    };
    let dtype = graph.ty(quantize).dtype.name().to_owned();
    Some(QuantizedPort { name: name.to_owned(), dtype, scale, zero_point })
}

/// The first quantization of the input becomes the caller's: who reads the input itself reads what its integers stand for.
fn quantize_input(graph: &mut Graph, input: NodeId) -> Result<QuantizedPort, QuantError> {
    let name = graph.node(input).name().to_owned();
    let users = graph.users(input);
    let first = users.iter().map(|u| u.0).find_map(|u| Some((u, port_of(graph, &name, u)?)));
    let Some((quantize, port)) = first else {
        let reason = "no quantized call takes it, so nothing says what its integers are".to_owned();
        return Err(CustomConfigError::Port { name, reason }.into());
    };
    let ty = TensorType::new(graph.ty(quantize).dtype, graph.ty(input).shape.clone());
    graph.replace_uses(quantize.into(), input.into(), &[]);
    graph.remove(quantize)?;
    graph.set_placeholder_type(input, ty);
    let others: Vec<(NodeId, usize)> = users.into_iter().filter(|(user, _)| *user != quantize).collect();
    if !others.is_empty() {
        let op = lookup("dequantize_per_tensor").ok_or(QuantError::MissingOperator("dequantize_per_tensor"))?;
        let attrs = Attrs::new().with("scale", port.scale).with("zero_point", port.zero_point);
        let before = graph.order().find(|n| graph.node(*n).call().is_some());
        let real: ValueRef =
            graph.call_before(before, &format!("{name}.dequantize"), op, &[Some(input.into())], attrs, &[])?.into();
        for (user, index) in others {
            graph.set_input(user, index, Some(real));
        }
    }
    Ok(port)
}
