//! One backtracking matcher for everything patterns are matched on: a graph (a value has one definition) and an e-graph (a
//! class has many).

use std::ops::ControlFlow;

use quantc_ops::{Attr, Attrs, InputKind, OpRef};
use quantc_tensor::{Tensor, TensorType};
use smallvec::SmallVec;

use crate::ast::{CallPat, FieldPat, IndexPat, Pat, Pattern, VarId};
use crate::expr::near;

/// What patterns are matched on.
pub trait Host {
    /// A value: what an input of a call refers to.
    type Value: Copy + Eq + std::fmt::Debug;
    /// A call.
    type Node: Copy + std::fmt::Debug;

    /// The calls that compute the value, in a fixed order.
    fn definitions(&self, value: Self::Value) -> SmallVec<[Self::Node; 2]>;
    /// Those of [`Host::definitions`] that are calls of one of the operators.
    fn calls_of(&self, value: Self::Value, ops: &[OpRef]) -> SmallVec<[Self::Node; 2]>;
    /// If the value is an output of calls with several outputs: which one, and the value that stands for all outputs of the
    /// call.
    fn projections(&self, value: Self::Value) -> SmallVec<[(u32, Self::Value); 1]>;
    /// Operator and attributes of a call.
    fn call(&self, node: Self::Node) -> (OpRef, &Attrs);
    /// Number of inputs of a call.
    fn input_count(&self, node: Self::Node) -> usize;
    /// Input `i` of a call, `None` if absent.
    fn input(&self, node: Self::Node, i: usize) -> Option<Self::Value>;
    /// Whether the definition of a value may be inside a match, below its root.
    fn may_be_interior(&self, value: Self::Value) -> bool;
    /// The type of a value, if known.
    fn ty(&self, value: Self::Value) -> Option<&TensorType>;
    /// The value, if it is a parameter.
    fn constant(&self, value: Self::Value) -> Option<&Tensor>;
    /// Whether the value is computed from parameters alone.
    fn is_constant(&self, value: Self::Value) -> bool;
}

/// What a variable is bound to.
pub enum Binding<H: Host + ?Sized> {
    /// Nothing yet.
    Unset,
    /// A value.
    Value(H::Value),
    /// An optional input that was not given.
    Absent,
    /// The attributes of this call.
    Record(H::Node),
    /// An attribute; `None` if it was not given and has no default.
    Field(Option<Attr>),
    /// A call.
    Node(H::Node),
    /// One binding per repetition.
    Seq(Vec<Binding<H>>),
}

impl<H: Host + ?Sized> Clone for Binding<H> {
    fn clone(&self) -> Self {
        match self {
            Binding::Unset => Binding::Unset,
            Binding::Value(v) => Binding::Value(*v),
            Binding::Absent => Binding::Absent,
            Binding::Record(n) => Binding::Record(*n),
            Binding::Field(a) => Binding::Field(a.clone()),
            Binding::Node(n) => Binding::Node(*n),
            Binding::Seq(items) => Binding::Seq(items.clone()),
        }
    }
}

/// Bindings by variable.
pub type Bindings<H> = Vec<Binding<H>>;

/// A match.
pub struct Found<H: Host> {
    /// What each variable is bound to.
    pub bindings: Bindings<H>,
    /// The matched calls, the root first, inputs in order after it.
    pub nodes: SmallVec<[H::Node; 4]>,
}

impl<H: Host> Clone for Found<H> {
    fn clone(&self) -> Self {
        Found { bindings: self.bindings.clone(), nodes: self.nodes.clone() }
    }
}

/// A way of matching that came to nothing.
pub struct Miss<'a, H: Host> {
    /// The part of the pattern that did not fit.
    pub pat: &'a Pat,
    /// What it did not fit, `None` for an absent input.
    pub value: Option<H::Value>,
    /// The call that has a right operator but does not fit otherwise.
    pub node: Option<H::Node>,
    /// What had matched by then.
    pub state: &'a Found<H>,
}

/// What a search reports to.
pub trait Sink<H: Host> {
    /// A match; the search goes on unless this breaks.
    fn found(&mut self, found: Found<H>) -> ControlFlow<()>;

    /// A way of matching that came to nothing.
    fn missed(&mut self, _miss: &Miss<'_, H>) {}
}

impl<H: Host, F: FnMut(Found<H>) -> ControlFlow<()>> Sink<H> for F {
    fn found(&mut self, found: Found<H>) -> ControlFlow<()> {
        self(found)
    }
}

/// Calls `found` for every match of the pattern at a value until it breaks.
pub fn search<H: Host>(
    host: &H,
    pattern: &Pattern,
    root: H::Value,
    mut found: impl FnMut(Found<H>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    search_into(host, pattern, root, &mut found)
}

/// Reports every match of the pattern at a value, and every miss, until the sink breaks.
pub fn search_into<H: Host>(host: &H, pattern: &Pattern, root: H::Value, sink: &mut dyn Sink<H>) -> ControlFlow<()> {
    let goals = SmallVec::from_elem(Goal { pat: &pattern.root, value: Some(root), root: true }, 1);
    let state = Found { bindings: vec![Binding::Unset; pattern.vars.len()], nodes: SmallVec::new() };
    step(host, goals, state, sink)
}

struct Goal<'p, V> {
    pat: &'p Pat,
    value: Option<V>,
    root: bool,
}

impl<V: Copy> Clone for Goal<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V: Copy> Copy for Goal<'_, V> {}

type Goals<'p, V> = SmallVec<[Goal<'p, V>; 8]>;

fn step<H: Host>(
    host: &H,
    mut goals: Goals<'_, H::Value>,
    mut state: Found<H>,
    sink: &mut dyn Sink<H>,
) -> ControlFlow<()> {
    while let Some(Goal { pat, value, root }) = goals.pop() {
        let mut node = None;
        let ok = match (pat, value) {
            (Pat::Any, _) | (Pat::None, None) => true,
            (Pat::Optional(var), None) => bind_absent(&mut state, *var),
            (Pat::Var(var) | Pat::Optional(var), Some(v)) => bind_value(&mut state, *var, v),
            (Pat::Scalar(want), Some(v)) => scalar(host, v).is_some_and(|s| s == *want),
            (Pat::Near(want), Some(v)) => scalar(host, v).is_some_and(|s| near(s, *want)),
            (Pat::Either(pats), _) => {
                let [pats @ .., last] = &pats[..] else { return ControlFlow::Continue(()) };
                for pat in pats {
                    let mut goals = goals.clone();
                    goals.push(Goal { pat, value, root });
                    step(host, goals, state.clone(), sink)?;
                }
                goals.push(Goal { pat: last, value, root });
                true
            }
            (Pat::Output { index, of }, Some(v)) => {
                let projections = host.projections(v);
                if projections.is_empty() {
                    sink.missed(&Miss { pat, value, node, state: &state });
                }
                for (output, whole) in projections {
                    let mut state = state.clone();
                    let fits = match index {
                        IndexPat::Exactly(i) => *i == output,
                        IndexPat::Bind(var) => bind_field(&mut state, *var, Some(Attr::Int(i64::from(output)))),
                    };
                    if fits {
                        let mut goals = goals.clone();
                        goals.push(Goal { pat: of, value: Some(whole), root });
                        step(host, goals, state, sink)?;
                    } else {
                        sink.missed(&Miss { pat, value, node, state: &state });
                    }
                }
                return ControlFlow::Continue(());
            }
            (Pat::Call(call), Some(v)) => {
                if !root && !host.may_be_interior(v) {
                    sink.missed(&Miss { pat, value, node, state: &state });
                    return ControlFlow::Continue(());
                }
                let nodes = host.calls_of(v, &call.ops);
                let [nodes @ .., last] = &nodes[..] else {
                    sink.missed(&Miss { pat, value, node, state: &state });
                    return ControlFlow::Continue(());
                };
                for candidate in nodes {
                    let (mut goals, mut state) = (goals.clone(), state.clone());
                    if enter(host, call, *candidate, &mut goals, &mut state) {
                        step(host, goals, state, sink)?;
                    } else {
                        sink.missed(&Miss { pat, value, node: Some(*candidate), state: &state });
                    }
                }
                node = Some(*last);
                enter(host, call, *last, &mut goals, &mut state)
            }
            (_, None) | (Pat::None, Some(_)) => false,
        };
        if !ok {
            sink.missed(&Miss { pat, value, node, state: &state });
            return ControlFlow::Continue(());
        }
    }
    sink.found(state)
}

fn scalar<H: Host>(host: &H, value: H::Value) -> Option<f32> {
    host.constant(value)?.as_scalar_f32()
}

fn bind_value<H: Host>(state: &mut Found<H>, var: VarId, value: H::Value) -> bool {
    match &state.bindings[var] {
        Binding::Unset => {
            state.bindings[var] = Binding::Value(value);
            true
        }
        Binding::Value(bound) => *bound == value,
        _ => false,
    }
}

fn bind_absent<H: Host>(state: &mut Found<H>, var: VarId) -> bool {
    if matches!(state.bindings[var], Binding::Unset) {
        state.bindings[var] = Binding::Absent;
    }
    matches!(state.bindings[var], Binding::Absent)
}

fn bind_field<H: Host>(state: &mut Found<H>, var: VarId, value: Option<Attr>) -> bool {
    match &state.bindings[var] {
        Binding::Unset => {
            state.bindings[var] = Binding::Field(value);
            true
        }
        Binding::Field(bound) => *bound == value,
        _ => false,
    }
}

fn bind_record<H: Host>(host: &H, state: &mut Found<H>, var: VarId, node: H::Node) -> bool {
    match &state.bindings[var] {
        Binding::Unset => {
            state.bindings[var] = Binding::Record(node);
            true
        }
        Binding::Record(bound) => host.call(*bound) == host.call(node),
        _ => false,
    }
}

/// Matches the call itself and pushes its inputs as goals.
fn enter<'p, H: Host>(
    host: &H,
    pat: &'p CallPat,
    node: H::Node,
    goals: &mut Goals<'p, H::Value>,
    state: &mut Found<H>,
) -> bool {
    let (op, attrs) = host.call(node);
    let sig = op.signature();
    let count = host.input_count(node);
    if pat.rest.is_none() && (pat.inputs.len()..count).any(|i| host.input(node, i).is_some()) {
        return false;
    }
    let variadic = sig.inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
    if variadic && count < pat.inputs.len() {
        return false;
    }
    for (name, field) in &pat.fields {
        let value = sig.attr(attrs, name);
        let ok = match field {
            FieldPat::Equals(want) => value.as_ref() == Some(want),
            FieldPat::Bind(var) => bind_field(state, *var, value),
        };
        if !ok {
            return false;
        }
    }
    if pat.others_default && attrs.iter().any(|(name, _)| !pat.fields.iter().any(|(f, _)| *f == name)) {
        return false;
    }
    if pat.attrs.is_some_and(|var| !bind_record(host, state, var, node)) {
        return false;
    }
    if let Some(var) = pat.label {
        state.bindings[var] = Binding::Node(node);
    }
    state.nodes.push(node);
    if let Some(rest) = &pat.rest
        && !repeat(host, rest, node, pat.inputs.len()..count, state)
    {
        return false;
    }
    for (i, input) in pat.inputs.iter().enumerate().rev() {
        goals.push(Goal { pat: input, value: host.input(node, i), root: false });
    }
    true
}

/// Matches each of the repeated inputs on its own (the first way that fits) and collects the variables.
fn repeat<H: Host>(host: &H, pat: &Pat, node: H::Node, inputs: std::ops::Range<usize>, state: &mut Found<H>) -> bool {
    let unset = vec![Binding::Unset; state.bindings.len()];
    let mut columns: Vec<Vec<Binding<H>>> = vec![Vec::new(); state.bindings.len()];
    let repetitions = inputs.len();
    for i in inputs {
        let goals = SmallVec::from_elem(Goal { pat, value: host.input(node, i), root: false }, 1);
        let mut first = None;
        let start = Found { bindings: unset.clone(), nodes: SmallVec::new() };
        let _ = step(host, goals, start, &mut |f: Found<H>| {
            first = Some(f);
            ControlFlow::Break(())
        });
        let Some(first) = first else { return false };
        state.nodes.extend(first.nodes);
        for (column, binding) in columns.iter_mut().zip(first.bindings) {
            if !matches!(binding, Binding::Unset) {
                column.push(binding);
            }
        }
    }
    for (var, column) in columns.into_iter().enumerate() {
        // A variable below `either` may be unset in some repetitions; the checker makes alternatives bind the same ones.
        if column.len() == repetitions && repetitions > 0 {
            state.bindings[var] = Binding::Seq(column);
        }
    }
    true
}
