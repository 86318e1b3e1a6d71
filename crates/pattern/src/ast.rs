//! Patterns, templates and rules after type checking: plain data, no spans needed to use them.

use std::fmt;
use std::sync::Arc;

use quantc_ops::{Attr, OpRef};
use quantc_tensor::TensorType;

use crate::expr::Expr;
use crate::source::Span;

/// Index of a variable in [`Pattern::vars`].
pub type VarId = usize;

/// What a variable stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarKind {
    /// A tensor value.
    Value,
    /// A tensor value or nothing (an optional input).
    Optional,
    /// The attributes of a call (`:attrs ?a`).
    Record,
    /// One attribute of a call (`:stride ?s`), or which output (`(output ?i ..)`).
    Field,
    /// The call itself (`:as ?conv`).
    Node,
}

/// A variable of a pattern.
#[derive(Clone, Debug)]
pub struct Var {
    /// Its name without the question mark.
    pub name: Arc<str>,
    /// What it stands for.
    pub kind: VarKind,
    /// Whether it is below `...` and so stands for one thing per repeated input.
    pub repeated: bool,
    /// The operators whose attributes a record may hold.
    pub ops: Vec<OpRef>,
}

/// A checked pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The tree.
    pub root: Pat,
    /// Its variables.
    pub vars: Vec<Var>,
}

impl Pattern {
    /// The variable of that name.
    pub fn var(&self, name: &str) -> Option<VarId> {
        self.vars.iter().position(|v| &*v.name == name)
    }

    /// The operators a match can have at its root; empty if it can be anything.
    pub fn root_ops(&self) -> Vec<OpRef> {
        self.root.root_ops()
    }

    /// How many calls a match has (of alternatives the first counts, repeated inputs count once).
    pub fn calls(&self) -> usize {
        fn count(pat: &Pat) -> usize {
            match pat {
                Pat::Call(c) => 1 + c.inputs.iter().chain(&c.rest).map(count).sum::<usize>(),
                Pat::Either(pats) => pats.first().map_or(0, count),
                Pat::Output { of, .. } => count(of),
                _ => 0,
            }
        }
        count(&self.root)
    }

    /// The longest path from the root to a call, 1 for a single call.
    pub fn depth(&self) -> usize {
        self.root.depth()
    }
}

/// A pattern node.
#[derive(Clone, Debug, PartialEq)]
pub enum Pat {
    /// `_`: anything, an absent input included.
    Any,
    /// `?x`: a value; twice the same variable is twice the same value.
    Var(VarId),
    /// `(optional ?x)`: a value or nothing.
    Optional(VarId),
    /// `none`: an absent input.
    None,
    /// `0.5`: a constant of one element with exactly this value.
    Scalar(f32),
    /// `(near 1.4142)`: a constant of one element within a relative 1e-6 of this value.
    Near(f32),
    /// A call.
    Call(Box<CallPat>),
    /// `(either P Q ..)`: the first alternatives are tried first.
    Either(Vec<Pat>),
    /// `(output I P)`: one output of a call with several.
    Output {
        /// Which output.
        index: IndexPat,
        /// The call.
        of: Box<Pat>,
    },
}

impl Pat {
    /// The operators a match can have at its root, sorted.
    pub(crate) fn root_ops(&self) -> Vec<OpRef> {
        fn collect(pat: &Pat, out: &mut Vec<OpRef>) {
            match pat {
                Pat::Call(call) => out.extend(&call.ops),
                Pat::Either(pats) => pats.iter().for_each(|p| collect(p, out)),
                Pat::Output { of, .. } => collect(of, out),
                _ => {}
            }
        }
        let mut ops = Vec::new();
        collect(self, &mut ops);
        ops.sort();
        ops.dedup();
        ops
    }

    fn depth(&self) -> usize {
        match self {
            Pat::Call(c) => 1 + c.inputs.iter().chain(c.rest.as_ref()).map(Pat::depth).max().unwrap_or(0),
            Pat::Either(pats) => pats.iter().map(Pat::depth).max().unwrap_or(0),
            Pat::Output { of, .. } => 1 + of.depth(),
            _ => 0,
        }
    }
}

/// Which output of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IndexPat {
    /// That one.
    Exactly(u32),
    /// Any; the variable is bound to its number.
    Bind(VarId),
}

/// A call in a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPat {
    /// Any of these operators.
    pub ops: Vec<OpRef>,
    /// Its inputs; those of the signature that are not listed must be absent.
    pub inputs: Vec<Pat>,
    /// `P ...`: every further input of a variadic operator.
    pub rest: Option<Pat>,
    /// `:attrs ?a`: the whole record.
    pub attrs: Option<VarId>,
    /// `:stride [1 1]`, `:stride ?s`.
    pub fields: Vec<(&'static str, FieldPat)>,
    /// In a rule, attributes that are neither mentioned nor bound by `:attrs` must have their default.
    pub others_default: bool,
    /// `:as ?node`.
    pub label: Option<VarId>,
}

/// What an attribute must be.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldPat {
    /// This value.
    Equals(Attr),
    /// Anything; the variable is bound to it.
    Bind(VarId),
}

/// What a rule puts in place of a match.
#[derive(Clone, Debug)]
pub enum Template {
    /// What the variable is bound to (absent, if an optional input was).
    Var(VarId),
    /// An absent input.
    None,
    /// `0.5`, `(const E)`: a constant.
    Const(Expr),
    /// A call.
    Call(Box<CallTemplate>),
    /// One output of a call with several.
    Output {
        /// Which.
        index: Expr,
        /// The call.
        of: Box<Template>,
    },
}

/// A call in a template.
#[derive(Clone, Debug)]
pub struct CallTemplate {
    /// The operator.
    pub op: OpRef,
    /// Inputs.
    pub inputs: Vec<Template>,
    /// `T ...`: one input per repetition.
    pub rest: Option<Template>,
    /// `:attrs (merge ..)`: records that are copied in, later ones win.
    pub records: Vec<RecordTemplate>,
    /// Single attributes; they win over the records. An expression without a value leaves the attribute out.
    pub fields: Vec<(&'static str, Expr)>,
}

/// A record copied into a template.
#[derive(Clone, Debug)]
pub struct RecordTemplate {
    /// The record variable.
    pub var: VarId,
    /// Which of its attributes; `None` for all.
    pub only: Option<Vec<&'static str>>,
    /// Attributes left out.
    pub without: Vec<&'static str>,
}

/// What a rule promises about the value it replaces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RuleClass {
    /// The same bits on every input.
    Exact,
    /// The same bits under the numeric contract, where values known to be integers times a scale stay integers.
    IntExact,
    /// Equal over the real numbers; in f32 the difference is at most `tolerance` times the largest magnitude of the result.
    Real {
        /// Relative to the largest magnitude.
        tolerance: f32,
    },
    /// Changes the value, on purpose: by at most `tolerance` times the largest magnitude of the result. Saturation applies it
    /// only if it is asked to (`RuleSet::allow_approximate`).
    Approximate {
        /// Relative to the largest magnitude.
        tolerance: f32,
    },
}

impl RuleClass {
    /// How far the results may be apart, relative to the largest magnitude; 0 for the same bits.
    pub fn tolerance(self) -> f32 {
        match self {
            RuleClass::Exact | RuleClass::IntExact => 0.0,
            RuleClass::Real { tolerance } | RuleClass::Approximate { tolerance } => tolerance,
        }
    }
}

impl fmt::Display for RuleClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleClass::Exact => f.write_str("exact"),
            RuleClass::IntExact => f.write_str("int-exact"),
            RuleClass::Real { tolerance } => write!(f, "(real {tolerance:e})"),
            RuleClass::Approximate { tolerance } => write!(f, "(approximate {tolerance:e})"),
        }
    }
}

/// When a rule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// On the float graph, before observers are placed.
    Canonical,
    /// On the reference q/dq graph: quantize and dequantize move, and what is between them becomes integer operators.
    Lower,
}

impl Phase {
    /// Every phase and its name in a file.
    pub const ALL: &[(&'static str, Phase)] = &[("canonical", Phase::Canonical), ("lower", Phase::Lower)];

    /// Its name in a file.
    pub fn name(self) -> &'static str {
        Phase::ALL.iter().find(|(_, p)| *p == self).map_or("", |(name, _)| name)
    }
}

/// The name of the definition that a row of `:for` belongs to: `conv` of `conv/conv2d`.
pub fn family(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// A rewrite rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique name; a rule with `:for` gives one rule per row, named `name/first-parameter`.
    pub name: Arc<str>,
    /// What it does and why it holds.
    pub doc: String,
    /// What it promises.
    pub class: RuleClass,
    /// When it runs.
    pub phase: Phase,
    /// What it matches.
    pub pattern: Pattern,
    /// What must hold besides.
    pub conditions: Vec<Expr>,
    /// What it puts there.
    pub template: Template,
    /// Worked examples.
    pub examples: Vec<Example>,
    /// Where it is defined.
    pub span: Span,
}

/// A worked example of a rule: a ground term, what the rule makes of it, and the types of the inputs.
#[derive(Clone, Debug)]
pub struct Example {
    /// Before.
    pub before: Term,
    /// After.
    pub after: Term,
    /// The names that occur in the terms.
    pub inputs: Vec<ExampleInput>,
    /// Where it stands.
    pub span: Span,
    /// Where its left side stands.
    pub before_span: Span,
    /// Where its right side stands.
    pub after_span: Span,
}

/// An input of an example.
#[derive(Clone, Debug)]
pub struct ExampleInput {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: TensorType,
    /// Whether it is a parameter and not a graph input.
    pub constant: bool,
    /// The range random values are drawn from.
    pub range: (f32, f32),
}

/// A ground term of an example.
#[derive(Clone, Debug)]
pub enum Term {
    /// An input by its name.
    Input(Arc<str>),
    /// An absent input.
    None,
    /// A constant of the given shape: rank 0 for `0.5`, rank 1 for `(const [..])`.
    Const(Attr),
    /// A call.
    Call {
        /// Operator.
        op: OpRef,
        /// Inputs.
        inputs: Vec<Term>,
        /// Attributes.
        attrs: quantc_ops::Attrs,
    },
    /// One output of a call.
    Output(u32, Box<Term>),
}

impl Term {
    /// Whether the input of that name occurs.
    pub fn uses(&self, name: &str) -> bool {
        match self {
            Term::Input(input) => **input == *name,
            Term::None | Term::Const(_) => false,
            Term::Call { inputs, .. } => inputs.iter().any(|i| i.uses(name)),
            Term::Output(_, of) => of.uses(name),
        }
    }
}
