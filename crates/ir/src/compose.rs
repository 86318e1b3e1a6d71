//! Operators written out as the composition of others that defines them.

use quantc_ops::attention::{Calls, Composition};
use quantc_ops::{Attrs, InferCx, OpError, lookup};
use quantc_tensor::Tensor;

use crate::{Graph, IrError, NodeId, Origin, ValueRef};

/// The operator that [`Graph::compose`] writes out.
pub const COMPOSED: &str = "scaled_dot_product_attention";

impl Graph {
    /// Writes every attention out in operators that are run one by one: the same bits, for whoever has no kernel for the whole.
    ///
    /// # Errors
    /// If a call does not type.
    pub fn compose(&mut self) -> Result<(), IrError> {
        let calls: Vec<NodeId> = self.calls().filter(|id| self.node(*id).is_op(COMPOSED)).collect();
        for id in calls {
            let name = self.node(id).name().to_owned();
            let fail = |source| IrError::Op { node: name.clone(), op: COMPOSED.to_owned(), source };
            let (inputs, mask, composition) = parts(self, id).map_err(fail)?;
            let origins = self.node(id).origins().to_vec();
            let mut calls = Before { graph: self, id, name: &name, origins };
            let result = composition.build(&mut calls, inputs, mask)?;
            self.replace_uses(id.into(), result, &[]);
            self.remove(id)?;
        }
        Ok(())
    }
}

type Parts = ([ValueRef; 3], Option<ValueRef>, Composition);

fn parts(graph: &Graph, id: NodeId) -> Result<Parts, OpError> {
    let node = graph.node(id);
    let (Some((op, attrs)), [Some(query), Some(key), Some(value), rest @ ..]) = (node.call(), node.inputs()) else {
        return Err(OpError::new("an input is missing"));
    };
    let attrs = InferCx::new(op.signature(), &[], attrs);
    let mask = rest.first().copied().flatten();
    let composition = Composition {
        scale: attrs.float("scale")?,
        fill: attrs.float("fill")?,
        key_rank: graph.ty(*key).shape.rank(),
        mask: mask.map(|m| graph.ty(m).dtype),
    };
    Ok(([*query, *key, *value], mask, composition))
}

/// Calls that are put before the one they replace.
struct Before<'g> {
    graph: &'g mut Graph,
    id: NodeId,
    name: &'g str,
    origins: Vec<Origin>,
}

impl Calls for Before<'_> {
    type Value = ValueRef;
    type Error = IrError;

    fn constant(&mut self, value: Tensor) -> ValueRef {
        let name = self.graph.fresh_param_name(&format!("{}.const", self.name));
        self.graph.param(&name, value).into()
    }

    fn call(&mut self, op: &'static str, inputs: &[ValueRef], attrs: Attrs) -> Result<ValueRef, IrError> {
        let name = format!("{}.{op}", self.name);
        let inputs: Vec<Option<ValueRef>> = inputs.iter().copied().map(Some).collect();
        let missing =
            || IrError::Op { node: name.clone(), op: op.to_owned(), source: OpError::new("there is no such operator") };
        let op = lookup(op).ok_or_else(missing)?;
        Ok(self.graph.call_before(Some(self.id), &name, op, &inputs, attrs, &self.origins)?.into())
    }
}
