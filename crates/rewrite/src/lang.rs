//! The e-graph's nodes and what is known of its classes.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use egg::{Analysis, DidMerge, Id, Language};
use indexmap::IndexSet;
use quantc_ops::{Attr, Attrs, OpRef, operators};
use quantc_tensor::{DType, Gap, Tensor, TensorType};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

use crate::apply::constant;
use crate::provenance::Log;

/// The e-graph.
pub(crate) type EGraph = egg::EGraph<ENode, Facts>;

/// An absent input.
pub(crate) const NONE: u32 = 0;
/// A value from outside; the payload is its index in [`crate::encode::Encoded::inputs`].
pub(crate) const INPUT: u32 = 1;
/// A parameter or constant; the payload is its index in [`Facts::leaves`].
pub(crate) const LEAF: u32 = 2;
/// One output of a call with several; the payload is its number.
pub(crate) const OUTPUT: u32 = 3;
/// All outputs of the graph.
pub(crate) const ROOT: u32 = 4;
/// Calls: this plus the operator's place in the table of operators.
pub(crate) const CALL: u32 = 5;

/// An e-node: a call, or one of the kinds above.
///
/// Attributes are one interned record in `payload`: the matcher binds it as a whole, and a node stays small. Heavy calls carry
/// an identity, so that two of them that share weights but come from different places of the model (and may get different
/// configurations) never merge.
#[derive(Clone, Debug)]
pub(crate) struct ENode {
    pub(crate) op: u32,
    pub(crate) payload: u32,
    pub(crate) identity: u32,
    /// Index in [`Facts::log`]. Not part of the node's identity: of equal nodes the first one's is kept.
    pub(crate) provenance: u32,
    pub(crate) children: SmallVec<[Id; 4]>,
}

impl ENode {
    /// A node without children.
    pub(crate) fn leaf(op: u32, payload: u32) -> ENode {
        ENode { op, payload, identity: 0, children: SmallVec::new(), provenance: 0 }
    }

    /// Whether it is a call.
    pub(crate) fn is_call(&self) -> bool {
        self.op >= CALL
    }

    fn key(&self) -> (u32, u32, u32, &[Id]) {
        (self.op, self.payload, self.identity, &self.children)
    }
}

impl PartialEq for ENode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for ENode {}
impl PartialOrd for ENode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ENode {
    /// Equal nodes are ordered by provenance: where a class drops duplicates it sorts first and keeps the oldest.
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key()).then(self.provenance.cmp(&other.provenance))
    }
}
impl Hash for ENode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Language for ENode {
    type Discriminant = u32;

    fn discriminant(&self) -> u32 {
        self.op
    }

    fn matches(&self, other: &Self) -> bool {
        (self.op, self.payload, self.identity, self.children.len())
            == (other.op, other.payload, other.identity, other.children.len())
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// What is known of a class, 12 bytes and `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// Index in [`Facts::types`], [`UNKNOWN`] if not known.
    pub(crate) ty: u32,
    /// Index in [`Facts::leaves`], [`UNKNOWN`] if the class is no leaf.
    pub(crate) leaf: u32,
    /// Whether it is computed from leaves alone.
    pub(crate) constant: bool,
}

/// No type, no leaf.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// In place of a type: an input that is not given.
pub(crate) const ABSENT: u32 = UNKNOWN - 1;

/// A parameter of the graph or a constant a rule made.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// The parameter's name; `None` for a constant of a rule.
    pub(crate) name: Option<Arc<str>>,
    /// Boxed: most parameters of a big graph are looked at by type only.
    pub(crate) value: Option<Box<Tensor>>,
    /// Index in [`Facts::types`].
    pub(crate) ty: u32,
}

/// Output types of a call.
pub(crate) type Types = SmallVec<[TensorType; 1]>;

/// Side tables of the e-graph.
pub(crate) struct Facts {
    ops: Vec<OpRef>,
    codes: FxHashMap<&'static str, u32>,
    pub(crate) attrs: IndexSet<Attrs, FxBuildHasher>,
    pub(crate) types: IndexSet<Types, FxBuildHasher>,
    /// Types of calls, by operator, attributes and the types of their inputs ([`ABSENT`] for one that is not given).
    pub(crate) inferred: FxHashMap<(u32, u32, SmallVec<[u32; 4]>), u32>,
    pub(crate) leaves: Vec<Leaf>,
    /// Leaves of the constants that rules made.
    constants: FxHashMap<Attr, u32>,
    /// Where every call came from.
    pub(crate) log: Log,
    /// Types of the next node to be added, an index in `types`.
    pub(crate) next_type: u32,
    /// Classes that are new or changed since the list was last taken.
    pub(crate) changed: Vec<Id>,
    /// What was merged although it contradicts itself: an unsound rule.
    pub(crate) conflicts: Vec<Conflict>,
}

/// Two different things known of one class.
#[derive(Clone, Debug)]
pub(crate) struct Conflict {
    /// What they are.
    pub(crate) what: Contradiction,
    /// The class, once it is known.
    pub(crate) class: Option<Id>,
}

/// What can't both be true of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contradiction {
    /// Types, indices in [`Facts::types`].
    Types(u32, u32),
    /// Constants, indices in [`Facts::leaves`].
    Constants(u32, u32),
}

/// How far constants may be apart, relative to the largest magnitude, without being different: rules that compute them in
/// different orders round differently.
const SAME_CONSTANT: f32 = 1e-3;

impl Facts {
    /// Empty tables.
    pub(crate) fn new() -> Facts {
        let ops: Vec<OpRef> = operators().collect();
        let codes = ops.iter().zip(CALL..).map(|(op, code)| (op.name(), code)).collect();
        Facts {
            ops,
            codes,
            attrs: IndexSet::default(),
            types: IndexSet::default(),
            inferred: FxHashMap::default(),
            leaves: Vec::new(),
            constants: FxHashMap::default(),
            log: Log::default(),
            next_type: UNKNOWN,
            changed: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// The code of an operator, if it is known.
    pub(crate) fn code_of(&self, op: OpRef) -> Option<u32> {
        self.codes.get(op.name()).copied()
    }

    /// The code of an operator; one outside the table gets the next.
    pub(crate) fn op_code(&mut self, op: OpRef) -> u32 {
        let ops = &mut self.ops;
        *self.codes.entry(op.name()).or_insert_with(|| {
            ops.push(op);
            CALL + ops.len() as u32 - 1
        })
    }

    pub(crate) fn op(&self, code: u32) -> Option<OpRef> {
        self.ops.get(code.checked_sub(CALL)? as usize).copied()
    }

    pub(crate) fn attrs_id(&mut self, attrs: &Attrs) -> u32 {
        match self.attrs.get_index_of(attrs) {
            Some(i) => i as u32,
            None => self.attrs.insert_full(attrs.clone()).0 as u32,
        }
    }

    pub(crate) fn type_id(&mut self, types: &[TensorType]) -> u32 {
        // Most calls have one output of a type that is known already.
        let types: Types = types.iter().cloned().collect();
        self.types.insert_full(types).0 as u32
    }

    /// The types a class has.
    pub(crate) fn types_of(&self, data: Data) -> Option<&Types> {
        self.types.get_index(data.ty as usize)
    }

    /// A parameter or constant. Exporters write a number out at each of its uses: equal numbers are one leaf, so that a rule that
    /// mentions a value twice finds it.
    pub(crate) fn leaf(&mut self, leaf: Leaf) -> u32 {
        let number = leaf.value.as_deref().filter(|v| v.rank() == 0 && v.dtype() == DType::F32);
        match number.and_then(Tensor::as_scalar_f32).map(Attr::from) {
            Some(number) => {
                let next = self.leaves.len() as u32;
                let known = *self.constants.entry(number).or_insert(next);
                if known == next {
                    self.leaves.push(leaf);
                }
                known
            }
            None => {
                self.leaves.push(leaf);
                self.leaves.len() as u32 - 1
            }
        }
    }

    /// The leaf for a constant of a rule; equal constants are one leaf. `None` if it is no number or list.
    pub(crate) fn constant(&mut self, value: &Attr) -> Option<u32> {
        if let Some(leaf) = self.constants.get(value) {
            return Some(*leaf);
        }
        let tensor = constant(value)?;
        let leaf = self.leaves.len() as u32;
        let ty = self.type_id(&[tensor.ty()]);
        self.leaves.push(Leaf { name: None, ty, value: Some(Box::new(tensor)) });
        self.constants.insert(value.clone(), leaf);
        Some(leaf)
    }

    /// The more specific of two types; a contradiction is recorded.
    fn merge_types(&mut self, a: u32, b: u32) -> u32 {
        if a == b || b == UNKNOWN {
            return a;
        }
        if a == UNKNOWN {
            return b;
        }
        let refine = |x: &TensorType, y: &TensorType| {
            (x.dtype == y.dtype).then(|| x.shape.refine(&y.shape)).flatten().map(|s| TensorType::new(x.dtype, s))
        };
        let (x, y) = (&self.types[a as usize], &self.types[b as usize]);
        let merged: Option<Types> =
            if x.len() == y.len() { x.iter().zip(y).map(|(x, y)| refine(x, y)).collect() } else { None };
        match merged {
            Some(types) => self.type_id(&types),
            None => {
                self.conflicts.push(Conflict { what: Contradiction::Types(a, b), class: None });
                a
            }
        }
    }

    /// One of two leaves that are the same; a contradiction is recorded.
    fn merge_leaves(&mut self, a: u32, b: u32) -> u32 {
        if a == UNKNOWN || b == UNKNOWN || a == b {
            return if a == UNKNOWN { b } else { a };
        }
        let value = |leaf: u32| self.leaves.get(leaf as usize).and_then(|l| l.value.as_ref());
        if let (Some(x), Some(y)) = (value(a), value(b))
            && x.ty() == y.ty()
            && !Gap::between(x, y).within(SAME_CONSTANT)
        {
            self.conflicts.push(Conflict { what: Contradiction::Constants(a, b), class: None });
        }
        a
    }
}

impl Analysis<ENode> for Facts {
    type Data = Data;

    fn make(egraph: &mut EGraph, node: &ENode, _id: Id) -> Data {
        let constant = match node.op {
            LEAF => true,
            NONE | INPUT | ROOT => false,
            OUTPUT => egraph[node.children[0]].data.constant,
            // An absent input does not make a call less constant.
            _ => {
                !node.children.is_empty()
                    && node.children.iter().all(|c| {
                        let class = &egraph[*c];
                        class.data.constant || class.nodes.first().is_some_and(|n| n.op == NONE)
                    })
            }
        };
        let leaf = if node.op == LEAF { node.payload } else { UNKNOWN };
        Data { ty: std::mem::replace(&mut egraph.analysis.next_type, UNKNOWN), leaf, constant }
    }

    fn remake(egraph: &mut EGraph, node: &ENode, id: Id) -> Data {
        egraph.analysis.next_type = UNKNOWN;
        Self::make(egraph, node, id)
    }

    fn merge(&mut self, a: &mut Data, b: Data) -> DidMerge {
        let merged = Data {
            ty: self.merge_types(a.ty, b.ty),
            leaf: self.merge_leaves(a.leaf, b.leaf),
            constant: a.constant || b.constant,
        };
        let changed = DidMerge(merged != *a, merged != b);
        *a = merged;
        changed
    }

    fn modify(egraph: &mut EGraph, id: Id) {
        egraph.analysis.changed.push(id);
        // Merging is followed by this, and does not know the class.
        if let Some(conflict) = egraph.analysis.conflicts.last_mut() {
            conflict.class.get_or_insert(id);
        }
    }
}
