//! Half precision (torch.ao.quantization.float16_dynamic_qconfig, float16_static_qconfig): values are rounded to IEEE binary16, arithmetic
//! stays f32. Parameters are stored as f16 and widened; activations are rounded when the model runs.

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_tensor::math::round_to_half_f32;
use quantc_tensor::{DType, Tensor, f16};

use crate::error::QuantError;
use crate::group::Group;

/// Values rounded so far, with what rounds them.
#[derive(Default)]
pub(crate) struct Halves {
    done: HashMap<(ValueRef, bool), ValueRef>,
}

impl Halves {
    /// Rounds a group's weights, saturating as PyTorch's packing of them does.
    ///
    /// # Errors
    /// If the graph refuses a call.
    pub(crate) fn round_weights(&mut self, graph: &mut Graph, group: &Group) -> Result<(), QuantError> {
        for (node, input) in group.weights.clone() {
            self.round_input(graph, node, input, true)?;
        }
        Ok(())
    }

    /// Rounds what a group reads and what it gives: activations, weights, bias, result.
    ///
    /// # Errors
    /// If the graph refuses a call.
    pub(crate) fn round_all(&mut self, graph: &mut Graph, group: &Group) -> Result<(), QuantError> {
        let read = group.activations.iter().chain(&group.weights).chain(&group.bias).copied();
        for (node, input) in read.collect::<Vec<_>>() {
            self.round_input(graph, node, input, false)?;
        }
        let outputs = 0..graph.node(group.root).types().len() as u32;
        for output in outputs {
            let value = ValueRef { node: group.root, output };
            if graph.ty(value).dtype == DType::F32 {
                let rounded = self.rounded(graph, value, false)?;
                graph.replace_uses(value, rounded, &[rounded.node]);
            }
        }
        Ok(())
    }

    fn round_input(&mut self, graph: &mut Graph, node: NodeId, input: usize, saturate: bool) -> Result<(), QuantError> {
        let Some(value) = graph.node(node).inputs().get(input).copied().flatten() else { return Ok(()) };
        // What is rounded already stays.
        if graph.node(value.node).is_op("round_to_half") || is_widened(graph, value) {
            return Ok(());
        }
        let rounded = self.rounded(graph, value, saturate)?;
        graph.set_input(node, input, Some(rounded));
        Ok(())
    }

    /// The rounded value, right behind its producer.
    fn rounded(&mut self, graph: &mut Graph, value: ValueRef, saturate: bool) -> Result<ValueRef, QuantError> {
        if let Some(done) = self.done.get(&(value, saturate)) {
            return Ok(*done);
        }
        let param = graph.node(value.node).param().cloned().zip(graph.constant(value).map(|t| t.to_f32_vec()));
        let before = graph
            .order()
            .skip_while(|n| *n != value.node)
            .skip(1)
            .find(|n| graph.node(*n).call().is_some() || Some(*n) == graph.output_node());
        let name = format!("{}.half", graph.node(value.node).name().trim_start_matches('@'));
        let origins = graph.node(value.node).origins().to_vec();
        let (op, input, attrs) = match param {
            Some((param, values)) => {
                let halves = values.into_iter().map(|v| f16::from_f32(round_to_half_f32(v, saturate))).collect();
                let shape = graph.ty(value).shape.to_known().unwrap_or_default();
                let halves = Tensor::from_vec(&shape, halves)
                    .map_err(|e| QuantError::Weight { name: param.to_string(), message: e.to_string() })?;
                let stored = graph.fresh_param_name(&format!("{param}.half"));
                ("to", graph.param(&stored, halves).into(), Attrs::new().with("dtype", DType::F32))
            }
            None if saturate => ("round_to_half", value, Attrs::new().with("saturate", true)),
            None => ("round_to_half", value, Attrs::new()),
        };
        let op = lookup(op).ok_or(QuantError::MissingOperator(op))?;
        let new = graph.call_before(before, &name, op, &[Some(input)], attrs, &origins)?;
        self.done.insert((value, saturate), new.into());
        Ok(new.into())
    }
}

/// Whether a value is an f16 parameter as f32.
fn is_widened(graph: &Graph, value: ValueRef) -> bool {
    let node = graph.node(value.node);
    let input = node.inputs().first().copied().flatten();
    node.is_op("to") && input.is_some_and(|v| graph.constant(v).is_some_and(|t| t.dtype() == DType::F16))
}
