//! A model and the standalone modules in it, each with its own configuration.

use std::borrow::Cow;
use std::collections::HashMap;

use quantc_ir::{Graph, NodeId};

use super::part::Part;
use super::scope::Standalone;
use super::{CustomConfigError, PrepareCustomConfig};
use crate::error::QuantError;
use crate::qconfig::QConfig;
use crate::qconfig_mapping::QConfigMapping;

/// A graph as its own configuration sees it: the model, or a standalone module in it or in another.
pub(crate) struct Level<'g> {
    /// The module's calls, with paths as seen from it.
    pub(crate) graph: Cow<'g, Graph>,
    pub(crate) mapping: Cow<'g, QConfigMapping>,
    pub(crate) config: Cow<'g, PrepareCustomConfig>,
    /// Its path in the model.
    path: String,
    /// Its calls in the model.
    calls: HashMap<NodeId, NodeId>,
}

impl Level<'_> {
    /// A call in the model.
    pub(crate) fn call(&self, id: NodeId) -> NodeId {
        self.calls.get(&id).copied().unwrap_or(id)
    }

    /// The path in the model of a module inside.
    pub(super) fn path(&self, inside: &str) -> String {
        joined(&self.path, inside)
    }
}

/// The model, and every standalone module behind what it is in.
///
/// # Errors
/// If a configuration names what its module does not have.
pub(crate) fn levels<'g>(
    graph: &'g Graph,
    mapping: &'g QConfigMapping,
    config: &'g PrepareCustomConfig,
) -> Result<Vec<Level<'g>>, QuantError> {
    let model = Level {
        graph: Cow::Borrowed(graph),
        mapping: Cow::Borrowed(mapping),
        config: Cow::Borrowed(config),
        path: String::new(),
        calls: HashMap::new(),
    };
    let mut levels = vec![model];
    let mut next = 0;
    while let Some(level) = levels.get(next) {
        let mut inside = Vec::new();
        for module in level.config.scope(&level.graph)?.1 {
            let part = Part::new(&level.graph, &module.path, &module.calls)?;
            inside.push(Level {
                calls: part.graph.calls().map(|id| (id, level.call(part.call(id)))).collect(),
                graph: Cow::Owned(part.graph),
                mapping: Cow::Owned(module.mapping(&level.graph, &level.mapping).1),
                config: Cow::Owned(module.config(&level.config)),
                path: level.path(&module.path),
            });
        }
        levels.extend(inside);
        next += 1;
    }
    Ok(levels)
}

impl PrepareCustomConfig {
    /// Checks the mappings of standalone modules as [`QConfigMapping::check`] does the model's; the entries that have no effect, as text.
    ///
    /// # Errors
    /// For the first entry that names nothing, and if the configuration names what the model does not have.
    pub fn check_mappings<'o>(
        &self,
        graph: &Graph,
        operators: impl IntoIterator<Item = &'o str>,
    ) -> Result<Vec<String>, QuantError> {
        let operators: Vec<&str> = operators.into_iter().collect();
        let mapping = QConfigMapping::new();
        let mut unused = Vec::new();
        for level in levels(graph, &mapping, self)?.into_iter().skip(1) {
            let at = format!("the mapping of the standalone module `{}`", level.path);
            if let Err(source) = level.mapping.check(&level.graph, operators.iter().copied()) {
                return Err(CustomConfigError::Mapping { at, source }.into());
            }
            let entries = level.mapping.resolver(&level.graph).unused();
            unused.extend(entries.into_iter().map(|entry| format!("the entry `{entry}` of {at} has no effect")));
        }
        Ok(unused)
    }
}

fn joined(path: &str, inside: &str) -> String {
    if path.is_empty() { inside.to_owned() } else { format!("{path}.{inside}") }
}

impl Standalone<'_> {
    /// The QConfig of the module as a whole, and the mapping inside: its own, or that QConfig for all of it.
    pub(super) fn mapping(&self, graph: &Graph, outside: &QConfigMapping) -> (Option<QConfig>, QConfigMapping) {
        let own = outside.resolver(graph).resolve_module(&self.path, &self.class).qconfig.as_deref().cloned();
        let inherited = || QConfigMapping::new().set_global(own.clone());
        let mapping = self.entry.qconfig_mapping.clone().unwrap_or_else(inherited);
        (own, mapping)
    }

    /// The configuration inside. It knows the classes of the modules that the one outside knows.
    pub(super) fn config(&self, outside: &PrepareCustomConfig) -> PrepareCustomConfig {
        let mut config = self.entry.prepare_custom_config.clone();
        if config.modules.is_empty() {
            let inside = |(path, class): &(String, String)| {
                let rest = path.strip_prefix(&*self.path)?.strip_prefix('.')?;
                Some((rest.to_owned(), class.clone()))
            };
            config.modules = outside.modules.iter().filter_map(inside).collect();
        }
        config
    }
}
