//! `XNNPACKQuantizer`: PyTorch's quantizer for XNNPACK, with its interface and its patterns
//! (torch.ao.quantization.quantizer.xnnpack_quantizer).

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId};
use quantc_tensor::QScheme;

use super::error::Pt2eError;
use super::quantizer::{AnnotatedGraph, Quantizer};
use super::spec::QuantizationSpec;
use super::xnnpack_annotators::{DYNAMIC, STATIC, propagate_annotation};
use crate::qconfig::{ObserverDType, ObserverKind, ObserverSpec};

/// How the tensors of an operator are quantized (PyTorch `QuantizationConfig`). A bias stays float, as in PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationConfig {
    /// Activations taken.
    pub input_activation: Option<QuantizationSpec>,
    /// Activations given.
    pub output_activation: Option<QuantizationSpec>,
    /// Weights.
    pub weight: Option<QuantizationSpec>,
}

impl QuantizationConfig {
    /// Whether activations are quantized when the model runs.
    pub fn is_dynamic(&self) -> bool {
        self.input_activation.as_ref().is_some_and(QuantizationSpec::is_dynamic)
    }
}

/// The arguments of [`get_symmetric_quantization_config`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymmetricQuantization {
    /// Weights have a scale for each output channel.
    pub is_per_channel: bool,
    /// Activations are quantized when the model runs.
    pub is_dynamic: bool,
    /// Range of activations.
    pub act: (i32, i32),
    /// Range of weights.
    pub weight: (i32, i32),
}

impl Default for SymmetricQuantization {
    fn default() -> Self {
        SymmetricQuantization { is_per_channel: false, is_dynamic: false, act: (-128, 127), weight: (-127, 127) }
    }
}

/// i8 activations (affine, histogram) and symmetric i8 weights, smallest scale 2^-12
/// (torch.ao.quantization.quantizer.xnnpack_quantizer.get_symmetric_quantization_config).
pub fn get_symmetric_quantization_config(args: SymmetricQuantization) -> QuantizationConfig {
    let spec = |observer, qscheme, (lo, hi): (i32, i32)| {
        QuantizationSpec::new(ObserverSpec {
            quant_min: Some(lo),
            quant_max: Some(hi),
            eps: 1.0 / 4096.0,
            is_dynamic: observer == ObserverKind::Placeholder,
            ..ObserverSpec::new(observer, ObserverDType::Qint8, qscheme)
        })
    };
    let observer = if args.is_dynamic { ObserverKind::Placeholder } else { ObserverKind::Histogram };
    let activation = spec(observer, QScheme::PerTensorAffine, args.act);
    let scheme = if args.is_per_channel { QScheme::PerChannelSymmetric } else { QScheme::PerTensorSymmetric };
    QuantizationConfig {
        output_activation: (!args.is_dynamic).then(|| activation.clone()),
        input_activation: Some(activation),
        weight: Some(spec(ObserverKind::MinMax, scheme, args.weight)),
    }
}

/// Whether a pattern of these calls is to be annotated.
pub(crate) type Filter<'f> = dyn Fn(&Graph, &[NodeId]) -> bool + 'f;

type Config = Option<QuantizationConfig>;

/// PyTorch's quantizer for XNNPACK. Settings in falling priority: module name (of the module or one around it), module type, operator type,
/// global; `None` leaves the calls float. Differences to PyTorch, on purpose:
///
/// - Only calls are asked for their module; PyTorch also asks a convolution's parameters, which have none, so that a module's name or
///   type never selects convolutions.
/// - Operator types count; PyTorch stores them and never looks.
/// - Each configuration decides itself whether it is dynamic; PyTorch asks the global one.
/// - Two convolutions with one weight are both quantized; PyTorch leaves the second float.
#[derive(Clone, Debug, Default)]
pub struct XNNPACKQuantizer {
    global: Config,
    operator_types: IndexMap<String, Config>,
    module_types: IndexMap<String, Config>,
    module_names: IndexMap<String, Config>,
}

impl XNNPACKQuantizer {
    /// A quantizer that quantizes nothing.
    pub fn new() -> XNNPACKQuantizer {
        XNNPACKQuantizer::default()
    }

    /// For everything without a setting of its own.
    #[must_use]
    pub fn set_global(mut self, config: impl Into<Config>) -> Self {
        self.global = config.into();
        self
    }

    /// For patterns with a call of an operator, by quantc's name of it (`conv2d`).
    #[must_use]
    pub fn set_operator_type(mut self, operator: &str, config: impl Into<Config>) -> Self {
        self.operator_types.insert(operator.to_owned(), config.into());
        self
    }

    /// For what is in modules of a type (`Linear`). The type of an enclosing module is known only if it has calls of its own.
    #[must_use]
    pub fn set_module_type(mut self, module_type: &str, config: impl Into<Config>) -> Self {
        self.module_types.insert(module_type.to_owned(), config.into());
        self
    }

    /// For what is in the module of that path (`blocks.sub`).
    #[must_use]
    pub fn set_module_name(mut self, module_name: &str, config: impl Into<Config>) -> Self {
        self.module_names.insert(module_name.to_owned(), config.into());
        self
    }
}

/// Which modules the calls of a graph are in.
pub(crate) struct Modules {
    /// The type of each module that has calls.
    types: HashMap<Arc<str>, Arc<str>>,
}

/// The paths of a module and of those around it, the root excepted.
fn enclosing(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path).filter(|p| !p.is_empty()), |p| p.rsplit_once('.').map(|(outer, _)| outer))
}

impl Modules {
    pub(crate) fn new(graph: &Graph) -> Modules {
        let origins = graph.calls().flat_map(|id| graph.node(id).origins());
        Modules { types: origins.map(|o| (o.module_path.clone(), o.module_type.clone())).collect() }
    }

    /// Whether a call is in the module of that path.
    pub(crate) fn is_in(&self, graph: &Graph, call: NodeId, name: &str) -> bool {
        graph.node(call).origins().iter().any(|o| enclosing(&o.module_path).any(|path| path == name))
    }

    /// Whether a call is in a module of that type.
    fn is_in_type(&self, graph: &Graph, call: NodeId, module_type: &str) -> bool {
        graph.node(call).origins().iter().any(|o| {
            let around = enclosing(&o.module_path).chain([""]).filter_map(|path| self.types.get(path));
            &*o.module_type == module_type || around.into_iter().any(|t| &**t == module_type)
        })
    }
}

/// Annotates every pattern that the filter lets through.
fn annotate_all(model: &mut AnnotatedGraph, config: &Config, filter: &Filter<'_>) {
    let Some(config) = config else { return };
    let annotators = if config.is_dynamic() { DYNAMIC } else { STATIC };
    for annotate in annotators {
        annotate(model, config, filter);
    }
}

impl Quantizer for XNNPACKQuantizer {
    fn name(&self) -> String {
        "XNNPACKQuantizer".to_owned()
    }

    fn annotate(&self, model: &mut AnnotatedGraph) -> Result<(), Pt2eError> {
        let modules = &Modules::new(&model.graph);
        let in_name = |g: &Graph, id: NodeId, name: &str| modules.is_in(g, id, name);
        let in_type = |g: &Graph, id: NodeId, ty: &str| modules.is_in_type(g, id, ty);
        for (name, config) in &self.module_names {
            annotate_all(model, config, &|g, calls| calls.iter().all(|c| in_name(g, *c, name)));
        }
        let named = |g: &Graph, id: NodeId| self.module_names.keys().any(|name| in_name(g, id, name));
        for (ty, config) in &self.module_types {
            annotate_all(model, config, &|g, calls| calls.iter().all(|c| in_type(g, *c, ty) && !named(g, *c)));
        }
        let placed = |g: &Graph, id: NodeId| named(g, id) || self.module_types.keys().any(|ty| in_type(g, id, ty));
        for (operator, config) in &self.operator_types {
            let is = |g: &Graph, id: NodeId| g.node(id).is_op(operator);
            annotate_all(model, config, &|g, calls| {
                calls.iter().any(|c| is(g, *c)) && !calls.iter().any(|c| placed(g, *c))
            });
        }
        let set = |g: &Graph, id: NodeId| {
            placed(g, id) || g.node(id).call().is_some_and(|(op, _)| self.operator_types.contains_key(op.name()))
        };
        annotate_all(model, &self.global, &|g, calls| !calls.iter().any(|c| set(g, *c)));
        propagate_annotation(model);
        Ok(())
    }

    fn validate(&self, _model: &AnnotatedGraph) -> Result<(), Pt2eError> {
        // What it annotates is what it supports.
        Ok(())
    }
}
