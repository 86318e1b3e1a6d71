//! Which calls of a graph a custom configuration is about.

use std::collections::{BTreeSet, HashMap, HashSet};

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::names::nearest;
use quantc_pattern::torch_names;

use super::{CustomConfigError, CustomModule, PrepareCustomConfig, StandaloneModuleConfigEntry};
use crate::qconfig::ObserverDType;
use crate::qconfig_mapping::self_and_ancestors;

/// What placing observers in a graph must know of its parts that are apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges {
    /// Calls that no pattern may cover, and the module that they are in.
    pub(crate) apart: HashMap<NodeId, String>,
    /// Values that are quantized by others, and to which type.
    pub(crate) quantized: HashMap<ValueRef, ObserverDType>,
    /// Values that leave the graph quantized.
    pub(crate) leaving: HashSet<ValueRef>,
    /// Modules whose calls are one group each, whatever the patterns.
    pub(crate) custom: Vec<CustomModule>,
}

/// A module that is prepared on its own.
pub(super) struct Standalone<'c> {
    pub(super) path: String,
    pub(super) class: String,
    pub(super) entry: &'c StandaloneModuleConfigEntry,
    /// Its calls, in order.
    pub(super) calls: Vec<NodeId>,
}

/// The modules of a graph: each path with the class of the module there, as far as its calls and the configuration tell.
struct Modules<'g> {
    class_of: HashMap<&'g str, &'g str>,
    paths: BTreeSet<&'g str>,
}

impl<'g> Modules<'g> {
    fn of(graph: &'g Graph, known: &'g [(String, String)]) -> Modules<'g> {
        let (mut class_of, mut paths) = (HashMap::new(), BTreeSet::new());
        for origin in graph.calls().flat_map(|id| graph.node(id).origins()) {
            paths.extend(self_and_ancestors(&origin.module_path));
            if !origin.module_path.is_empty() {
                class_of.insert(&*origin.module_path, &*origin.module_type);
            }
        }
        class_of.extend(known.iter().filter(|m| !m.0.is_empty()).map(|(path, class)| (path.as_str(), class.as_str())));
        Modules { class_of, paths }
    }

    fn named(&self, entry: &'static str, name: &str) -> Result<(), CustomConfigError> {
        if self.paths.contains(name) {
            return Ok(());
        }
        let hint = nearest(name, self.paths.iter().copied());
        Err(CustomConfigError::NoModule { entry, what: "called", name: name.to_owned(), hint })
    }

    /// The paths of the modules of a class, by its name or its full name in PyTorch.
    fn of_class(&self, entry: &'static str, class: &str) -> Result<Vec<&'g str>, CustomConfigError> {
        let short = torch_names::find(class).and_then(|row| row.module_type()).unwrap_or(class);
        let mut found: Vec<&str> = self.class_of.iter().filter(|(_, c)| **c == short).map(|(path, _)| *path).collect();
        found.sort_unstable();
        if found.is_empty() {
            let hint = nearest(class, self.class_of.values().copied());
            return Err(CustomConfigError::NoModule { entry, what: "of the class", name: class.to_owned(), hint });
        }
        Ok(found)
    }
}

/// Whether a module is another or inside it.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The module among `modules` that a call is in; of one inside another, the outer.
fn module_of<'m>(graph: &Graph, call: NodeId, modules: &'m [(String, usize)]) -> Option<&'m (String, usize)> {
    let inside = |m: &&(String, usize)| graph.node(call).origins().iter().any(|o| within(&o.module_path, &m.0));
    modules.iter().filter(inside).min_by_key(|m| m.0.len())
}

impl PrepareCustomConfig {
    /// The custom modules that the graph looks into otherwise: path, class, and calls in order.
    ///
    /// # Errors
    /// If the model has no module of a class.
    pub(super) fn custom_modules(
        &self,
        graph: &Graph,
    ) -> Result<Vec<(String, String, Vec<NodeId>)>, CustomConfigError> {
        let modules = Modules::of(graph, &self.modules);
        let mut classes: Vec<&str> = self.float_to_observed.iter().map(|row| row.1.as_str()).collect();
        classes.sort_unstable();
        classes.dedup();
        let mut paths: Vec<(String, usize)> = Vec::new();
        for (at, class) in classes.iter().enumerate() {
            let found = modules.of_class("float_to_observed_custom_module_class", class)?;
            paths.extend(found.into_iter().map(|path| (path.to_owned(), at)));
        }
        let mut left: Vec<(String, usize)> = Vec::new();
        let names = self.standalone_module_names.iter().map(|n| &n.0).chain(&self.non_traceable_module_names);
        left.extend(names.map(|name| (name.clone(), 0)));
        let standalone = self.standalone_module_classes.iter().map(|n| ("standalone_module_class", &n.0));
        let opaque = self.non_traceable_module_classes.iter().map(|n| ("non_traceable_module_class", n));
        for (entry, class) in standalone.chain(opaque) {
            left.extend(modules.of_class(entry, class)?.into_iter().map(|path| (path.to_owned(), 0)));
        }
        let mut custom: Vec<(String, String, Vec<NodeId>)> = Vec::new();
        for call in graph.calls().filter(|call| module_of(graph, *call, &left).is_none()) {
            let Some((path, class)) = module_of(graph, call, &paths) else { continue };
            match custom.iter_mut().find(|module| module.0 == *path) {
                Some(module) => module.2.push(call),
                None => custom.push((path.clone(), classes[*class].to_owned(), vec![call])),
            }
        }
        Ok(custom)
    }

    /// The calls inside non-traceable and standalone modules.
    ///
    /// # Errors
    /// If the model has no such module.
    pub(crate) fn calls_apart(&self, graph: &Graph) -> Result<HashSet<NodeId>, CustomConfigError> {
        Ok(self.scope(graph)?.0.apart.into_keys().collect())
    }

    /// Whether another setting is about a standalone module, too.
    fn conflict(&self, name: &str) -> Result<(), CustomConfigError> {
        let outer = self.standalone_module_names.iter().map(|(other, _)| other);
        let outer = outer.filter(|other| *other != name).find(|other| within(name, other));
        let conflict = match outer {
            _ if self.non_traceable_module_names.iter().any(|other| other == name) => {
                "is in non_traceable_module_name, too".to_owned()
            }
            Some(outer) => {
                format!("is inside `{outer}`, which is prepared on its own (hint: name it in the configuration there)")
            }
            None => return Ok(()),
        };
        Err(CustomConfigError::Conflict { entry: "standalone_module_name", name: name.to_owned(), conflict })
    }

    /// The calls that are apart, and the modules to be prepared on their own. A module that is named is not looked for by its class.
    pub(super) fn scope<'c>(&'c self, graph: &Graph) -> Result<(Edges, Vec<Standalone<'c>>), CustomConfigError> {
        let modules = Modules::of(graph, &self.modules);
        let mut edges = Edges::default();
        let mut opaque: Vec<(String, usize)> = Vec::new();
        for name in &self.non_traceable_module_names {
            modules.named("non_traceable_module_name", name)?;
            opaque.push((name.clone(), 0));
        }
        for class in &self.non_traceable_module_classes {
            let paths = modules.of_class("non_traceable_module_class", class)?;
            opaque.extend(paths.into_iter().map(|path| (path.to_owned(), 0)));
        }
        let mut alone: Vec<(String, usize)> = Vec::new();
        let mut entries: Vec<&StandaloneModuleConfigEntry> = Vec::new();
        for (name, entry) in &self.standalone_module_names {
            modules.named("standalone_module_name", name)?;
            self.conflict(name)?;
            alone.push((name.clone(), entries.len()));
            entries.push(entry);
        }
        for (class, entry) in &self.standalone_module_classes {
            for path in modules.of_class("standalone_module_class", class)? {
                if !alone.iter().any(|(named, _)| named == path) {
                    alone.push((path.to_owned(), entries.len()));
                    entries.push(entry);
                }
            }
        }
        let mut standalone: Vec<Standalone<'_>> = Vec::new();
        for call in graph.calls() {
            let (left, own) = (module_of(graph, call, &opaque), module_of(graph, call, &alone));
            // What is inside a standalone module is for its own configuration to say.
            match (left, own) {
                (_, Some((path, entry))) => {
                    edges.apart.insert(call, path.clone());
                    match standalone.iter_mut().find(|s| s.path == *path) {
                        Some(module) => module.calls.push(call),
                        None => standalone.push(Standalone {
                            path: path.clone(),
                            class: modules.class_of.get(path.as_str()).copied().unwrap_or_default().to_owned(),
                            entry: entries[*entry],
                            calls: vec![call],
                        }),
                    }
                }
                (Some((path, _)), None) => {
                    edges.apart.insert(call, path.clone());
                }
                (None, None) => {}
            }
        }
        let outputs = graph.outputs();
        for &index in &self.output_quantized_indexes {
            let output = outputs.get(index).ok_or(CustomConfigError::NoIndex {
                entry: "output_quantized_idxs",
                index,
                count: outputs.len(),
            })?;
            edges.leaving.insert(output.1);
        }
        let count = graph.placeholders().count();
        if let Some(&index) = self.input_quantized_indexes.iter().find(|i| **i >= count) {
            return Err(CustomConfigError::NoIndex { entry: "input_quantized_idxs", index, count });
        }
        Ok((edges, standalone))
    }
}
