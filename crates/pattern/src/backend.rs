//! What a backend can run quantized (PyTorch `BackendConfig`), as plain data.

use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_tensor::DType;

use crate::ast::{Pattern, Rule, VarId, family};
use crate::expr::{Env, Expr};
use crate::graph_host::{self, Match};
use crate::source::Span;

/// A quantized type and what the backend asks of its parameters (PyTorch `DTypeWithConstraints`).
#[derive(Clone, Debug, PartialEq)]
pub struct DTypeWithConstraints {
    /// The element type; f32 for a value that stays float.
    pub dtype: DType,
    /// The quantized range must not go below this.
    pub quant_min: Option<i32>,
    /// The quantized range must not go above this.
    pub quant_max: Option<i32>,
    /// The scale must not be smaller.
    pub scale_min: Option<f32>,
    /// The scale must not be larger.
    pub scale_max: Option<f32>,
    /// The scale must be this one (PyTorch `scale_exact_match`).
    pub scale_exact: Option<f32>,
    /// The zero point must be this one (PyTorch `zero_point_exact_match`).
    pub zero_point_exact: Option<i32>,
}

impl DTypeWithConstraints {
    /// A type without constraints.
    pub fn new(dtype: DType) -> DTypeWithConstraints {
        DTypeWithConstraints {
            dtype,
            quant_min: None,
            quant_max: None,
            scale_min: None,
            scale_max: None,
            scale_exact: None,
            zero_point_exact: None,
        }
    }
}

/// When values become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Activations when the model is made, from what calibration saw.
    Static,
    /// Activations at each call, from their own range.
    Dynamic,
    /// Weights alone.
    WeightOnly,
    /// Nothing: weights are rounded to half precision.
    Float16Dynamic,
    /// Nothing: activations, weights and biases are rounded to half precision.
    Float16Static,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Static => "static",
            Mode::Dynamic => "dynamic",
            Mode::WeightOnly => "weight-only",
            Mode::Float16Dynamic => "float16 dynamic",
            Mode::Float16Static => "float16 static",
        })
    }
}

/// One combination of types a pattern supports (PyTorch `DTypeConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct DTypeConfig {
    /// Its name; several configurations may share one, they are alternatives in order.
    pub name: Arc<str>,
    /// Activations; `None` if the pattern's inputs are not observed.
    pub input: Option<DTypeWithConstraints>,
    /// The result.
    pub output: Option<DTypeWithConstraints>,
    /// Weights.
    pub weight: Option<DTypeWithConstraints>,
    /// Bias.
    pub bias: Option<DType>,
    /// Whether activations are quantized at each call from their own range.
    pub dynamic: bool,
    /// Whether values are rounded to half precision instead: weights if `dynamic`, else all.
    pub half: bool,
}

impl DTypeConfig {
    /// A configuration that asks for nothing.
    pub fn new(name: Arc<str>) -> DTypeConfig {
        DTypeConfig { name, input: None, output: None, weight: None, bias: None, dynamic: false, half: false }
    }

    /// When values become integers.
    pub fn mode(&self) -> Mode {
        match (self.half, self.dynamic) {
            (true, true) => return Mode::Float16Dynamic,
            (true, false) => return Mode::Float16Static,
            (false, true) => return Mode::Dynamic,
            (false, false) => {}
        }
        // Activations that stay float are declared as such.
        let float = self.input.as_ref().is_some_and(|input| input.dtype == DType::F32);
        if float { Mode::WeightOnly } else { Mode::Static }
    }
}

/// How the output of a pattern is observed (PyTorch `ObservationType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservationType {
    /// The output gets its own observer: `:observation different`.
    OutputUseDifferentObserverAsInput,
    /// The output has the parameters of the input: `:observation share-with-input`.
    OutputShareObserverWithInput,
    /// Nothing is observed: `:observation not-observed`.
    InputOutputNotObserved,
}

impl ObservationType {
    /// Every type and its name in a file.
    pub const ALL: &[(&'static str, ObservationType)] = &[
        ("different", ObservationType::OutputUseDifferentObserverAsInput),
        ("share-with-input", ObservationType::OutputShareObserverWithInput),
        ("not-observed", ObservationType::InputOutputNotObserved),
    ];
}

/// Parameters an operator's output always has (sigmoid, tanh).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedQParams {
    /// For this element type.
    pub dtype: DType,
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
}

/// What a variable of a backend pattern is to quantization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An activation.
    Input,
    /// A weight.
    Weight,
    /// A bias.
    Bias,
}

/// A pattern a backend can run quantized (PyTorch `BackendPatternConfig`).
#[derive(Clone, Debug)]
pub struct BackendPatternConfig {
    /// Unique within the backend.
    pub name: Arc<str>,
    /// What it is.
    pub doc: String,
    /// The tree of float operators.
    pub pattern: Pattern,
    /// What must hold besides.
    pub conditions: Vec<Expr>,
    /// How the output is observed.
    pub observation_type: ObservationType,
    /// Supported types, the first that fits is used.
    pub dtype_configs: Vec<DTypeConfig>,
    /// What each value variable is, in the order of the pattern.
    pub roles: Vec<(VarId, Role)>,
    /// The call whose origin decides the qconfig (PyTorch `root_module`); the pattern's own root if not given.
    pub root: Option<VarId>,
    /// Fixed output parameters, one per element type.
    pub fixed_qparams: Vec<FixedQParams>,
    /// Where it is defined.
    pub span: Span,
}

impl BackendPatternConfig {
    /// Matches at a node; see [`graph_host::match_pattern`]. Conditions are held, and inputs sorted into roles.
    pub fn match_at(&self, graph: &Graph, node: NodeId) -> Option<Match> {
        graph_host::match_config(graph, node, self)
    }

    /// How many calls the pattern has.
    pub fn size(&self) -> usize {
        self.pattern.calls()
    }

    pub(crate) fn holds(&self, env: Env<'_, Graph>) -> bool {
        self.conditions.iter().all(|c| env.holds(c))
    }

    /// The fixed parameters for an element type.
    pub fn fixed_qparams_for(&self, dtype: DType) -> Option<FixedQParams> {
        self.fixed_qparams.iter().copied().find(|f| f.dtype == dtype)
    }

    /// What a variable is.
    pub fn role(&self, var: VarId) -> Option<Role> {
        self.roles.iter().find(|r| r.0 == var).map(|r| r.1)
    }
}

/// An operator that a backend never runs quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Why: the reason that is reported.
    pub reason: String,
    /// Where it says so.
    pub span: Span,
}

/// What a backend supports (PyTorch `BackendConfig`).
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub doc: String,
    /// The combinations of types it declares.
    pub dtype_configs: Vec<DTypeConfig>,
    /// What it can run quantized, in order of declaration.
    pub patterns: Vec<BackendPatternConfig>,
    /// Operators it surely never runs quantized, and why.
    pub unsupported: IndexMap<&'static str, Unsupported>,
    /// Rules of its own: they run besides those for every backend, and replace those of the same name.
    pub rules: Vec<Rule>,
    /// Rules for every backend that this one does without.
    pub without_rules: Vec<Arc<str>>,
    /// Where it is defined.
    pub span: Span,
}

impl BackendConfig {
    /// The pattern of that name.
    pub fn pattern(&self, name: &str) -> Option<&BackendPatternConfig> {
        self.patterns.iter().find(|p| &*p.name == name)
    }

    /// Whether a rule for every backend runs for this one: it is not removed, and no rule of its own has its name.
    pub(crate) fn keeps_rule(&self, rule: &Rule) -> bool {
        let replaced = |own: &Rule| family(&own.name) == family(&rule.name);
        !self.without_rules.contains(&rule.name) && !self.rules.iter().any(replaced)
    }

    /// Every match at a node: the one with the most calls first, ties in order of declaration (PyTorch's order). Inner calls
    /// have one user.
    pub fn matches_at<'a>(&'a self, graph: &Graph, node: NodeId) -> Vec<(&'a BackendPatternConfig, Match)> {
        let mut found: Vec<_> = self.patterns.iter().filter_map(|p| Some((p, p.match_at(graph, node)?))).collect();
        found.sort_by_key(|(_, m)| std::cmp::Reverse(m.nodes.len()));
        found
    }
}

/// The values of a match, by role.
#[derive(Clone, Debug, Default)]
pub struct RoleValues {
    /// Activations, in the order of the pattern.
    pub inputs: Vec<ValueRef>,
    /// The weights: of a recurrent layer several, of other layers one.
    pub weights: Vec<ValueRef>,
    /// The bias.
    pub bias: Option<ValueRef>,
}
