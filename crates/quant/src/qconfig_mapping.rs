//! QConfigMapping: which QConfig a call gets, by where it came from (torch.ao.quantization.QConfigMapping).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, Node, NodeId, Origin};
use quantc_pattern::Mode;
use quantc_pattern::source::suggest;
use regex::Regex;
use serde_json::Value as Json;

use crate::qconfig::{MaybeQConfig, NAMES, QConfig, named};
use crate::weight_only::mode_of;

/// A mapping that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MappingError {
    /// The JSON text is malformed.
    #[error("QConfigMapping: not valid JSON: {0}")]
    Json(String),
    /// The JSON is not of the mapping's form.
    #[error("QConfigMapping: {at}: {message}")]
    Form {
        /// Where in the document.
        at: String,
        /// What is wrong.
        message: String,
    },
}

/// Entries in rising priority: global < object type < module name regex < module name < module name + object type + index.
#[derive(Clone, Debug, Default)]
pub struct QConfigMapping {
    global: MaybeQConfig,
    object_type: Vec<(String, MaybeQConfig)>,
    module_name_regex: Vec<(Regex, MaybeQConfig)>,
    module_name: Vec<(String, MaybeQConfig)>,
    module_name_object_type_order: Vec<(String, String, u32, MaybeQConfig)>,
}

/// What a call was given and which entry gave it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The QConfig; `None` leaves the call in float.
    pub qconfig: MaybeQConfig,
    /// The entry, as reports print it.
    pub entry: String,
}

impl QConfigMapping {
    /// No entries: nothing is quantized.
    pub fn new() -> QConfigMapping {
        QConfigMapping::default()
    }

    /// PyTorch's default mapping around a QConfig: everything gets it, but transposed convolutions get a per-tensor weight
    /// (torch.ao.quantization.get_default_qconfig_mapping).
    pub fn default_for(qconfig: QConfig) -> QConfigMapping {
        let per_tensor = QConfig { weight: qconfig.weight.to_per_tensor(), ..qconfig.clone() };
        ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
            .iter()
            .fold(QConfigMapping::new().set_global(Some(qconfig)), |mapping, op| {
                mapping.set_object_type(op, Some(per_tensor.clone()))
            })
    }

    /// Sets the QConfig of everything without a more specific entry.
    pub fn set_global(mut self, qconfig: Option<QConfig>) -> Self {
        self.global = qconfig.map(Arc::new);
        self
    }

    /// Sets the QConfig of calls of an operator (`conv2d`), module type (`Conv2d`) or source operator (`Conv`).
    pub fn set_object_type(mut self, object_type: &str, qconfig: Option<QConfig>) -> Self {
        self.object_type.push((object_type.to_owned(), qconfig.map(Arc::new)));
        self
    }

    /// Sets the QConfig of modules whose path matches, anchored at its start; the first match registered wins.
    ///
    /// # Errors
    /// If the regular expression is malformed.
    pub fn set_module_name_regex(mut self, regex: &str, qconfig: Option<QConfig>) -> Result<Self, MappingError> {
        let anchored = Regex::new(&format!("^(?:{regex})"))
            .map_err(|e| MappingError::Form { at: format!("module_name_regex `{regex}`"), message: e.to_string() })?;
        self.module_name_regex.push((anchored, qconfig.map(Arc::new)));
        Ok(self)
    }

    /// Sets the QConfig of a module and everything inside it that has no nearer entry.
    pub fn set_module_name(mut self, module_name: &str, qconfig: Option<QConfig>) -> Self {
        self.module_name.push((module_name.to_owned(), qconfig.map(Arc::new)));
        self
    }

    /// Sets the QConfig of the `index`-th call of an object type in a module.
    pub fn set_module_name_object_type_order(
        mut self,
        module_name: &str,
        object_type: &str,
        index: u32,
        qconfig: Option<QConfig>,
    ) -> Self {
        let entry = (module_name.to_owned(), object_type.to_owned(), index, qconfig.map(Arc::new));
        self.module_name_object_type_order.push(entry);
        self
    }

    /// Reads the JSON form: `{"global": Q, "object_type": [["conv2d", Q], ...], "module_name_regex": [[re, Q], ...],
    /// "module_name": [[path, Q], ...], "module_name_object_type_order": [[path, type, index, Q], ...]}` where `Q` is `null`, a
    /// preset's name or `{"activation": {...}, "weight": {...}}`. PyTorch's key `""` for global is accepted.
    ///
    /// # Errors
    /// With the place in the document.
    pub fn from_json(text: &str) -> Result<QConfigMapping, MappingError> {
        let json: Json = serde_json::from_str(text).map_err(|e| MappingError::Json(e.to_string()))?;
        let Json::Object(map) = json else {
            return Err(form("the document", "must be an object"));
        };
        let mut mapping = QConfigMapping::new();
        for (key, value) in &map {
            match key.as_str() {
                "global" | "" => mapping = mapping.set_global(parse_qconfig(key, value)?),
                "object_type" => {
                    for (at, row) in rows(key, value, 2)? {
                        mapping = mapping.set_object_type(string(&at, &row[0])?, parse_qconfig(&at, &row[1])?);
                    }
                }
                "module_name_regex" => {
                    for (at, row) in rows(key, value, 2)? {
                        mapping = mapping.set_module_name_regex(string(&at, &row[0])?, parse_qconfig(&at, &row[1])?)?;
                    }
                }
                "module_name" => {
                    for (at, row) in rows(key, value, 2)? {
                        mapping = mapping.set_module_name(string(&at, &row[0])?, parse_qconfig(&at, &row[1])?);
                    }
                }
                "module_name_object_type_order" => {
                    for (at, row) in rows(key, value, 4)? {
                        let index = row[2]
                            .as_u64()
                            .and_then(|v| u32::try_from(v).ok())
                            .ok_or_else(|| form(&at, "the index must be a whole number"))?;
                        mapping = mapping.set_module_name_object_type_order(
                            string(&at, &row[0])?,
                            string(&at, &row[1])?,
                            index,
                            parse_qconfig(&at, &row[3])?,
                        );
                    }
                }
                other => {
                    let keys = "global, object_type, module_name_regex, module_name, module_name_object_type_order";
                    return Err(form(other, format!("unknown key (the keys are: {keys})")));
                }
            }
        }
        Ok(mapping)
    }

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

    /// The QConfig of a call. `node` supplies the operator's name, `origin` where it came from, `index_in_parent` is the index of
    /// its module among those of the same type in the containing module.
    fn resolve_call(&self, node: &Node, origin: Option<&Origin>, index_in_parent: Option<u32>) -> Resolved {
        let op = node.call().map_or("", |(op, _)| op.name());
        let (path, module_type, source_op, index) =
            origin.map_or(("", "", "", 0), |o| (&*o.module_path, &*o.module_type, &*o.source_op, o.index));

        for (module, object_type, i, qconfig) in self.module_name_object_type_order.iter().rev() {
            // Operators are counted in the module that calls them, modules in the one that contains them, as in PyTorch.
            let of_operator = (object_type == op || object_type == source_op) && module == path && *i == index;
            let of_module = object_type == module_type && module == parent_of(path) && Some(*i) == index_in_parent;
            if of_operator || (of_module && !path.is_empty()) {
                return Resolved { qconfig: qconfig.clone(), entry: of_order(module, object_type, *i) };
            }
        }
        let mut ancestor = Some(path);
        while let Some(name) = ancestor.filter(|n| !n.is_empty()) {
            if let Some((_, qconfig)) = self.module_name.iter().rev().find(|(n, _)| n == name) {
                return Resolved { qconfig: qconfig.clone(), entry: of_name(name) };
            }
            ancestor = name.rsplit_once('.').map(|p| p.0);
        }
        if let Some((regex, qconfig)) = self.module_name_regex.iter().find(|(r, _)| r.is_match(path)) {
            return Resolved { qconfig: qconfig.clone(), entry: of_regex(regex) };
        }
        self.of_type(types_of(node, origin))
            .unwrap_or_else(|| Resolved { qconfig: self.global.clone(), entry: "global".to_owned() })
    }

    /// The entry for the first of these types that has one; the last entry for a type counts.
    fn of_type(&self, types: [&str; 3]) -> Option<Resolved> {
        types.iter().filter(|t| !t.is_empty()).find_map(|wanted| {
            let (t, qconfig) = self.object_type.iter().rev().find(|(t, _)| t == wanted)?;
            Some(Resolved { qconfig: qconfig.clone(), entry: of_type(t) })
        })
    }

    /// Every entry but the global one, as reports print it, with the module path and the type it names.
    fn entries(&self) -> impl Iterator<Item = (String, Option<&str>, Option<&str>)> {
        let types = self.object_type.iter().map(|e| (of_type(&e.0), None, Some(e.0.as_str())));
        let regexes = self.module_name_regex.iter().map(|e| (of_regex(&e.0), None, None));
        let names = self.module_name.iter().map(|e| (of_name(&e.0), Some(e.0.as_str()), None));
        let order = |(m, t, i, _): &'_ (String, String, u32, MaybeQConfig)| of_order(m, t, *i);
        let orders = self.module_name_object_type_order.iter();
        let orders = orders.map(move |e| (order(e), Some(e.0.as_str()), Some(e.1.as_str())));
        types.chain(regexes).chain(names).chain(orders)
    }

    /// Whether any entry quantizes statically, so that calibration is needed.
    pub fn needs_calibration(&self) -> bool {
        let all = std::iter::once(&self.global)
            .chain(self.object_type.iter().map(|e| &e.1))
            .chain(self.module_name_regex.iter().map(|e| &e.1))
            .chain(self.module_name.iter().map(|e| &e.1))
            .chain(self.module_name_object_type_order.iter().map(|e| &e.3));
        all.flatten().any(|q| mode_of(q) == Mode::Static)
    }
}

/// Resolves the calls of one graph: [`QConfigMapping::resolver`].
#[derive(Debug)]
pub struct Resolver<'a> {
    mapping: &'a QConfigMapping,
    graph: &'a Graph,
    index_in_parent: HashMap<NodeId, u32>,
}

impl Resolver<'_> {
    /// The QConfig of a call and the entry that gave it. Of a node with several origins, the first counts.
    pub fn resolve(&self, id: NodeId) -> Resolved {
        let node = self.graph.node(id);
        self.mapping.resolve_call(node, node.origins().first(), self.index_in_parent.get(&id).copied())
    }

    /// Entries that give no call its QConfig: they name nothing that is there, or others come before them everywhere. With a hint,
    /// if a name is not there.
    pub fn unused(&self) -> Vec<(String, Option<String>)> {
        let used: HashSet<String> = self.graph.calls().map(|id| self.resolve(id).entry).collect();
        let (mut paths, mut types) = (BTreeSet::new(), BTreeSet::new());
        for id in self.graph.calls() {
            let node = self.graph.node(id);
            let origin = node.origins().first();
            let path = origin.map_or("", |o| &*o.module_path);
            paths.extend(std::iter::successors(Some(path), |p| Some(parent_of(p))).take_while(|p| !p.is_empty()));
            types.extend(types_of(node, origin).into_iter().filter(|t| !t.is_empty()));
        }
        let unused = self.mapping.entries().filter(|(entry, ..)| !used.contains(entry));
        let missing = |name: Option<&str>, known: &BTreeSet<&str>| {
            name.filter(|n| !n.is_empty() && !known.contains(n)).and_then(|n| suggest(n, known.iter().copied()))
        };
        unused.map(|(entry, path, ty)| (entry, missing(path, &paths).or_else(|| missing(ty, &types)))).collect()
    }

    /// The QConfig that an entry for a call's type gives it, whatever its name says; `None` also if that entry says float.
    pub(crate) fn of_type(&self, id: NodeId) -> MaybeQConfig {
        let node = self.graph.node(id);
        self.mapping.of_type(types_of(node, node.origins().first())).and_then(|r| r.qconfig)
    }
}

/// The types an entry may name a call by. The containing module's beats the function's (measured in PyTorch).
fn types_of<'n>(node: &'n Node, origin: Option<&'n Origin>) -> [&'n str; 3] {
    let op = node.call().map_or("", |(op, _)| op.name());
    origin.map_or(["", op, ""], |o| [&*o.module_type, op, &*o.source_op])
}

fn of_type(object_type: &str) -> String {
    format!("object_type {object_type}")
}

fn of_regex(regex: &Regex) -> String {
    let shown = regex.as_str();
    format!("module_name_regex {}", shown.strip_prefix("^(?:").and_then(|s| s.strip_suffix(')')).unwrap_or(shown))
}

fn of_name(module_name: &str) -> String {
    format!("module_name {module_name}")
}

fn of_order(module_name: &str, object_type: &str, index: u32) -> String {
    format!("module_name_object_type_order ({module_name}, {object_type}, {index})")
}

/// The path of the module that contains the one at `path`; empty for the root.
pub(crate) fn parent_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |p| p.0)
}

fn form(at: &str, message: impl Into<String>) -> MappingError {
    MappingError::Form { at: at.to_owned(), message: message.into() }
}

fn rows<'a>(key: &str, value: &'a Json, width: usize) -> Result<Vec<(String, &'a Vec<Json>)>, MappingError> {
    let list = value.as_array().ok_or_else(|| form(key, "must be a list of rows"))?;
    list.iter()
        .enumerate()
        .map(|(i, row)| {
            let at = format!("{key}[{i}]");
            match row.as_array() {
                Some(row) if row.len() == width => Ok((at, row)),
                _ => Err(form(&at, format!("must be a list of {width} items"))),
            }
        })
        .collect()
}

fn string<'a>(at: &str, value: &'a Json) -> Result<&'a str, MappingError> {
    value.as_str().ok_or_else(|| form(at, "a name must be a string"))
}

fn parse_qconfig(at: &str, value: &Json) -> Result<Option<QConfig>, MappingError> {
    match value {
        Json::Null => Ok(None),
        Json::String(name) => named(name).map(Some).ok_or_else(|| {
            let known: Vec<_> = NAMES.iter().map(|n| n.0).collect();
            form(at, format!("unknown qconfig `{name}` (the presets are: {})", known.join(", ")))
        }),
        other => serde_json::from_value(other.clone()).map(Some).map_err(|e| form(at, e.to_string())),
    }
}
