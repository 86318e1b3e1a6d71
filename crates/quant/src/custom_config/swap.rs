//! Swaps custom modules: float for observed before observers are placed, observed for quantized when they are converted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, NodeKind, Origin, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_pattern::{DTypeConfig, Mode};
use quantc_tensor::{DType, QParams, TensorType};

use super::custom_module::{CustomModuleQParams, ObservedClass, QuantType};
use super::level::levels;
use super::part::Part;
use super::{ConvertCustomConfig, CustomConfigError, PrepareCustomConfig, quantizable};
use crate::calibrate::ActivationQParams;
use crate::convert::{observer_id, quantize_attrs};
use crate::error::QuantError;
use crate::group::{Group, Plan};
use crate::prepare::Observing;
use crate::qconfig::QConfig;
use crate::qconfig_mapping::{QConfigMapping, Resolved};
use crate::weight_only::mode_of;

/// A custom module of a prepared graph.
#[derive(Clone, Debug)]
pub(crate) struct CustomModule {
    path: String,
    observed_class: String,
    quant_type: QuantType,
    qconfig: Arc<QConfig>,
    entry: String,
    /// The calls of its observed form, in order.
    pub(crate) calls: Vec<NodeId>,
    /// What it gives.
    output: ValueRef,
    /// The observed inputs: (call, input).
    activations: Vec<(NodeId, usize)>,
    /// The number of its first observer inside among the model's.
    first_observer: usize,
}

impl CustomModule {
    fn refused(&self, message: impl Into<String>) -> QuantError {
        refused(&self.path, &self.observed_class, message)
    }

    /// The call that gives its value.
    pub(crate) fn root(&self) -> NodeId {
        self.output.node
    }

    /// The module in the graph of a standalone module that it is in; `None` if it is in another.
    pub(super) fn seen_from(&self, part: &Part) -> Option<CustomModule> {
        let inner = part.inner();
        let at = |id: &NodeId| inner.get(id).copied();
        Some(CustomModule {
            calls: self.calls.iter().map(at).collect::<Option<_>>()?,
            output: ValueRef { node: at(&self.output.node)?, output: self.output.output },
            activations: self.activations.iter().map(|(id, input)| Some((at(id)?, *input))).collect::<Option<_>>()?,
            ..self.clone()
        })
    }

    /// Its calls as a group: what it takes and gives is observed as of any other.
    pub(crate) fn group(&self) -> Group {
        let (qconfig, entry) = (self.qconfig.clone(), self.entry.clone());
        let dtype_config = DTypeConfig::new(Arc::from("custom module"));
        let plan = match self.quant_type {
            QuantType::Static => Plan::Static { qconfig, entry, dtype_config },
            QuantType::Dynamic => Plan::Dynamic { qconfig, entry, dtype_config },
            QuantType::WeightOnly => Plan::WeightOnly { qconfig, entry, dtype_config },
        };
        Group {
            root: self.root(),
            nodes: self.calls.iter().rev().copied().collect(),
            pattern: format!("custom module {}", self.observed_class),
            share: false,
            custom: true,
            reuses_input: false,
            overruled: Vec::new(),
            fixed: Vec::new(),
            activations: self.activations.clone(),
            weight: None,
            weights: Vec::new(),
            bias: None,
            plan,
        }
    }
}

fn refused(module: &str, class: &str, message: impl Into<String>) -> QuantError {
    let (module, class) = (module.to_owned(), class.to_owned());
    CustomConfigError::CustomModule { module, class, message: message.into() }.into()
}

/// Puts the observed form of every custom module that has a QConfig in its place.
///
/// # Errors
/// If a module is not one that can be swapped, or its class refuses it.
pub(crate) fn observe_custom_modules(
    graph: &mut Graph,
    mapping: &QConfigMapping,
    config: &PrepareCustomConfig,
) -> Result<Vec<CustomModule>, QuantError> {
    let levels = levels(graph, mapping, config)?;
    if levels.iter().all(|level| level.config.float_to_observed.is_empty()) {
        return Ok(Vec::new());
    }
    // What no output depends on gives nothing to anybody.
    let mut live = graph.clone();
    live.eliminate_dead();
    let mut wanted = Vec::new();
    for level in &levels {
        let config = &level.config;
        let resolver = level.mapping.resolver(&level.graph);
        for (inside, class, calls) in config.custom_modules(&level.graph)? {
            let calls: Vec<NodeId> =
                calls.into_iter().map(|id| level.call(id)).filter(|id| live.contains(*id)).collect();
            if calls.is_empty() {
                continue;
            }
            let path = level.path(&inside);
            let Resolved { qconfig: Some(qconfig), entry } = resolver.resolve_module(&inside, &class) else { continue };
            let mode = mode_of(&qconfig);
            let quant_type = QuantType::of(mode);
            let found = config.float_to_observed.iter().find(|row| row.0 == quant_type && row.1 == class);
            let Some((_, _, observed)) = found else {
                let types: Vec<&str> =
                    config.float_to_observed.iter().filter(|row| row.1 == class).map(|row| row.0.name()).collect();
                let message = format!(
                    "its QConfig is {mode}, the class has an observed one for {} (hint: give it another QConfig, or None)",
                    types.join(", ")
                );
                return Err(refused(&path, &class, message));
            };
            let observed = match observed {
                ObservedClass::Custom(observed) => observed,
                // Written out step by step, and observed as what is around.
                ObservedClass::Quantizable if quant_type == QuantType::Static && quantizable(&class).is_some() => {
                    continue;
                }
                ObservedClass::Quantizable => {
                    return Err(refused(&path, &class, format!("it has no quantizable form for {mode} quantization")));
                }
            };
            if mode == Mode::Float16Static {
                return Err(refused(&path, &class, "half precision has no parameters that a custom module could take"));
            }
            wanted.push((path, calls, Arc::clone(observed), quant_type, qconfig, entry));
        }
    }
    drop(levels);
    graph.eliminate_dead();
    let mut custom = Vec::new();
    for (path, calls, observed, quant_type, qconfig, entry) in wanted {
        let part = Part::new(graph, &path, &calls)?;
        let refused = |message: String| refused(&path, observed.name(), message);
        let (&[(_, inside)], &[output]) = (&part.graph.outputs()[..], &part.outputs[..]) else {
            return Err(refused(format!(
                "it gives {} values to others; a custom module gives one",
                part.outputs.len()
            )));
        };
        let new = observed.observe(&part.graph, &qconfig).map_err(refused)?;
        check_interface(&new, &part.types(), part.graph.ty(inside)).map_err(refused)?;
        let inputs: Vec<ValueRef> = part.inputs().collect();
        let place = Place { before: output.node, path: &path, class: observed.name() };
        let (calls, new_output) = place.splice(graph, &new, &inputs)?;
        graph.replace_uses(output, new_output, &[]);
        let is_float = |v: ValueRef| graph.ty(v).dtype == DType::F32 && inputs.contains(&v);
        let uses = calls.iter().flat_map(|id| {
            let inputs = graph.node(*id).inputs().iter().enumerate();
            inputs.filter(|(_, v)| v.is_some_and(is_float)).map(|(i, _)| (*id, i))
        });
        let activations = if quant_type == QuantType::Static { uses.collect() } else { Vec::new() };
        let observed_class = observed.name().to_owned();
        custom.push(CustomModule {
            observed_class,
            path,
            quant_type,
            qconfig,
            entry,
            calls,
            output: new_output,
            activations,
            first_observer: 0,
        });
    }
    graph.eliminate_dead();
    // The observed form of another may not read what a module gives.
    custom.retain(|module| graph.contains(module.root()));
    for module in &mut custom {
        module.calls.retain(|id| graph.contains(*id));
        module.activations.retain(|(id, _)| graph.contains(*id));
    }
    Ok(custom)
}

/// Numbers the observers inside custom modules behind the others; what each does.
///
/// # Errors
/// If a module numbers its own otherwise than from 0.
pub(crate) fn number_observers(
    graph: &mut Graph,
    custom: &mut [CustomModule],
    first: usize,
) -> Result<Vec<(Observing, String)>, QuantError> {
    let mut added: Vec<(Observing, String)> = Vec::new();
    for module in custom {
        module.first_observer = first + added.len();
        let mut inside: Vec<(NodeId, usize)> = Vec::new();
        for &id in module.calls.iter().filter(|id| graph.node(**id).is_op("observer")) {
            let number = observer_id(graph, id);
            let number = number.ok_or_else(|| module.refused("the number of an observer is below 0"))?;
            inside.push((id, number));
        }
        if !inside.is_empty() && module.quant_type != QuantType::Static {
            return Err(module.refused(format!(
                "it has observers, whose ranges {} quantization does not find",
                module.quant_type.name()
            )));
        }
        let count = inside.iter().map(|(_, id)| *id).collect::<BTreeSet<_>>().len();
        for (node, id) in &inside {
            if *id >= count {
                return Err(module.refused(format!("its observers are numbered up to {id}, there are {count}")));
            }
            graph.set_attrs(*node, Attrs::new().with("id", module.first_observer + id))?;
        }
        for id in 0..count {
            let watched = inside.iter().find(|(_, i)| *i == id).and_then(|(node, _)| graph.node(*node).inputs()[0]);
            let watched = watched.map_or_else(String::new, |v| graph.node(v.node).name().to_owned());
            added.push((Observing::Calibrated(module.qconfig.activation.clone()), watched));
        }
    }
    Ok(added)
}

/// What is known of a custom module's edge while it still has observers.
pub(crate) struct Edge {
    inputs: Vec<Option<QParams>>,
    output: Option<QParams>,
    observers: Vec<QParams>,
}

impl CustomModule {
    /// The parameters at the module's edge and inside.
    pub(crate) fn edge(&self, graph: &Graph, qparams: &[ActivationQParams]) -> Result<Edge, QuantError> {
        let of = |id: usize| {
            let q = qparams.get(id).ok_or(QuantError::NoCalibrationData)?;
            Ok::<_, QuantError>(QParams::per_tensor(q.scale, q.zero_point, q.range))
        };
        let is_static = self.quant_type == QuantType::Static;
        let part = Part::new(graph, &self.path, &self.calls)?;
        let observed = |v: ValueRef| observer_id(graph, v.node).filter(|_| is_static).map(of).transpose();
        let behind = graph.users(self.output).into_iter().find_map(|(user, _)| observer_id(graph, user));
        let inside: BTreeSet<usize> = self.calls.iter().filter_map(|id| observer_id(graph, *id)).collect();
        Ok(Edge {
            inputs: part.inputs().map(observed).collect::<Result<_, _>>()?,
            output: behind.filter(|_| is_static).map(of).transpose()?,
            observers: inside.into_iter().map(of).collect::<Result<_, _>>()?,
        })
    }

    /// Puts the quantized form in the place of the observed one. The observers around it have become quantize and dequantize: it takes what is quantized,
    /// and gives what is dequantized.
    ///
    /// # Errors
    /// If there is no quantized class, or it refuses the module.
    pub(crate) fn quantize(
        &self,
        graph: &mut Graph,
        edge: Edge,
        config: &ConvertCustomConfig,
    ) -> Result<(), QuantError> {
        let rows = &config.observed_to_quantized;
        let found = rows.iter().find(|row| row.0 == self.quant_type && row.1 == self.observed_class);
        let Some((_, _, class)) = found else {
            return Err(self.refused(format!(
                "no quantized class for it, {} (hint: ConvertCustomConfig::set_observed_to_quantized_mapping)",
                self.quant_type.name()
            )));
        };
        let mut part = Part::new(graph, &self.path, &self.calls)?;
        let observers: Vec<NodeId> = part.graph.calls().filter(|id| observer_id(&part.graph, *id).is_some()).collect();
        for id in observers {
            let number = observer_id(&part.graph, id).unwrap_or_default() - self.first_observer;
            part.graph.set_attrs(id, Attrs::new().with("id", number))?;
        }
        let Edge { inputs, output, observers } = edge;
        let integers = |ty: &TensorType, q: &Option<QParams>| match q {
            Some(q) => TensorType::new(q.range.dtype, ty.shape.clone()),
            None => ty.clone(),
        };
        let types: Vec<TensorType> = part.types().iter().zip(&inputs).map(|(ty, q)| integers(ty, q)).collect();
        let expected = integers(graph.ty(self.output), &output);
        let observed: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        let qparams = CustomModuleQParams { qconfig: &self.qconfig, inputs, output, observers };
        let refused = |message: String| refused(&self.path, class.name(), message);
        let new = class.quantize(&part.graph, &qparams).map_err(refused)?;
        check_interface(&new, &types, &expected).map_err(refused)?;
        if new.calls().any(|id| new.node(id).is_op("observer")) {
            return Err(refused("it still has an observer".to_owned()));
        }
        // What was observed is read as the integers that it is dequantized from.
        let integers = |(value, observed): (ValueRef, bool)| {
            let quantized = graph.node(value.node).inputs().first().copied().flatten();
            quantized.filter(|_| observed).unwrap_or(value)
        };
        let values: Vec<ValueRef> = part.inputs().zip(observed).map(integers).collect();
        let place = Place { before: self.root(), path: &self.path, class: class.name() };
        let (_, result) = place.splice(graph, &new, &values)?;
        let Some(q) = qparams.output else {
            graph.replace_uses(self.output, result, &[]);
            return Ok(());
        };
        let same = quantize_attrs(q.scale[0], q.zero_point[0], q.range);
        let mut reals = Vec::new();
        for (user, input) in graph.users(self.output) {
            let alike = graph.node(user).call().filter(|(op, _)| op.name() == "quantize_per_tensor").is_some_and(
                |(op, attrs)| {
                    let attr = |attrs, name| op.signature().attr(attrs, name);
                    op.signature().attrs.iter().all(|a| attr(attrs, a.name) == attr(&same, a.name))
                },
            );
            if alike {
                graph.replace_uses(user.into(), result, &[]);
            } else {
                reals.push((user, input));
            }
        }
        if !reals.is_empty() {
            let op = lookup("dequantize_per_tensor").ok_or(QuantError::MissingOperator("dequantize_per_tensor"))?;
            let attrs = Attrs::new().with("scale", q.scale[0]).with("zero_point", q.zero_point[0]);
            let name = format!("{}.dequantize", self.path);
            let real = graph.call_before(Some(self.root()), &name, op, &[Some(result)], attrs, &[])?;
            reals.into_iter().for_each(|(user, input)| graph.set_input(user, input, Some(real.into())));
        }
        Ok(())
    }
}

/// Whether a graph takes and gives values of these types.
fn check_interface(graph: &Graph, inputs: &[TensorType], output: &TensorType) -> Result<(), String> {
    let own: Vec<&TensorType> = graph.placeholders().map(|id| graph.ty(id)).collect();
    let fits = |a: &TensorType, b: &TensorType| a.dtype == b.dtype && a.shape.compatible(&b.shape);
    if own.len() != inputs.len() || !own.iter().zip(inputs).all(|(a, b)| fits(a, b)) {
        let list = |types: &[&TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let wanted: Vec<&TensorType> = inputs.iter().collect();
        return Err(format!("it takes ({}) instead of ({})", list(&own), list(&wanted)));
    }
    let &[(_, given)] = &graph.outputs()[..] else {
        return Err(format!("it gives {} values instead of one", graph.outputs().len()));
    };
    if graph.node(given.node).call().is_none() {
        return Err("what it gives is made by none of its calls".to_owned());
    }
    if !fits(graph.ty(given), output) {
        return Err(format!("it gives {} instead of {output}", graph.ty(given)));
    }
    Ok(())
}

/// Where a module's new calls go.
struct Place<'p> {
    before: NodeId,
    path: &'p str,
    class: &'p str,
}

impl Place<'_> {
    /// Adds the calls of a module's graph; the calls, and what the module gives.
    fn splice(
        &self,
        graph: &mut Graph,
        new: &Graph,
        inputs: &[ValueRef],
    ) -> Result<(Vec<NodeId>, ValueRef), QuantError> {
        let mut outer: HashMap<NodeId, ValueRef> = new.placeholders().zip(inputs.iter().copied()).collect();
        let (mut calls, mut index) = (Vec::new(), 0);
        for id in new.order() {
            let node = new.node(id);
            match node.kind() {
                NodeKind::Call { op, attrs } => {
                    let value = |v: &Option<ValueRef>| {
                        v.and_then(|v| {
                            let at = *outer.get(&v.node)?;
                            Some(ValueRef { node: at.node, output: at.output + v.output })
                        })
                    };
                    let values: Vec<Option<ValueRef>> = node.inputs().iter().map(value).collect();
                    let mut origins: Vec<Origin> = node.origins().iter().map(|o| self.origin(o)).collect();
                    if origins.is_empty() {
                        origins.push(Origin::new(self.path, self.class, op.name(), index));
                        index += 1;
                    }
                    let name = graph.fresh_name(node.name());
                    let call = graph.call_before(Some(self.before), &name, *op, &values, attrs.clone(), &origins)?;
                    calls.push(call);
                    outer.insert(id, call.into());
                }
                _ => {
                    let Some(name) = node.param() else { continue };
                    let own = graph.params().get(name);
                    let param = match (new.constant(id), own.map(|p| p.value.as_ref())) {
                        (Some(tensor), Some(Some(own))) if own.bits_eq(tensor) => graph.get_attr(name)?,
                        (Some(tensor), Some(_)) => graph.param(&graph.fresh_param_name(name), tensor.clone()),
                        (Some(tensor), None) => graph.param(name, tensor.clone()),
                        // The model's, whose value is not known yet.
                        (None, Some(None)) if own.is_some_and(|p| p.ty == *new.ty(id)) => graph.get_attr(name)?,
                        (None, _) => {
                            let message = format!("its parameter `{name}` has no value");
                            return Err(refused(self.path, self.class, message));
                        }
                    };
                    outer.insert(id, param.into());
                }
            }
        }
        let given = new.outputs().first().map(|(_, v)| *v);
        let result = given.and_then(|v| {
            let at = outer.get(&v.node)?;
            Some(ValueRef { node: at.node, output: v.output })
        });
        // `check_interface` has seen that a call gives it.
        let result = result.ok_or_else(|| refused(self.path, self.class, "it gives nothing"))?;
        Ok((calls, result))
    }

    /// An origin inside the module as seen from the model.
    fn origin(&self, origin: &Origin) -> Origin {
        let (path, class) = match (&*origin.module_path, &*origin.module_type) {
            ("", "") => (self.path.to_owned(), self.class),
            ("", class) => (self.path.to_owned(), class),
            (inner, class) => (format!("{}.{inner}", self.path), class),
        };
        Origin { module_path: Arc::from(path), module_type: Arc::from(class), ..origin.clone() }
    }
}
