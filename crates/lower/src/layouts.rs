//! Which memory order each value should have, decided before anything is lowered.

use std::collections::{HashMap, HashSet};

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::OpClass;
use quantc_tensor::Dim;

use crate::lowering::Piece;
use crate::table::{self, Order};
use crate::view::{channels_last, row_major};

/// The values better stored with their channels last.
pub(crate) struct Preferences(HashSet<ValueRef>);

impl Preferences {
    /// Whether the value is better stored with its channels last.
    pub(crate) fn channels_last(&self, value: ValueRef) -> bool {
        self.0.contains(&value)
    }
}

/// The results of a call.
pub(crate) fn results(graph: &Graph, id: NodeId) -> impl Iterator<Item = ValueRef> + use<> {
    (0..graph.node(id).types().len() as u32).map(move |output| ValueRef { node: id, output })
}

/// Whether a value has no elements.
pub(crate) fn is_empty(graph: &Graph, value: ValueRef) -> bool {
    graph.ty(value).shape.dims().contains(&Dim::Known(0))
}

/// Whether an input or a result of a call has no elements.
pub(crate) fn touches_empty(graph: &Graph, id: NodeId) -> bool {
    let inputs = graph.node(id).inputs().iter().flatten().copied();
    inputs.chain(results(graph, id)).any(|v| is_empty(graph, v))
}

/// Walks from the outputs to the inputs: convolutions and pools want their input channels-last, elementwise operators pass on
/// what is wanted of their result.
pub(crate) fn prefer(graph: &Graph) -> Preferences {
    let mut wanted = HashSet::new();
    for id in graph.order_reversed() {
        let node = graph.node(id);
        let Some((op, _)) = node.call() else { continue };
        let passes_on = matches!(op.class(), OpClass::Unary | OpClass::Elementwise | OpClass::Quantization);
        let wants = match table::order_of(op.name()) {
            Some(Order::ChannelsLast) => true,
            Some(Order::Any) => wanted.contains(&ValueRef::from(id)),
            Some(Order::RowMajor) => false,
            None => passes_on && wanted.contains(&ValueRef::from(id)),
        };
        if wants {
            let image = |v: &ValueRef| graph.ty(*v).shape.rank() >= 3;
            wanted.extend(node.inputs().iter().flatten().copied().filter(image));
        }
    }
    Preferences(wanted)
}

/// The inputs of concatenations along the innermost axis that their producer can write in place: computed by a step that can leave room
/// between its rows, used by nothing else, and of the concatenation's quantization.
pub(crate) fn pieces(graph: &Graph, preferences: &Preferences) -> HashMap<ValueRef, Piece> {
    let mut pieces = HashMap::new();
    for id in graph.calls() {
        if touches_empty(graph, id) {
            continue;
        }
        let Some((axis, same)) = table::concatenated(graph, id) else { continue };
        let whole = ValueRef::from(id);
        let rank = graph.ty(whole).shape.rank();
        let images = preferences.channels_last(whole) || all_images(graph, id);
        let order = if images { channels_last(rank) } else { row_major(rank) };
        if order.last() != Some(&axis) {
            continue;
        }
        let mut start = 0;
        for (value, same) in graph.node(id).inputs().iter().flatten().zip(same) {
            let strided = producer(graph, *value).is_some_and(table::is_strided);
            if same && strided && graph.users(*value).len() == 1 {
                pieces.insert(*value, Piece { whole, start, order: order.clone() });
            }
            start += graph.ty(*value).shape.dims().get(axis).and_then(|d| d.known()).unwrap_or(0);
        }
    }
    pieces
}

/// The operator that computes a value.
fn producer(graph: &Graph, value: ValueRef) -> Option<&'static str> {
    graph.node(value.node).call().map(|(op, _)| op.name())
}

/// Whether all inputs are computed with their channels last.
fn all_images(graph: &Graph, id: NodeId) -> bool {
    let image = |op| table::order_of(op) == Some(Order::ChannelsLast);
    graph.node(id).inputs().iter().flatten().all(|v| producer(graph, *v).is_some_and(image))
}
