//! Models that store parameters in half precision and widen them when they run.

use std::collections::HashSet;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_tensor::DType;

use crate::error::QuantError;

/// Parameters that were widened: name as f32, name as f16.
#[derive(Clone, Debug, Default)]
pub struct Widened(Vec<(String, String)>);

/// Makes f16 parameters that are converted to f32 (an ONNX `Cast`) parameters of f32, which patterns and folding know how to treat. `None` if there are none;
/// [`narrow`] undoes it for what is left.
///
/// # Errors
/// If the graph refuses a change.
pub fn widen(graph: &Graph) -> Result<Option<(Graph, Widened)>, QuantError> {
    let is_widening = |id: NodeId| graph.node(id).is_op("to") && graph.ty(id).dtype == DType::F32;
    let half = |v: &ValueRef| graph.constant(*v).is_some_and(|t| t.dtype() == DType::F16);
    let input = |id: NodeId| graph.node(id).inputs().first().copied().flatten().filter(half);
    let found: Vec<_> = graph.calls().filter(|id| is_widening(*id)).filter_map(|id| Some((id, input(id)?))).collect();
    if found.is_empty() {
        return Ok(None);
    }
    let (mut graph, mut widened) = (graph.clone(), Widened::default());
    for (id, half) in found {
        let Some((name, value)) = graph.node(half.node).param().cloned().zip(graph.constant(half)) else { continue };
        let value = value.cast(DType::F32);
        let wide = graph.fresh_param_name(&format!("{name}.f32"));
        let param = graph.param(&wide, value);
        graph.replace_uses(id.into(), param.into(), &[]);
        graph.remove(id)?;
        widened.0.push((wide.to_string(), name.to_string()));
    }
    graph.eliminate_dead();
    Ok(Some((graph, widened)))
}

/// Stores parameters that were widened, and are still there, as f16 again.
///
/// # Errors
/// If the graph refuses a change.
pub fn narrow(graph: &mut Graph, widened: &Widened) -> Result<(), QuantError> {
    let op = lookup("to").ok_or(QuantError::MissingOperator("to"))?;
    for (wide, name) in &widened.0 {
        let is_wide = |id: &NodeId| graph.node(*id).param().is_some_and(|param| **param == **wide);
        let readers: Vec<NodeId> = graph.order().filter(is_wide).collect();
        let Some(value) = readers.first().and_then(|id| graph.constant(*id)) else { continue };
        let half = graph.param(&graph.fresh_param_name(name), value.cast(DType::F16));
        for id in readers {
            let users: HashSet<NodeId> = graph.users(id).into_iter().map(|user| user.0).collect();
            let first = graph.order().find(|id| users.contains(id));
            let attrs = Attrs::new().with("dtype", DType::F32);
            let again = graph.call_before(first, name, op, &[Some(half.into())], attrs, &[])?;
            graph.replace_uses(id.into(), again.into(), &[]);
        }
    }
    graph.eliminate_dead();
    Ok(())
}
