//! Constant folding: calls whose inputs are all parameters are evaluated.

use std::sync::Arc;

use quantc_interp::eval_constant;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_tensor::DType;

use crate::RewriteError;

/// A result of more bytes than this, and more than its inputs have, is left to be computed at run time.
const LARGE: usize = 1 << 20;

/// Evaluates every call on constants, and names what it evaluated. A dequantized weight or table stays a call: as a plain tensor it
/// would lose its integers. The widening of an f16 parameter stays too: it would be stored twice as large.
///
/// # Errors
/// If a call can't be evaluated.
pub fn fold_constants(graph: &mut Graph) -> Result<Vec<Arc<str>>, RewriteError> {
    let mut folded = Vec::new();
    let calls: Vec<NodeId> = graph.calls().collect();
    for id in calls {
        if !foldable(graph, id) {
            continue;
        }
        let Some(values) = eval_constant(graph, id)? else { continue };
        let [value] = &values[..] else { continue };
        folded.push(Arc::from(graph.node(id).name()));
        // The first parameter that nobody else uses gives its name to what becomes of it: a folded weight is still the weight.
        let inputs = graph.node(id).inputs().iter().flatten();
        let own = inputs.filter(|v| graph.is_used_once(v.node)).find_map(|v| graph.node(v.node).param().cloned());
        let param = own.unwrap_or_else(|| graph.fresh_param_name(graph.node(id).name()));
        let new = graph.param(&param, value.clone());
        graph.replace_uses(id.into(), new.into(), &[id]);
        graph.remove(id)?;
    }
    if !folded.is_empty() {
        graph.eliminate_dead();
        infer_again(graph)?;
    }
    Ok(folded)
}

/// Infers types again, now that more inputs are known, without losing what was declared beyond inference.
fn infer_again(graph: &mut Graph) -> Result<(), RewriteError> {
    let before: Vec<_> = graph.calls().map(|id| (id, graph.node(id).types().to_vec())).collect();
    graph.infer_types()?;
    for (id, types) in before {
        for (output, ty) in types.iter().enumerate() {
            graph.refine_type(ValueRef { node: id, output: output as u32 }, ty)?;
        }
    }
    Ok(())
}

/// Whether a call has only parameters as inputs (at least one), one output, and a result that is not large.
fn foldable(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let [ty] = node.types() else { return false };
    let mut inputs = node.inputs().iter().flatten().peekable();
    if inputs.peek().is_none() || node.is_op("observer") || node.is_op("dequantize_float_qparams") {
        return false;
    }
    let mut given = 0;
    for value in inputs {
        match graph.constant(*value) {
            Some(half) if node.is_op("to") && half.dtype() == DType::F16 => return false,
            Some(tensor) => given += tensor.byte_len(),
            None => return false,
        }
    }
    ty.shape.numel().is_none_or(|n| n * ty.dtype.size() <= LARGE.max(given))
}
