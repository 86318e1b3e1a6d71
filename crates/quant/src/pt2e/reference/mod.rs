//! The reference representation: a q/dq graph with its integer arithmetic written out (torch.ao.quantization.pt2e.representation).
//!
//! The graph is followed as reference evaluation does (docs/numerics.md), but each value that has integers behind it is represented by the
//! tensors that they are in, and each operator by calls on those: products are `integer.*` calls with i32 results, a quantize of their
//! result is a multiplication of the accumulator that is rounded half to even. PyTorch's rewrite truncates there; this one has the bits of
//! the q/dq graph.

mod builder;
mod ops;
mod scaled;

use std::collections::HashMap;

use quantc_ir::{Graph, NodeId, NodeKind, ValueRef};
use quantc_ops::{Attr, Attrs, IntegerUse, OpClass, OpRef};
use quantc_tensor::{DType, Tensor};

use self::builder::Builder;
use self::scaled::{Ints, Rep, ScaleOf, Scaled, Zero};
use super::error::Pt2eError;

/// A graph in the reference representation.
#[derive(Clone, Debug)]
pub struct ReferenceGraph {
    /// The graph.
    pub graph: Graph,
    /// Calls that could not be written out; they and what they depend on are as in the q/dq graph.
    pub kept: Vec<String>,
}

/// Writes out the integer arithmetic of a q/dq graph
/// (torch.ao.quantization.pt2e.representation.reference_representation_rewrite): linear layers (dynamic ones too), convolutions,
/// additions, multiplications, maximum and adaptive average pooling, movement, clamps, and every quantize and dequantize. The outputs
/// are those of the q/dq graph, bit for bit.
///
/// # Errors
/// If the graph is not valid.
pub fn reference_representation_rewrite(source: &Graph) -> Result<ReferenceGraph, Pt2eError> {
    let mut graph = Graph::new(source.name());
    let mut values = HashMap::new();
    for id in source.placeholders() {
        let node = source.node(id);
        let placeholder = graph.placeholder(node.name(), node.types()[0].clone());
        values.insert(ValueRef::from(id), Rep::Same(placeholder.into()));
    }
    let mut r = Rewriter { source, builder: Builder::new(graph), values, kept: Vec::new() };
    for id in source.order() {
        let node = source.node(id);
        match node.kind() {
            NodeKind::GetAttr { param } => {
                let value = match (source.params().get(param).map(|p| &p.value), node.types()) {
                    (Some(Some(value)), _) => r.builder.graph.param(param, value.clone()),
                    (_, [ty, ..]) => r.builder.graph.declare_param(param, ty.clone()),
                    _ => continue,
                };
                r.values.insert(id.into(), Rep::Same(value.into()));
            }
            NodeKind::Call { op, attrs } => {
                r.builder.on_behalf_of(source, id);
                r.call(id, *op, attrs)?;
            }
            NodeKind::Placeholder | NodeKind::Output { .. } => {}
        }
    }
    let mut outputs = Vec::new();
    for (name, value) in source.outputs() {
        r.builder.on_behalf_of(source, value.node);
        let rep = r.rep(value)?;
        outputs.push((name, r.plain(&rep)?));
    }
    let Rewriter { builder: Builder { mut graph, .. }, kept, .. } = r;
    graph.set_outputs(&outputs);
    graph.eliminate_dead();
    graph.verify()?;
    Ok(ReferenceGraph { graph, kept })
}

struct Rewriter<'s> {
    source: &'s Graph,
    builder: Builder,
    values: HashMap<ValueRef, Rep>,
    kept: Vec<String>,
}

impl Rewriter<'_> {
    fn rep(&self, value: ValueRef) -> Result<Rep, Pt2eError> {
        let missing = || {
            Pt2eError::Ir(quantc_ir::IrError::Invalid {
                node: self.source.node(value.node).name().to_owned(),
                message: "is used before it is computed".to_owned(),
            })
        };
        self.values.get(&value).cloned().ok_or_else(missing)
    }

    /// The tensor, without integers behind it.
    fn plain(&mut self, rep: &Rep) -> Result<ValueRef, Pt2eError> {
        match rep {
            Rep::Same(v) | Rep::Kept(v) => Ok(*v),
            Rep::Scaled(s) => self.builder.real(s),
        }
    }

    /// The value as the q/dq graph has it; of sums the real tensor, which is what operators that are kept see of them.
    fn as_in_source(&mut self, rep: &Rep) -> Result<ValueRef, Pt2eError> {
        let Rep::Scaled(s) = rep else { return self.plain(rep) };
        let Ints::Codes { q, zero } = &s.ints else { return self.builder.real(s) };
        let (op, inputs, attrs) = match (&s.scale, zero) {
            (ScaleOf::One(scale), Zero::One(zero)) => {
                let attrs = Attrs::new().with("scale", *scale).with("zero_point", *zero);
                ("dequantize_per_tensor", vec![*q], attrs)
            }
            (ScaleOf::Runtime(scale), Zero::Runtime(zero)) => {
                ("dequantize_per_tensor.tensor", vec![*q, *scale, *zero], Attrs::new())
            }
            (ScaleOf::Channels { axis, scales }, zero) => {
                let scales = self.builder.constant("scales", Tensor::vector(scales.clone()));
                let mut inputs = vec![*q, scales];
                if let Zero::Channels { zeros, .. } = zero {
                    inputs.push(self.builder.constant("zero_points", Tensor::vector(zeros.clone())));
                }
                ("dequantize_per_channel", inputs, Attrs::new().with("axis", *axis))
            }
            // Scale and zero point come from one call.
            _ => return self.builder.real(s),
        };
        let value = self.builder.call(op, &inputs, attrs)?;
        self.builder.clamp(value, s.clamp)
    }

    /// Represents a call.
    fn call(&mut self, id: NodeId, op: OpRef, attrs: &Attrs) -> Result<(), Pt2eError> {
        let node = self.source.node(id);
        let mut inputs = Vec::with_capacity(node.inputs().len());
        for value in node.inputs() {
            inputs.push(value.map(|v| self.rep(v)).transpose()?);
        }
        if let Some(rep) = self.written_out(op, attrs, &inputs)? {
            self.values.insert(id.into(), rep);
            return Ok(());
        }
        if self.moved(id, op, attrs, &inputs)? {
            return Ok(());
        }
        self.copied(id, op, attrs, &inputs)
    }

    /// A call that moves the elements of one quantized tensor (maximum pooling picks them): the same call on the integers.
    fn moved(&mut self, id: NodeId, op: OpRef, attrs: &Attrs, inputs: &[Option<Rep>]) -> Result<bool, Pt2eError> {
        // Padding puts in real zeros, which are other integers.
        let moves = match op.class() {
            OpClass::Movement => !matches!(op.name(), "cat" | "pad"),
            OpClass::Pool => op.integer_use() == IntegerUse::Moved,
            _ => false,
        };
        let [Some(Rep::Scaled(s)), rest @ ..] = inputs else { return Ok(false) };
        let Ints::Codes { q, zero } = &s.ints else { return Ok(false) };
        let one = !matches!(zero, Zero::Channels { .. }) && !matches!(s.scale, ScaleOf::Channels { .. });
        if !moves || !one || rest.iter().flatten().any(|r| !matches!(r, Rep::Same(_))) {
            return Ok(false);
        }
        let mut operands = vec![Some(*q)];
        for rep in rest {
            operands.push(rep.as_ref().map(|r| self.plain(r)).transpose()?);
        }
        let origins: Vec<_> = self.source.node(id).origins().iter().map(without_handle).collect();
        let new = self.builder.same_call(op, &operands, attrs.clone(), &origins)?;
        for output in 0..self.source.node(id).types().len() as u32 {
            let ints = Ints::Codes { q: ValueRef { node: new, output }, zero: zero.clone() };
            self.values.insert(ValueRef { node: id, output }, Rep::Scaled(Scaled { ints, ..s.clone() }));
        }
        Ok(true)
    }

    /// The same call. It sees reals, unless it would do something with integers that can't be written out.
    fn copied(&mut self, id: NodeId, op: OpRef, attrs: &Attrs, inputs: &[Option<Rep>]) -> Result<(), Pt2eError> {
        let codes = |r: &Rep| match r {
            Rep::Kept(_) => true,
            Rep::Scaled(s) => matches!(s.ints, Ints::Codes { .. }) || op.integer_use() == IntegerUse::HandedOn,
            Rep::Same(_) => false,
        };
        let sees_integers = match op.integer_use() {
            IntegerUse::Unseen => false,
            // What is only known to quantize or make integers is left alone.
            IntegerUse::Quantized | IntegerUse::MakesCodes | IntegerUse::MakesSums => true,
            _ => inputs.iter().flatten().any(codes),
        };
        let mut operands = Vec::with_capacity(inputs.len());
        for rep in inputs {
            operands.push(match rep {
                None => None,
                Some(rep) if sees_integers => Some(self.as_in_source(rep)?),
                Some(rep) => Some(self.plain(rep)?),
            });
        }
        let origins = self.source.node(id).origins();
        let new = self.builder.same_call(op, &operands, attrs.clone(), origins)?;
        if sees_integers {
            self.kept.push(self.source.node(id).name().to_owned());
        }
        for (output, ty) in (0u32..).zip(self.source.node(id).types()) {
            let (old, new) = (ValueRef { node: id, output }, ValueRef { node: new, output });
            let kept = sees_integers && ty.dtype == DType::F32;
            self.builder.graph.refine_type(new, ty)?;
            self.values.insert(old, if kept { Rep::Kept(new) } else { Rep::Same(new) });
        }
        Ok(())
    }
}

fn without_handle(origin: &quantc_ir::Origin) -> quantc_ir::Origin {
    quantc_ir::Origin { handle: None, ..origin.clone() }
}

/// An attribute of a call or its default.
fn attribute(op: OpRef, attrs: &Attrs, name: &str) -> Option<Attr> {
    op.signature().attr(attrs, name)
}
