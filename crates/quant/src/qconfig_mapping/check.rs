//! Whether entries name what there is.

use std::collections::{BTreeMap, BTreeSet};

use quantc_ir::Graph;
use quantc_ops::lookup;
use quantc_ops::names::nearest;
use quantc_pattern::torch_names;

use super::entry::{Entry, ObjectType};
use super::resolve::{parent_of, self_and_ancestors};
use super::{MappingError, Order, QConfigMapping};

/// The names of a graph.
#[derive(Default)]
struct Names<'g> {
    /// Paths of modules.
    modules: BTreeSet<&'g str>,
    /// Classes of modules and operators of the source.
    types: BTreeSet<&'g str>,
}

impl<'g> Names<'g> {
    fn of(graph: &'g Graph) -> Names<'g> {
        let mut names = Names::default();
        for origin in graph.calls().flat_map(|id| graph.node(id).origins()) {
            names.modules.extend(self_and_ancestors(&origin.module_path));
            names.types.extend([&*origin.module_type, &*origin.source_op].into_iter().filter(|t| !t.is_empty()));
        }
        names
    }

    fn module(&self, path: &str) -> Result<(), (String, Option<String>)> {
        if path.is_empty() || self.modules.contains(path) {
            return Ok(());
        }
        if self.modules.is_empty() {
            return Err(("the graph does not say which modules its calls are from".to_owned(), None));
        }
        let hint = nearest(path, self.modules.iter().copied());
        Err((format!("the model has no module `{path}`"), hint))
    }

    /// `operators`: further operators of sources.
    fn object_type(&self, wanted: &ObjectType, operators: &BTreeSet<&str>) -> Result<(), (String, Option<String>)> {
        let name = wanted.name();
        let ours = || lookup(name).is_some() || torch_names::find(&format!("torch.nn.{name}")).is_some();
        if wanted.is_torch() || self.types.contains(name) || operators.contains(name) || ours() {
            return Ok(());
        }
        let classes = torch_names::all().iter().filter_map(|row| row.module_type());
        let words = quantc_ops::operators().map(|op| op.name()).chain(classes);
        let words = words.chain(self.types.iter().copied()).chain(operators.iter().copied());
        let hint = if name.contains('.') { torch_names::suggest(name) } else { nearest(name, words) };
        let missing = "no call is of this type, and neither quantc nor PyTorch knows it".to_owned();
        Err((missing, hint))
    }
}

impl QConfigMapping {
    /// Whether all entries name something: modules that the graph has, types that it has or that quantc or PyTorch know, calls that a module
    /// makes. `operators` are further types, those of the format that the graph came from. The graph should be the one that was imported:
    /// rewriting removes calls. A regular expression may match nothing.
    ///
    /// # Errors
    /// For the first entry that does not, with the nearest name.
    pub fn check<'o>(&self, graph: &Graph, operators: impl IntoIterator<Item = &'o str>) -> Result<(), MappingError> {
        let (names, operators) = (Names::of(graph), operators.into_iter().collect());
        for (entry, _) in self.entries() {
            let found = match entry {
                Entry::Global | Entry::ModuleNameRegex(_) => Ok(()),
                Entry::ObjectType(wanted) => names.object_type(wanted, &operators),
                Entry::ModuleName(path) => names.module(path),
                Entry::Order(order) => names
                    .module(&order.module_name)
                    .and_then(|()| names.object_type(&order.object_type, &operators))
                    .and_then(|()| self.counted(graph, order)),
            };
            found.map_err(|(missing, hint)| MappingError::NoSuch { entry: entry.to_string(), missing, hint })?;
        }
        Ok(())
    }

    /// Whether a module makes that many calls.
    fn counted(&self, graph: &Graph, order: &Order) -> Result<(), (String, Option<String>)> {
        let resolver = self.resolver(graph);
        let mut calls: BTreeMap<u32, String> = BTreeMap::new();
        for id in graph.calls() {
            let node = graph.node(id);
            let Some(origin) = node.origins().first() else { continue };
            if *origin.module_path == *order.module_name
                && order.object_type.names_operator(node, Some(origin)).is_some()
            {
                calls.insert(origin.index, node.name().to_owned());
            }
            let inside = !origin.module_path.is_empty() && parent_of(&origin.module_path) == order.module_name;
            if inside
                && order.object_type.is_module_type(&origin.module_type)
                && let Some(index) = resolver.index_in_parent.get(&id)
            {
                calls.insert(*index, origin.module_path.to_string());
            }
        }
        if calls.contains_key(&order.index) {
            return Ok(());
        }
        let Order { module_name, object_type, .. } = order;
        let place = if module_name.is_empty() { "the model itself".to_owned() } else { format!("`{module_name}`") };
        if calls.is_empty() {
            return Err((format!("{place} makes no call of `{object_type}`"), None));
        }
        let listed: Vec<String> = calls.iter().map(|(i, name)| format!("{i} is {name}")).collect();
        let hint = (listed.len() <= 8).then(|| listed.join(", "));
        Err((format!("{place} makes {} calls of `{object_type}`, counted from 0", calls.len()), hint))
    }
}
