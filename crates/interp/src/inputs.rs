//! Checks the tensors given against the graph's placeholders.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_ir::{Graph, NodeId};
use quantc_tensor::{Dim, Tensor, TensorType};

use crate::InterpError;

/// Every input with its type, for messages.
fn describe(graph: &Graph) -> String {
    let list: Vec<_> = graph.placeholders().map(|id| format!("{}: {}", graph.node(id).name(), graph.ty(id))).collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

/// The tensor of each placeholder, in the order of the placeholders.
pub(crate) fn bind<'t, S: AsRef<str>>(
    graph: &Graph,
    inputs: &'t [(S, Tensor)],
) -> Result<Vec<(NodeId, &'t Tensor)>, InterpError> {
    let mut given: HashMap<&str, &Tensor> = HashMap::new();
    for (name, tensor) in inputs {
        if given.insert(name.as_ref(), tensor).is_some() {
            return Err(InterpError::DuplicateInput { name: name.as_ref().to_owned() });
        }
    }
    let mut symbols: HashMap<Arc<str>, (usize, &str)> = HashMap::new();
    let mut bound = Vec::new();
    for id in graph.placeholders() {
        let (name, ty) = (graph.node(id).name(), graph.ty(id));
        let Some(tensor) = given.remove(name) else {
            return Err(InterpError::MissingInput {
                name: name.to_owned(),
                ty: Box::new(ty.clone()),
                expected: describe(graph),
            });
        };
        check(name, tensor, ty)?;
        for (dim, &size) in ty.shape.0.iter().zip(tensor.shape()) {
            let Dim::Symbol(symbol) = dim else { continue };
            let (first, first_input) = *symbols.entry(symbol.clone()).or_insert((size, name));
            if first != size {
                return Err(InterpError::Symbol {
                    symbol: symbol.to_string(),
                    first,
                    first_input: first_input.to_owned(),
                    second: size,
                    second_input: name.to_owned(),
                });
            }
        }
        bound.push((id, tensor));
    }
    // Reported in the order given, not in that of the map.
    match inputs.iter().find(|(name, _)| given.contains_key(name.as_ref())) {
        Some((name, _)) => Err(InterpError::UnknownInput { name: name.as_ref().to_owned(), expected: describe(graph) }),
        None => Ok(bound),
    }
}

fn check(name: &str, tensor: &Tensor, expected: &TensorType) -> Result<(), InterpError> {
    let got = tensor.ty();
    let hint = if got.dtype != expected.dtype {
        format!("convert the data to {}", expected.dtype)
    } else if got.shape.rank() != expected.shape.rank() {
        format!("it needs {} dimensions, not {}", expected.shape.rank(), got.shape.rank())
    } else if let Some(axis) = got.shape.0.iter().zip(&expected.shape.0).position(|(a, b)| !a.compatible(b)) {
        format!("dimension {axis} must be {}", expected.shape.0[axis])
    } else {
        return Ok(());
    };
    Err(InterpError::InputType {
        name: name.to_owned(),
        got: Box::new(got),
        expected: Box::new(expected.clone()),
        hint,
    })
}
