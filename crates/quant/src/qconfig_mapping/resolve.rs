//! Which entry gives a call its QConfig, and which others would have.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use quantc_ir::{Graph, Node, NodeId, Origin};
use serde::Serialize;

use super::QConfigMapping;
use super::entry::{Entry, Named};
use crate::qconfig::MaybeQConfig;

/// What a call was given and which entry gave it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The QConfig; `None` leaves the call in float.
    pub qconfig: MaybeQConfig,
    /// The entry, as reports print it.
    pub entry: String,
}

impl Resolved {
    /// What no entry names.
    fn none() -> Resolved {
        Resolved { qconfig: None, entry: Entry::Global.to_string() }
    }
}

/// Why an entry comes before another where nobody may expect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surprise {
    /// An entry for the class of the module that makes a call beats one for the function called.
    ContainingModuleType,
    /// Of several spellings of one type (`Linear`, `torch.nn.Linear`), the one registered last counts.
    LastSpelling,
    /// Of several regular expressions that match, the one registered first wins.
    FirstRegex,
    /// The name of a module further out beats a regular expression that matches the module itself.
    AncestorBeforeRegex,
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Surprise::ContainingModuleType => "the type of the module that makes a call comes before the function's",
            Surprise::LastSpelling => "both are names of one type, of which the last counts",
            Surprise::FirstRegex => "of the regular expressions that match, the one registered first wins",
            Surprise::AncestorBeforeRegex => {
                "the name of a module further out comes before a regular expression for the one inside"
            }
        })
    }
}

/// An entry that another comes before, with another QConfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadowed {
    /// The entry that does not count, as reports print it.
    pub entry: String,
    /// The entry that counts instead.
    pub by: String,
    /// The calls that both name.
    pub calls: Vec<String>,
    /// Why, unless it is the plain order of priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surprise: Option<Surprise>,
}

/// An entry that names a call.
struct Candidate<'m> {
    entry: Entry<'m>,
    qconfig: &'m MaybeQConfig,
    /// How it names the call's type, if it does.
    named: Option<Named>,
}

impl<'m> Candidate<'m> {
    fn new(entry: Entry<'m>, qconfig: &'m MaybeQConfig) -> Candidate<'m> {
        Candidate { entry, qconfig, named: None }
    }

    fn resolved(&self) -> Resolved {
        Resolved { qconfig: self.qconfig.clone(), entry: self.entry.to_string() }
    }

    /// Why this comes before `other`, if that may surprise.
    fn surprise(&self, other: &Candidate<'_>, path: &str) -> Option<Surprise> {
        match (self.entry, other.entry) {
            (Entry::ObjectType(_), Entry::ObjectType(_)) if self.named == other.named => Some(Surprise::LastSpelling),
            (Entry::ObjectType(_), Entry::ObjectType(_)) if self.named == Some(Named::ModuleType) => {
                Some(Surprise::ContainingModuleType)
            }
            (Entry::ModuleNameRegex(_), Entry::ModuleNameRegex(_)) => Some(Surprise::FirstRegex),
            (Entry::ModuleName(name), Entry::ModuleNameRegex(_)) if name != path => Some(Surprise::AncestorBeforeRegex),
            _ => None,
        }
    }
}

impl QConfigMapping {
    /// The QConfigs of the calls of `graph`.
    pub fn resolver<'a>(&'a self, graph: &'a Graph) -> Resolver<'a> {
        let mut modules: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
        let mut index_in_parent = HashMap::new();
        for id in graph.calls() {
            let Some(origin) = graph.node(id).origins().first() else { continue };
            let (path, module_type) = (&*origin.module_path, &*origin.module_type);
            let siblings = modules.entry((parent_of(path), module_type)).or_default();
            let index = siblings.iter().position(|p| *p == path).unwrap_or_else(|| {
                siblings.push(path);
                siblings.len() - 1
            });
            index_in_parent.insert(id, index as u32);
        }
        Resolver { mapping: self, graph, index_in_parent }
    }

    /// The entries for a call's type, in falling priority; of several that name it in the same way, the last.
    fn by_type<'m>(&'m self, node: &Node, origin: Option<&Origin>) -> Vec<Candidate<'m>> {
        let mut found: Vec<Candidate<'m>> = self
            .object_type
            .iter()
            .rev()
            .filter_map(|(t, qconfig)| {
                let named = t.names(node, origin)?;
                Some(Candidate { named: Some(named), ..Candidate::new(Entry::ObjectType(t), qconfig) })
            })
            .collect();
        found.sort_by_key(|c| c.named);
        found
    }

    /// The entries that name a call, in falling priority. `index_in_parent` is the index of its module among those of the same type in
    /// the containing module.
    fn candidates<'m>(
        &'m self,
        node: &Node,
        origin: Option<&Origin>,
        index_in_parent: Option<u32>,
    ) -> Vec<Candidate<'m>> {
        let (path, module_type, index) = origin.map_or(("", "", 0), |o| (&*o.module_path, &*o.module_type, o.index));
        let mut found = Vec::new();
        for (order, qconfig) in self.module_name_object_type_order.iter().rev() {
            // Operators are counted in the module that calls them, modules in the one that contains them, as in PyTorch.
            let of_operator = order.module_name == path
                && order.index == index
                && order.object_type.names_operator(node, origin).is_some();
            let of_module = order.module_name == parent_of(path)
                && Some(order.index) == index_in_parent
                && order.object_type.is_module_type(module_type);
            if of_operator || (of_module && !path.is_empty()) {
                found.push(Candidate::new(Entry::Order(order), qconfig));
            }
        }
        for name in self_and_ancestors(path) {
            if let Some((name, qconfig)) = self.module_name.iter().find(|(n, _)| n == name) {
                found.push(Candidate::new(Entry::ModuleName(name), qconfig));
            }
        }
        let regexes = self.module_name_regex.iter().filter(|(r, _)| r.regex.is_match(path));
        found.extend(regexes.map(|(r, qconfig)| Candidate::new(Entry::ModuleNameRegex(&r.text), qconfig)));
        found.extend(self.by_type(node, origin));
        found.push(Candidate::new(Entry::Global, &self.global));
        found
    }
}

/// Resolves the calls of one graph: [`QConfigMapping::resolver`].
#[derive(Debug)]
pub struct Resolver<'a> {
    pub(super) mapping: &'a QConfigMapping,
    pub(super) graph: &'a Graph,
    pub(super) index_in_parent: HashMap<NodeId, u32>,
}

impl<'a> Resolver<'a> {
    fn candidates(&self, id: NodeId) -> Vec<Candidate<'a>> {
        let node = self.graph.node(id);
        self.mapping.candidates(node, node.origins().first(), self.index_in_parent.get(&id).copied())
    }

    /// The QConfig of a call and the entry that gave it. Of a node with several origins, the first counts.
    pub fn resolve(&self, id: NodeId) -> Resolved {
        // There is always the global one.
        self.candidates(id).first().map_or_else(Resolved::none, Candidate::resolved)
    }

    /// The QConfig of a module as a whole, as one that is not looked into has it.
    pub(crate) fn resolve_module(&self, path: &str, class: &str) -> Resolved {
        let origin = Origin::new(path, class, "", 0);
        // The output is no call: no entry for an operator names it.
        let node = self.graph.output_node().map(|id| self.graph.node(id));
        let candidates = node.map(|node| self.mapping.candidates(node, Some(&origin), None)).unwrap_or_default();
        candidates.first().map_or_else(Resolved::none, Candidate::resolved)
    }

    /// What the entries for a call give it, in falling priority: the first counts.
    pub fn resolve_all(&self, id: NodeId) -> Vec<Resolved> {
        self.candidates(id).iter().map(Candidate::resolved).collect()
    }

    /// Entries without effect: names and regular expressions for nothing that is there, and entries that others, with another QConfig, come
    /// before wherever they name a call. A type that the graph has no call of is no mistake: the mapping may be for many models.
    pub fn unused(&self) -> Vec<String> {
        // Whether each entry that names a call counts somewhere, or gives what counts.
        let mut has_effect: HashMap<String, bool> = HashMap::new();
        for candidates in self.graph.calls().map(|id| self.candidates(id)) {
            for candidate in &candidates {
                let counts = candidates.first().is_some_and(|first| first.qconfig == candidate.qconfig);
                *has_effect.entry(candidate.entry.to_string()).or_default() |= counts;
            }
        }
        let unused = |entry: &Entry<'_>| match has_effect.get(&entry.to_string()) {
            Some(effect) => !effect,
            None => !matches!(entry, Entry::ObjectType(_)),
        };
        let entries = self.mapping.entries().map(|(e, _)| e).filter(|e| *e != Entry::Global);
        entries.filter(unused).map(|e| e.to_string()).collect()
    }

    /// Entries that name a call but do not give it its QConfig, since another comes before them and gives a different one. The global
    /// entry, which every other is there to overrule, is left out.
    pub fn shadowed(&self) -> Vec<Shadowed> {
        let mut found: BTreeMap<(Option<Surprise>, String, String), Vec<String>> = BTreeMap::new();
        for id in self.graph.calls() {
            let node = self.graph.node(id);
            let path = node.origins().first().map_or("", |o| &*o.module_path);
            let candidates = self.candidates(id);
            let Some((first, others)) = candidates.split_first() else { continue };
            for other in others.iter().filter(|o| o.entry != Entry::Global && o.qconfig != first.qconfig) {
                let key = (first.surprise(other, path), first.entry.to_string(), other.entry.to_string());
                found.entry(key).or_default().push(node.name().to_owned());
            }
        }
        let row = |((surprise, by, entry), calls)| Shadowed { entry, by, calls, surprise };
        found.into_iter().map(row).collect()
    }

    /// The QConfig that an entry for a call's type gives it, whatever its name says; `None` also if that entry says float.
    pub(crate) fn of_type(&self, id: NodeId) -> MaybeQConfig {
        let node = self.graph.node(id);
        self.mapping.by_type(node, node.origins().first()).first().and_then(|c| c.qconfig.clone())
    }
}

/// The path of the module that contains the one at `path`; empty for the root.
pub(crate) fn parent_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |p| p.0)
}

/// A path and those of the modules around it, the root left out.
pub(crate) fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |p| Some(parent_of(p))).take_while(|p| !p.is_empty())
}
