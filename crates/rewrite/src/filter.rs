//! A cheap test that a match needs to pass: whether the operators of the pattern are there at all. It only looks at operators, so
//! it allocates nothing, and it turns away nearly everything that does not match.

use egg::Id;
use quantc_pattern::ast::Pat;

use crate::host::Classes;
use crate::lang::{Facts, OUTPUT, UNKNOWN};

/// Which operators a class has, as a set of residues: a class without an operator may have its residue.
pub(crate) type Ops = u128;

/// The residue of an operator.
pub(crate) fn op_bit(op: u32) -> Ops {
    1 << (op % Ops::BITS)
}

/// What a value must be for a pattern to match.
pub(crate) enum Filter {
    Anything,
    /// A parameter or constant.
    Leaf,
    /// An output of a call.
    Output(Box<Filter>),
    Call {
        ops: Box<[u32]>,
        bits: Ops,
        /// Of the inputs that must be something, by position.
        inputs: Box<[(usize, Filter)]>,
    },
    Either(Vec<Filter>),
}

impl Filter {
    /// The filter of a pattern.
    pub(crate) fn new(pat: &Pat, facts: &Facts) -> Filter {
        match pat {
            Pat::Any | Pat::Var(_) | Pat::Optional(_) | Pat::None => Filter::Anything,
            Pat::Scalar(_) | Pat::Near(_) => Filter::Leaf,
            Pat::Either(pats) => {
                let all: Vec<Filter> = pats.iter().map(|p| Filter::new(p, facts)).collect();
                if all.iter().any(|f| matches!(f, Filter::Anything)) { Filter::Anything } else { Filter::Either(all) }
            }
            Pat::Output { of, .. } => Filter::Output(Box::new(Filter::new(of, facts))),
            Pat::Call(call) => {
                let ops: Box<[u32]> = call.ops.iter().filter_map(|op| facts.code_of(*op)).collect();
                let inputs = call.inputs.iter().map(|p| Filter::new(p, facts)).enumerate();
                let inputs = inputs.filter(|(_, f)| !matches!(f, Filter::Anything)).collect();
                Filter::Call { bits: ops.iter().fold(0, |bits, op| bits | op_bit(*op)), ops, inputs }
            }
        }
    }

    /// The operators of which a class must have one to pass, if it can be said by operators.
    fn operators(&self) -> Option<Ops> {
        match self {
            Filter::Anything | Filter::Leaf => None,
            Filter::Output(_) => Some(op_bit(OUTPUT)),
            Filter::Call { bits, .. } => Some(*bits),
            Filter::Either(all) => all.iter().try_fold(0, |bits, f| Some(bits | f.operators()?)),
        }
    }

    /// The sets of operators of each of which a class's inputs must have one for the class to pass: cheaper to test, and true of
    /// every class that [`Filter::passes`].
    pub(crate) fn below(&self) -> Vec<Ops> {
        match self {
            Filter::Call { inputs, .. } => inputs.iter().filter_map(|(_, f)| f.operators()).collect(),
            Filter::Output(of) => of.operators().into_iter().collect(),
            // What every alternative needs, such as both orders of operands.
            Filter::Either(all) => {
                let mut each = all.iter().map(Filter::below);
                let first = each.next().unwrap_or_default();
                each.fold(first, |common, other| common.into_iter().filter(|ops| other.contains(ops)).collect())
            }
            Filter::Anything | Filter::Leaf => Vec::new(),
        }
    }

    /// The operators a match can have at its root.
    pub(crate) fn roots(&self, out: &mut Vec<u32>) {
        match self {
            Filter::Anything | Filter::Leaf => {}
            Filter::Output(_) => out.push(OUTPUT),
            Filter::Call { ops, .. } => out.extend(ops.iter()),
            Filter::Either(all) => all.iter().for_each(|f| f.roots(out)),
        }
    }

    /// Whether a class may match. `ops` has the operators of each class.
    pub(crate) fn passes(&self, classes: &Classes<'_>, ops: &[Ops], id: Id) -> bool {
        let index = usize::from(id);
        match self {
            Filter::Anything => true,
            Filter::Leaf => classes[index].is_none_or(|class| class.data.leaf != UNKNOWN),
            Filter::Either(all) => all.iter().any(|f| f.passes(classes, ops, id)),
            Filter::Output(of) => classes[index].is_none_or(|class| {
                let mut nodes = class.nodes.iter().filter(|n| n.op == OUTPUT);
                nodes.any(|n| of.passes(classes, ops, n.children[0]))
            }),
            Filter::Call { ops: wanted, bits, inputs } => {
                ops[index] & bits != 0
                    && classes[index].is_none_or(|class| {
                        class.nodes.iter().any(|n| {
                            wanted.contains(&n.op)
                                && inputs
                                    .iter()
                                    .all(|(i, f)| n.children.get(*i).is_some_and(|c| f.passes(classes, ops, *c)))
                        })
                    })
            }
        }
    }
}
