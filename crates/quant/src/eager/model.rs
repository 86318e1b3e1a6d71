//! The model that the eager functions change: a traced graph and its tree of modules.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ir::{Graph, NodeId, Origin};
use quantc_ops::names::nearest;
use quantc_ops::{Attrs, lookup};

use super::EagerError;
use crate::error::QuantError;
use crate::qconfig::{MaybeQConfig, QConfig};
use crate::qconfig_mapping::parent_of;

/// One module.
#[derive(Clone, Debug)]
pub(super) struct ModuleInfo {
    pub(super) module_type: String,
    /// The attribute `.qconfig`; `None` inside: set to `None`.
    pub(super) qconfig: Option<MaybeQConfig>,
    /// Whether fusing made it (PyTorch `_FusedModule`).
    pub(super) fused: bool,
}

/// A traced model with its tree of modules and their QConfigs, in eval mode until [`EagerModel::train`].
#[derive(Clone, Debug)]
pub struct EagerModel {
    pub(super) graph: Graph,
    pub(super) modules: IndexMap<String, ModuleInfo>,
    pub(super) training: bool,
}

impl EagerModel {
    /// A model from its traced graph and the path and type of every module, as a description lists them (`Description::modules`); the root's path is
    /// empty. Modules of the graph's origins that are not in the list, and those around them, are added to it.
    pub fn new(graph: Graph, modules: Vec<(String, String)>) -> EagerModel {
        let info = |module_type: String| ModuleInfo { module_type, qconfig: None, fused: false };
        let mut tree: IndexMap<String, ModuleInfo> = IndexMap::new();
        tree.insert(String::new(), info("Module".to_owned()));
        tree.extend(modules.into_iter().map(|(path, ty)| (path, info(ty))));
        for origin in graph.calls().filter_map(|id| graph.node(id).origins().first()) {
            let path = &*origin.module_path;
            tree.entry(path.to_owned()).or_insert_with(|| info(origin.module_type.to_string()));
            for around in std::iter::successors(Some(path), |p| Some(parent_of(p))).take_while(|p| !p.is_empty()) {
                tree.entry(around.to_owned()).or_insert_with(|| info("Module".to_owned()));
            }
        }
        EagerModel { graph, modules: tree, training: false }
    }

    /// The graph: float, with stubs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Sets the attribute `.qconfig` of a module; the root's path is empty. `None` keeps the module, and what is inside it without an own
    /// attribute, in float.
    ///
    /// # Errors
    /// If there is no such module.
    pub fn set_qconfig(&mut self, path: &str, qconfig: Option<QConfig>) -> Result<(), EagerError> {
        self.check_module(path)?;
        let Some(module) = self.modules.get_mut(path) else { return Ok(()) };
        module.qconfig = Some(qconfig.map(Arc::new));
        Ok(())
    }

    /// Training mode (torch.nn.Module.train).
    pub fn train(mut self) -> EagerModel {
        self.training = true;
        self
    }

    /// Eval mode (torch.nn.Module.eval).
    pub fn eval(mut self) -> EagerModel {
        self.training = false;
        self
    }

    /// Path, type and `.qconfig` of each module; modules without that attribute have `None`, as those where it is `None`.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &str, Option<&QConfig>)> {
        self.modules
            .iter()
            .map(|(path, m)| (path.as_str(), m.module_type.as_str(), m.qconfig.as_ref().and_then(|q| q.as_deref())))
    }

    /// Whether there is such a module.
    ///
    /// # Errors
    /// If not, with those that there are.
    pub fn check_module(&self, path: &str) -> Result<(), EagerError> {
        if self.modules.contains_key(path) { Ok(()) } else { Err(self.unknown(path)) }
    }

    /// Whether there is a module at that path, or any of that type.
    ///
    /// # Errors
    /// If not, with the nearest path or type, or those that there are.
    pub fn check_module_or_type(&self, name: &str) -> Result<(), EagerError> {
        let types = || self.modules().map(|m| m.1);
        if self.modules.contains_key(name) || types().any(|ty| ty == name) {
            return Ok(());
        }
        let hint = nearest(name, self.paths().chain(types())).map(did_you_mean).unwrap_or_else(|| {
            let types: BTreeSet<&str> = types().collect();
            format!("{}; their types: {}", self.listed(), types.into_iter().collect::<Vec<_>>().join(", "))
        });
        Err(EagerError::UnknownModuleOrType { name: name.to_owned(), hint })
    }

    pub(super) fn unknown(&self, path: &str) -> EagerError {
        let hint = nearest(path, self.paths()).map(did_you_mean).unwrap_or_else(|| self.listed());
        EagerError::UnknownModule { path: path.to_owned(), hint }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str).filter(|k| !k.is_empty())
    }

    fn listed(&self) -> String {
        format!("the modules are: {}", self.paths().collect::<Vec<_>>().join(", "))
    }

    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let inside = |k: &&String| !k.is_empty() && parent_of(k) == path;
        self.modules.keys().filter(inside).cloned().collect()
    }

    pub(super) fn qconfig(&self, path: &str) -> MaybeQConfig {
        self.modules.get(path).and_then(|m| m.qconfig.clone()).flatten()
    }

    pub(super) fn module_type(&self, path: &str) -> &str {
        self.modules.get(path).map_or("", |m| &m.module_type)
    }

    /// The calls of the modules, by path, in order of execution.
    pub(super) fn calls(&self) -> HashMap<String, Vec<NodeId>> {
        let mut calls: HashMap<String, Vec<NodeId>> = HashMap::new();
        for id in self.graph.calls() {
            if let Some(origin) = self.graph.node(id).origins().first() {
                calls.entry(origin.module_path.to_string()).or_default().push(id);
            }
        }
        calls
    }

    /// The module that is swapped as one unit around a call: the fused module it is inside, or its own leaf; `None` for calls in the forward of a
    /// module with children.
    pub(super) fn unit(&self, id: NodeId) -> Option<&str> {
        let path: &str = &self.graph.node(id).origins().first()?.module_path;
        let (path, _) = self.modules.get_key_value(path).map(|(k, m)| (k.as_str(), m))?;
        if self.modules.get(parent_of(path)).is_some_and(|m| m.fused) && !path.is_empty() {
            return self.modules.get_key_value(parent_of(path)).map(|(k, _)| k.as_str());
        }
        self.children(path).is_empty().then_some(path)
    }

    /// Renames a module and everything inside it, in the tree and in the origins of calls.
    fn move_module(&mut self, from: &str, to: &str) {
        let moved = |path: &str| match path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => Some(format!("{to}{rest}")),
            _ => None,
        };
        let old = std::mem::take(&mut self.modules);
        self.modules = old.into_iter().map(|(path, info)| (moved(&path).unwrap_or(path), info)).collect();
        let calls: Vec<NodeId> = self.graph.calls().collect();
        for id in calls {
            let origins: Vec<Origin> = self.graph.node(id).origins().to_vec();
            let renamed = origins.iter().map(|o| match moved(&o.module_path) {
                Some(path) => Origin::new(&path, &o.module_type, &o.source_op, o.index),
                None => o.clone(),
            });
            let renamed: Vec<Origin> = renamed.collect();
            self.graph.set_origins(id, &renamed);
        }
    }
}

fn did_you_mean(name: String) -> String {
    format!("did you mean `{name}`?")
}

/// QConfigs by module type and by module path: `qconfig_dict` of [`propagate_qconfig`], `qconfig_spec` of [`super::quantize_dynamic`].
#[derive(Clone, Debug, Default)]
pub struct QConfigDict {
    pub(super) types: Vec<(String, MaybeQConfig)>,
    pub(super) names: Vec<(String, MaybeQConfig)>,
}

impl QConfigDict {
    /// An entry for a module type.
    pub fn set_type(mut self, module_type: &str, qconfig: Option<QConfig>) -> QConfigDict {
        self.types.push((module_type.to_owned(), qconfig.map(Arc::new)));
        self
    }

    /// An entry for a module's path; the root's is empty.
    pub fn set_name(mut self, path: &str, qconfig: Option<QConfig>) -> QConfigDict {
        self.names.push((path.to_owned(), qconfig.map(Arc::new)));
        self
    }

    fn get(entries: &[(String, MaybeQConfig)], key: &str) -> Option<MaybeQConfig> {
        entries.iter().rev().find(|e| e.0 == key).map(|e| e.1.clone())
    }
}

/// Gives every module its QConfig as an attribute: the attribute it has, else the entry for its path, else that for its type, else its parent's
/// (torch.ao.quantization.propagate_qconfig_).
pub fn propagate_qconfig(model: &mut EagerModel, dict: &QConfigDict) {
    propagate(model, dict, "", None);
}

fn propagate(model: &mut EagerModel, dict: &QConfigDict, path: &str, parent: MaybeQConfig) {
    let Some(module) = model.modules.get_mut(path) else { return };
    let own = module.qconfig.clone();
    let named = || QConfigDict::get(&dict.names, path).or_else(|| QConfigDict::get(&dict.types, &module.module_type));
    let qconfig = own.or_else(named).unwrap_or(parent);
    module.qconfig = Some(qconfig.clone());
    for child in model.children(path) {
        propagate(model, dict, &child, qconfig.clone());
    }
}

/// Puts every leaf module that has a QConfig between stubs: a `QuantWrapper` takes its place, its path gets `.module` at the end
/// (torch.ao.quantization.add_quant_dequant).
///
/// # Errors
/// If such a module is no function of one tensor: `FloatFunctional`, a recurrent layer, a member of a fused module.
pub fn add_quant_dequant(model: &mut EagerModel) -> Result<(), EagerError> {
    let leaves: Vec<String> = model.modules.keys().filter(|p| model.children(p).is_empty()).cloned().collect();
    for path in leaves {
        let Some(qconfig) = model.qconfig(&path) else { continue };
        let calls = model.calls().remove(&path).unwrap_or_default();
        let module_type = model.module_type(&path).to_owned();
        let refused = |detail: &str| EagerError::Unsupported {
            path: path.clone(),
            module_type: module_type.clone(),
            detail: detail.to_owned(),
        };
        if path.is_empty() || model.modules.get(parent_of(&path)).is_some_and(|m| m.fused) {
            return Err(refused("it is part of a fused module (hint: add_quant_dequant before fuse_modules)"));
        }
        let single = |id: &NodeId| model.graph.node(*id).types().len() == 1;
        if ["FloatFunctional", "MultiheadAttention"].contains(&module_type.as_str()) || !calls.iter().all(single) {
            return Err(refused("a QuantWrapper takes one tensor and gives one (hint: set its qconfig to None)"));
        }
        model.move_module(&path, &format!("{path}.module"));
        let attribute = || Some(Some(qconfig.clone()));
        for (name, ty, qconfig) in
            [("", "QuantWrapper", None), (".quant", "QuantStub", attribute()), (".dequant", "DeQuantStub", attribute())]
        {
            let info = ModuleInfo { module_type: ty.to_owned(), qconfig, fused: false };
            model.modules.insert(format!("{path}{name}"), info);
        }
        for (index, call) in calls.into_iter().enumerate() {
            let Some(Some(input)) = model.graph.node(call).inputs().first().copied() else { continue };
            let stub = |op: &'static str| lookup(op).ok_or(QuantError::MissingOperator(op));
            let origin = |name: &str, ty: &str, op: &str| Origin::new(&format!("{path}.{name}"), ty, op, index as u32);
            let (name, op) = (format!("{path}.quant"), stub("quant_stub")?);
            let origins = [origin("quant", "QuantStub", "quant_stub")];
            let quant = model.graph.call_before(Some(call), &name, op, &[Some(input)], Attrs::new(), &origins)?;
            model.graph.set_input(call, 0, Some(quant.into()));
            let after = model.graph.order().skip_while(|n| *n != call).nth(1);
            let (name, op) = (format!("{path}.dequant"), stub("dequant_stub")?);
            let origins = [origin("dequant", "DeQuantStub", "dequant_stub")];
            let dequant = model.graph.call_before(after, &name, op, &[Some(call.into())], Attrs::new(), &origins)?;
            model.graph.replace_uses(call.into(), dequant.into(), &[dequant]);
        }
    }
    Ok(())
}
