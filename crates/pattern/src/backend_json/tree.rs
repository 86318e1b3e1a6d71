//! The operators of a pattern without their variables: what PyTorch's patterns can say.

use quantc_ops::{Attr, OpClass, OpRef, lookup};

use crate::ast::{CallPat, FieldPat, Pat, VarId};
use crate::backend::{BackendPatternConfig, Role};

/// A call and the calls that its operands come from; any other operand is a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// The operator.
    pub(super) op: &'static str,
    /// The operand that is quantized as a weight, the first of several.
    pub(super) weight: Option<usize>,
    /// Operands that are calls, with their positions.
    pub(super) children: Vec<(usize, Node)>,
}

impl Node {
    /// A call of values.
    pub(super) fn new(op: &'static str, weight: Option<usize>) -> Node {
        Node { op, weight, children: Vec::new() }
    }

    /// A call whose first operand is another.
    pub(super) fn on(self, inner: Option<Node>) -> Node {
        Node { children: inner.into_iter().map(|n| (0, n)).collect(), ..self }
    }

    /// The call without calls below it that is reached by first operands: PyTorch's root of the pattern.
    pub(super) fn bottom(&self) -> &Node {
        self.children.first().map_or(self, |(_, inner)| inner.bottom())
    }

    /// The calls from the bottom up, if no call has two below it.
    pub(super) fn path(&self) -> Option<Vec<&Node>> {
        let mut path = match &self.children[..] {
            [] => Vec::new(),
            [(_, inner)] => inner.path()?,
            _ => return None,
        };
        path.push(self);
        Some(path)
    }

    /// Whether each call has one operand: what a tuple can say.
    pub(super) fn is_chain(&self) -> bool {
        self.children.is_empty()
            || matches!(&self.children[..], [(0, inner)] if operands(self.op) == 1 && inner.is_chain())
    }

    /// Without batch norms behind layers, which are folded before patterns are matched; and whether there were any.
    pub(super) fn folded(mut self) -> (Node, bool) {
        let mut any = false;
        for (_, child) in &mut self.children {
            let (inner, folded) = child.clone().folded();
            *child = inner;
            any |= folded;
        }
        match &self.children[..] {
            [(0, inner)] if self.op == BATCH_NORM && inner.children.is_empty() && takes_batch_norm(inner) => {
                (inner.clone(), true)
            }
            _ => (self, any),
        }
    }

    /// The same with the two operands of the first call that has a choice swapped, if there is one.
    pub(super) fn mirrored(&self) -> Option<Node> {
        let mut node = self.clone();
        match &mut node.children[..] {
            [(at, _)] if operands(self.op) == 2 && commutes(self.op) => *at = 1 - *at,
            [(_, inner)] => *inner = inner.mirrored()?,
            _ => return None,
        }
        Some(node)
    }
}

/// The operator that is folded into layers.
pub(super) const BATCH_NORM: &str = "batch_norm";

/// Whether a batch norm behind the call is folded into it.
pub(super) fn takes_batch_norm(node: &Node) -> bool {
    let layer = lookup(node.op)
        .filter(|op| op.class() == OpClass::Heavy)
        .and_then(|op| op.signature().inputs.get(node.weight?));
    layer.is_some_and(|input| input.name == "weight")
}

/// Operators of a layer's name, a batch norm behind the layer left out.
pub(super) fn without_batch_norm(ops: &[&'static str], weight: Option<usize>) -> Vec<&'static str> {
    let mut ops = ops.to_vec();
    if ops.get(1) == Some(&BATCH_NORM) && takes_batch_norm(&Node::new(ops[0], weight)) {
        ops.remove(1);
    }
    ops
}

/// How many operands are tensors of equal rights: two of additions, products and the like, else one.
pub(super) fn operands(op: &str) -> usize {
    let inputs = lookup(op).map_or(&[][..], |op: OpRef| op.signature().inputs);
    if inputs.len() == 2 && inputs[1].name == "other" { 2 } else { 1 }
}

/// Whether the two operands may be swapped.
pub(super) fn commutes(op: &str) -> bool {
    ["add", "mul", "maximum", "minimum"].contains(&op)
}

/// A tree that a pattern matches, and what else it asks for.
#[derive(Clone, Debug)]
pub(super) struct Expanded {
    /// The tree.
    pub(super) node: Node,
    /// The variables of the bottom call's operands.
    pub(super) bottom: Vec<Option<VarId>>,
    /// Attributes that must have a value.
    pub(super) attributes: Vec<(&'static str, Attr)>,
}

/// Every tree that a pattern matches.
///
/// # Errors
/// What PyTorch's patterns cannot say.
pub(super) fn expand(config: &BackendPatternConfig) -> Result<Vec<Expanded>, String> {
    expand_pat(config, &config.pattern.root)
}

fn expand_pat(config: &BackendPatternConfig, pat: &Pat) -> Result<Vec<Expanded>, String> {
    match pat {
        Pat::Call(call) => call
            .ops
            .iter()
            .map(|op| expand_call(config, call, op.name()))
            .collect::<Result<Vec<_>, _>>()
            .map(|trees| trees.concat()),
        Pat::Either(pats) => {
            pats.iter().map(|p| expand_pat(config, p)).collect::<Result<Vec<_>, _>>().map(|trees| trees.concat())
        }
        _ => Err("it is no tree of calls".to_owned()),
    }
}

/// An operand: a value, by its variable, or a call.
#[derive(Clone)]
enum Operand {
    Value(Option<VarId>),
    Call(Expanded),
}

fn expand_call(config: &BackendPatternConfig, call: &CallPat, op: &'static str) -> Result<Vec<Expanded>, String> {
    let mut choices: Vec<Vec<Operand>> = vec![Vec::new()];
    for input in call.inputs.iter().chain(&call.rest) {
        let operands = match input {
            Pat::Var(v) | Pat::Optional(v) => vec![Operand::Value(Some(*v))],
            Pat::Any | Pat::None => vec![Operand::Value(None)],
            Pat::Scalar(v) | Pat::Near(v) => return Err(format!("it asks for the constant {v}")),
            Pat::Call(_) | Pat::Either(_) | Pat::Output { .. } => {
                expand_pat(config, input)?.into_iter().map(Operand::Call).collect()
            }
        };
        let extend = |chosen: &Vec<Operand>| {
            operands.iter().map(|o| chosen.iter().cloned().chain([o.clone()]).collect()).collect::<Vec<Vec<Operand>>>()
        };
        choices = choices.iter().flat_map(extend).collect();
    }
    let own: Vec<(&str, Attr)> = call
        .fields
        .iter()
        .filter_map(|(field, value)| match value {
            FieldPat::Equals(attr) => Some((*field, attr.clone())),
            FieldPat::Bind(_) => None,
        })
        .collect();
    let weight = |var: &Option<VarId>| var.is_some_and(|v| config.role(v) == Some(Role::Weight));
    let finish = |chosen: Vec<Operand>| {
        let mut out = Expanded { node: Node::new(op, None), bottom: Vec::new(), attributes: own.clone() };
        let mut vars = Vec::new();
        for (i, operand) in chosen.into_iter().enumerate() {
            match operand {
                Operand::Value(var) => {
                    if weight(&var) {
                        out.node.weight.get_or_insert(i);
                    }
                    vars.push(var);
                }
                Operand::Call(inner) => {
                    if out.node.children.is_empty() {
                        out.bottom = inner.bottom;
                    }
                    out.node.children.push((i, inner.node));
                    out.attributes.extend(inner.attributes);
                }
            }
        }
        if out.node.children.is_empty() {
            out.bottom = vars;
        }
        out
    };
    Ok(choices.into_iter().map(finish).collect())
}
