//! Evaluation of one call on constants.

use quantc_ir::{Graph, NodeId};
use quantc_tensor::{Tensor, Value};

use crate::InterpError;
use crate::interpreter::eval_call;

/// The outputs of a call all of whose inputs are parameters with values; `None` for any other node.
///
/// # Errors
/// If the call can't be evaluated.
pub fn eval_constant_values(graph: &Graph, id: NodeId) -> Result<Option<Vec<Value>>, InterpError> {
    let node = graph.node(id);
    let Some((op, attrs)) = node.call() else { return Ok(None) };
    let mut inputs = Vec::with_capacity(node.inputs().len());
    for input in node.inputs() {
        inputs.push(match input {
            None => None,
            Some(v) => match graph.constant(*v) {
                Some(tensor) => Some(Value::from(tensor.clone())),
                None => return Ok(None),
            },
        });
    }
    eval_call(node, op, attrs, &inputs).map(Some)
}

/// As [`eval_constant_values`], as plain tensors; `None` where a result is an integer tensor with a scale (a dequantized weight),
/// because a plain tensor would lose the integers.
///
/// # Errors
/// If the call can't be evaluated.
pub fn eval_constant(graph: &Graph, id: NodeId) -> Result<Option<Vec<Tensor>>, InterpError> {
    let dense = |v: Value| match v {
        Value::Dense(t) => Some(t),
        Value::Scaled(_) => None,
    };
    Ok(eval_constant_values(graph, id)?.and_then(|values| values.into_iter().map(dense).collect()))
}
