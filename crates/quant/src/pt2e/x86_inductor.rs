//! `X86InductorQuantizer`: PyTorch's quantizer for its x86 compiler, with its interface and its recipes
//! (torch.ao.quantization.quantizer.x86_inductor_quantizer).

use std::collections::HashSet;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_tensor::QScheme;

use super::error::Pt2eError;
use super::quantizer::{AnnotatedGraph, Quantizer};
use super::spec::{EdgeOrNode, QuantizationAnnotation, QuantizationSpec, QuantizationSpecBase};
use super::xnnpack::{Filter, Modules, QuantizationConfig};
use crate::qconfig::{ObserverDType, ObserverKind, ObserverSpec};

/// The arguments of [`get_default_x86_inductor_quantization_config`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct X86InductorQuantization {
    /// Activations are quantized when the model runs.
    pub is_dynamic: bool,
    /// Activations have 7 bits, for processors whose products saturate; kernels here do not.
    pub reduce_range: bool,
}

/// u8 activations (affine, histogram) and symmetric i8 weights with a scale for each output channel, smallest scale 2^-12
/// (torch.ao.quantization.quantizer.x86_inductor_quantizer.get_default_x86_inductor_quantization_config).
pub fn get_default_x86_inductor_quantization_config(args: X86InductorQuantization) -> QuantizationConfig {
    let spec = |observer, dtype, qscheme, (lo, hi): (i32, i32)| {
        QuantizationSpec::new(ObserverSpec {
            quant_min: Some(lo),
            quant_max: Some(hi),
            eps: 1.0 / 4096.0,
            is_dynamic: observer == ObserverKind::Placeholder,
            ..ObserverSpec::new(observer, dtype, qscheme)
        })
    };
    let observer = if args.is_dynamic { ObserverKind::Placeholder } else { ObserverKind::Histogram };
    let range = (0, if args.reduce_range { 127 } else { 255 });
    let activation = spec(observer, ObserverDType::Quint8, QScheme::PerTensorAffine, range);
    let weight = spec(ObserverKind::MinMax, ObserverDType::Qint8, QScheme::PerChannelSymmetric, (-128, 127));
    QuantizationConfig {
        input_activation: Some(activation.clone()),
        output_activation: Some(activation),
        weight: Some(weight),
    }
}

/// Operators that take and give int8, and so are quantized behind something quantized.
const INT8_IN_INT8_OUT: &[&str] = &["max_pool2d", "cat", "avg_pool2d", "adaptive_avg_pool2d", "flatten"];
/// Operators with a recipe of their own that the global configuration selects.
const LAYERS: &[&str] = &["conv1d", "conv2d", "linear"];
/// The operator of each module type and function that can have a configuration.
const FUNCTIONS: &[(&str, &str)] = &[
    ("torch.nn.functional.conv1d", "conv1d"),
    ("torch.nn.functional.conv2d", "conv2d"),
    ("torch.nn.functional.linear", "linear"),
    ("torch.nn.functional.max_pool2d", "max_pool2d"),
    ("torch.cat", "cat"),
    ("torch.nn.functional.avg_pool2d", "avg_pool2d"),
    ("torch.nn.functional.adaptive_avg_pool2d", "adaptive_avg_pool2d"),
    ("torch.flatten", "flatten"),
    ("torch.matmul", "matmul"),
];
const MODULES: &[(&str, &str)] = &[
    ("Conv2d", "conv2d"),
    ("Linear", "linear"),
    ("MaxPool2d", "max_pool2d"),
    ("AvgPool2d", "avg_pool2d"),
    ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"),
];
/// Functions of one element that a convolution, and a linear layer, runs with its result; `clamp` is also `hardtanh`.
const CONV2D_UNARY: &[&str] = &["relu", "clamp", "hardswish", "relu6", "silu"];
const LINEAR_UNARY: &[&str] = &["relu", "leaky_relu", "tanh", "gelu"];

fn is_one_of(graph: &Graph, id: NodeId, ops: &[&str]) -> bool {
    ops.iter().any(|op| graph.node(id).is_op(op))
}

/// Whether a configuration for everything selects a pattern: one of its calls is a layer or takes and gives int8.
fn is_default(graph: &Graph, calls: &[NodeId]) -> bool {
    calls.iter().filter(|id| is_one_of(graph, **id, LAYERS) || is_one_of(graph, **id, INT8_IN_INT8_OUT)).count() == 1
}

type Config = Option<QuantizationConfig>;

/// PyTorch's quantizer for x86. Settings in falling priority: module name (of the module or one around it), operator (by module type or
/// function), global; `None` leaves the calls float. Convolutions and linear layers are quantized with the addition and the function of one element
/// behind them, as one; what only moves, pools or joins values is quantized behind something quantized; `matmul` only where a setting names it
/// or its module.
#[derive(Clone, Debug, Default)]
pub struct X86InductorQuantizer {
    global: Config,
    operators: IndexMap<&'static str, Config>,
    module_names: IndexMap<String, Config>,
}

impl X86InductorQuantizer {
    /// A quantizer that quantizes nothing.
    pub fn new() -> X86InductorQuantizer {
        X86InductorQuantizer::default()
    }

    /// For everything without a setting of its own.
    #[must_use]
    pub fn set_global(mut self, config: impl Into<Config>) -> Self {
        self.global = config.into();
        self
    }

    /// For calls of a function, by PyTorch's name of it (`torch.nn.functional.conv2d`, `torch.matmul`).
    ///
    /// # Errors
    /// If there is no recipe for that function.
    pub fn set_function_type_qconfig(self, function: &str, config: impl Into<Config>) -> Result<Self, Pt2eError> {
        self.set_operator(function, FUNCTIONS, config.into())
    }

    /// For calls of the operator of a module type (`Linear`), whether a module calls it or a function.
    ///
    /// # Errors
    /// If there is no recipe for that type.
    pub fn set_module_type_qconfig(self, module_type: &str, config: impl Into<Config>) -> Result<Self, Pt2eError> {
        self.set_operator(module_type, MODULES, config.into())
    }

    /// For what is in the module of that path (`blocks.sub`).
    #[must_use]
    pub fn set_module_name_qconfig(mut self, module_name: &str, config: impl Into<Config>) -> Self {
        self.module_names.insert(module_name.to_owned(), config.into());
        self
    }

    fn set_operator(mut self, name: &str, known: &[(&str, &'static str)], config: Config) -> Result<Self, Pt2eError> {
        let Some((_, op)) = known.iter().find(|(n, _)| *n == name) else {
            let known: Vec<&str> = known.iter().map(|k| k.0).collect();
            return Err(Pt2eError::NoRecipe { quantizer: self.name(), name: name.to_owned(), known: known.join(", ") });
        };
        self.operators.insert(op, config);
        Ok(self)
    }
}

/// A graph being annotated.
struct Recipes<'m> {
    model: &'m mut AnnotatedGraph,
    /// Last calls of quantized patterns: what they give may stay int8.
    quantized: HashSet<NodeId>,
}

impl Recipes<'_> {
    fn input(&self, id: NodeId, i: usize) -> Option<ValueRef> {
        self.model.graph.node(id).inputs().get(i).copied().flatten()
    }

    fn calls(&self, ops: &[&str]) -> Vec<NodeId> {
        self.model.graph.calls().filter(|id| is_one_of(&self.model.graph, *id, ops)).collect()
    }

    /// The different nodes that take an output of a node, in execution order.
    fn users(&self, id: NodeId) -> Vec<NodeId> {
        let of: HashSet<NodeId> = self.model.graph.users(id).into_iter().map(|u| u.0).collect();
        self.model.graph.order().filter(|id| of.contains(id)).collect()
    }

    /// Whether nobody has decided on any of the calls, and the setting is for them.
    fn is_free(&self, calls: &[NodeId], filter: &Filter<'_>) -> bool {
        !calls.iter().any(|id| self.model.is_annotated(*id)) && filter(&self.model.graph, calls)
    }

    fn annotate(&mut self, id: NodeId, inputs: Vec<(ValueRef, Option<&QuantizationSpec>)>) {
        let mut annotation = QuantizationAnnotation::decided();
        for (value, spec) in inputs {
            annotation.input_qspec_map.insert(value, spec.cloned().map(QuantizationSpecBase::Spec));
        }
        self.model.annotate(id, annotation);
    }

    /// Annotates calls that run as one, of which the first is a layer, and `extra`, what an addition among them takes besides.
    fn layer(&mut self, calls: &[NodeId], extra: Option<(NodeId, ValueRef)>, config: &Config) {
        let config = config.as_ref();
        for (at, id) in calls.iter().enumerate() {
            let mut inputs = Vec::new();
            if let (0, Some(config)) = (at, config) {
                inputs.extend(self.input(*id, 0).map(|x| (x, config.input_activation.as_ref())));
                inputs.extend(self.input(*id, 1).map(|w| (w, config.weight.as_ref())));
            }
            if let (Some((add, value)), Some(config)) = (extra, config)
                && add == *id
            {
                inputs.push((value, config.input_activation.as_ref()));
            }
            self.annotate(*id, inputs);
        }
        if config.is_some() {
            self.quantized.extend(calls.last());
        }
    }

    /// A layer, an addition, and perhaps relu. The other summand of a convolution is quantized too; that of a linear layer is not, for accuracy.
    fn binary(&mut self, op: &str, with_relu: bool, config: &Config, filter: &Filter<'_>) {
        for layer in self.calls(&[op]) {
            let users = self.users(layer);
            let &[add] = &users[..] else { continue };
            let (Some(a), Some(b)) = (self.input(add, 0), self.input(add, 1)) else { continue };
            // A number is no tensor to quantize.
            let extra = if a.node == layer { b } else { a };
            let number = self.model.graph.constant(extra).is_some_and(|t| t.shape().is_empty());
            if !self.model.graph.node(add).is_op("add") || number {
                continue;
            }
            let unary = if with_relu {
                self.users(add).into_iter().filter(|id| self.model.graph.node(*id).is_op("relu")).map(Some).collect()
            } else {
                vec![None]
            };
            let extra = (op == "conv2d").then_some((add, extra));
            for relu in unary {
                let calls: Vec<NodeId> = [layer, add].into_iter().chain(relu).collect();
                if self.is_free(&calls, filter) {
                    self.layer(&calls, extra, config);
                }
            }
        }
    }

    /// A layer and one of these functions.
    fn unary(&mut self, op: &str, unary: &[&str], config: &Config, filter: &Filter<'_>) {
        for function in unary {
            for layer in self.calls(&[op]) {
                for user in self.users(layer) {
                    if self.model.graph.node(user).is_op(function) && self.is_free(&[layer, user], filter) {
                        self.layer(&[layer, user], None, config);
                    }
                }
            }
        }
    }

    /// A call of a layer alone, or of a product of two activations.
    fn alone(&mut self, op: &str, config: &Config, filter: &Filter<'_>) {
        for id in self.calls(&[op]) {
            if !self.is_free(&[id], filter) {
                continue;
            }
            if op != "matmul" {
                self.layer(&[id], None, config);
                continue;
            }
            let spec = config.as_ref().and_then(|c| c.input_activation.as_ref());
            let inputs = config.iter().flat_map(|_| [self.input(id, 0), self.input(id, 1)]).flatten();
            let inputs = inputs.map(|v| (v, spec)).collect();
            self.annotate(id, inputs);
            self.quantized.extend(config.is_some().then_some(id));
        }
    }

    /// Carries int8 on through what takes and gives it.
    fn propagate(&mut self, config: &Config, filter: &Filter<'_>) {
        for id in self.calls(INT8_IN_INT8_OUT) {
            if !self.is_free(&[id], filter) {
                continue;
            }
            let Some(config) = config else {
                self.annotate(id, Vec::new());
                continue;
            };
            let graph = &self.model.graph;
            let node = graph.node(id);
            let values: Vec<ValueRef> = node.inputs().iter().flatten().copied().collect();
            let taken = if node.is_op("cat") { &values[..] } else { &values[..values.len().min(1)] };
            let useful = |user: &NodeId| {
                is_one_of(graph, *user, LAYERS)
                    || is_one_of(graph, *user, INT8_IN_INT8_OUT)
                    || is_one_of(graph, *user, &["matmul"])
            };
            if node.is_op("flatten") && !self.users(id).iter().any(useful) {
                continue;
            }
            let Some(first) = taken.first().copied() else { continue };
            if !taken.iter().all(|v| self.quantized.contains(&v.node)) {
                continue;
            }
            let others: Vec<ValueRef> = taken.iter().copied().filter(|v| *v != first).collect();
            self.annotate(id, vec![(first, config.input_activation.as_ref())]);
            if let Some(annotation) = self.model.annotations.get_mut(&id) {
                let shared = QuantizationSpecBase::shared(EdgeOrNode::edge(first, id));
                annotation.input_qspec_map.extend(others.into_iter().map(|v| (v, Some(shared.clone()))));
            }
            self.quantized.insert(id);
        }
    }

    /// Gives what takes and gives int8 an output with the parameters of its input.
    fn share_outputs(&mut self) {
        for id in self.calls(INT8_IN_INT8_OUT) {
            let Some(x) = self.input(id, 0).filter(|_| self.quantized.contains(&id)) else { continue };
            if let Some(annotation) = self.model.annotations.get_mut(&id) {
                annotation.output_qspec = Some(QuantizationSpecBase::shared(EdgeOrNode::edge(x, id)));
            }
        }
    }

    fn all(&mut self, config: &Config, filter: &Filter<'_>) {
        self.binary("conv2d", true, config, filter);
        self.binary("conv2d", false, config, filter);
        self.unary("conv2d", CONV2D_UNARY, config, filter);
        // A one-dimensional convolution only with relu, as PyTorch has it.
        self.unary("conv1d", &["relu"], config, filter);
        self.alone("conv2d", config, filter);
        self.binary("linear", true, config, filter);
        self.binary("linear", false, config, filter);
        self.unary("linear", LINEAR_UNARY, config, filter);
        self.alone("linear", config, filter);
        self.alone("matmul", config, filter);
        self.propagate(config, filter);
    }
}

impl Quantizer for X86InductorQuantizer {
    fn name(&self) -> String {
        "X86InductorQuantizer".to_owned()
    }

    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        let modules = Modules::new(&model.graph);
        let mut recipes = Recipes { model, quantized: HashSet::new() };
        for (name, config) in &self.module_names {
            recipes.all(config, &|g, calls| calls.iter().all(|c| modules.is_in(g, *c, name)));
        }
        for (op, config) in &self.operators {
            recipes.all(config, &|g, calls| calls.iter().filter(|c| g.node(**c).is_op(op)).count() == 1);
        }
        if self.global.is_some() {
            recipes.all(&self.global, &is_default);
        }
        recipes.share_outputs();
        Ok(())
    }

    fn validate(&self, _model: &AnnotatedGraph) -> Result<(), Pt2eError> {
        // What it annotates is what it supports.
        Ok(())
    }
}
