//! A backend as PyTorch's dictionary.

use std::collections::HashSet;

use quantc_ops::Attr;
use serde_json::{Map, Value as Json, json};

use super::spell::{Spelling, spellings};
use super::tree::{Expanded, Node, expand, operands};
use super::world::{Fact, about_attributes, holds};
use super::{dtypes, observation_name};
use crate::ast::VarId;
use crate::backend::{BackendConfig, BackendPatternConfig, ObservationType, Role};

/// A backend in PyTorch's words.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The dictionary: `{"name": .., "configs": [..]}`.
    pub document: Json,
    /// What PyTorch's form cannot say, one line each.
    pub warnings: Vec<String>,
}

impl Exported {
    /// The document as text, one pattern in a line.
    pub fn to_text(&self) -> String {
        let configs = self.document["configs"].as_array().map_or(&[][..], Vec::as_slice);
        let rows: Vec<String> = configs.iter().map(|c| format!("  {c}")).collect();
        format!("{{\n \"name\": {},\n \"configs\": [\n{}\n ]\n}}\n", self.document["name"], rows.join(",\n"))
    }
}

/// A pattern and one of the trees that it matches.
struct Row<'a> {
    config: &'a BackendPatternConfig,
    tree: Expanded,
}

/// Whether the bottom call, if it has two operands, has two tensors or a tensor and a number.
#[derive(Clone, Copy, PartialEq)]
enum Operands {
    Tensors,
    WithNumber,
}

impl Row<'_> {
    /// Whether the pattern matches there: PyTorch's patterns have no conditions.
    fn matches(&self, rank: usize, operands: Operands) -> bool {
        let bottom = &self.tree.bottom;
        let bind = |facts: &[Fact]| -> Vec<(VarId, Fact)> {
            let weight = |v: &VarId| self.config.role(*v) != Some(Role::Input);
            bottom
                .iter()
                .zip(facts)
                .filter_map(|(var, fact)| Some((*var.as_ref().filter(|v| !weight(v))?, *fact)))
                .collect()
        };
        let (tensor, number) = (Fact::Activation, Fact::Number);
        match operands {
            Operands::Tensors => holds(self.config, rank, &[]),
            // An operand that is the same whichever it is may be the number.
            Operands::WithNumber => {
                [[tensor, number], [number, tensor]].iter().any(|f| holds(self.config, rank, &bind(f)))
            }
        }
    }
}

/// A backend as PyTorch's `BackendConfig.to_dict` has it: every pattern under all names of PyTorch that mean it.
pub fn export_backend(backend: &BackendConfig) -> Exported {
    let mut warnings = Vec::new();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for config in &backend.patterns {
        match expand(config) {
            Ok(trees) => rows.extend(trees.into_iter().map(|tree| Row { config, tree })),
            Err(why) => warnings.push(format!("`{}` is left out: {why}", config.name)),
        }
        let conditions: Vec<&_> =
            config.conditions.iter().filter(|c| about_attributes(c, &config.pattern.vars)).collect();
        if !conditions.is_empty() {
            let conditions: Vec<_> = conditions.into_iter().cloned().collect();
            let text = crate::print::conditions(&conditions, &config.pattern.vars).join(" ");
            warnings.push(format!("`{}` is for every attribute there, and here only if {text}", config.name));
        }
    }
    let (mut configs, mut done) = (Vec::new(), HashSet::new());
    for row in &rows {
        let attributes = unsaid(&row.tree);
        if !attributes.is_empty() {
            warnings.push(format!("`{}` is for every attribute there, and here only if {attributes}", row.config.name));
        }
        if done.insert(&row.tree.node) {
            one_tree(&row.tree.node, &rows, &mut configs, &mut warnings);
        }
    }
    // A fused module stands for either order of operands: it comes once.
    let mut names = HashSet::new();
    configs.retain(|c: &Json| names.insert((c["pattern"].to_string(), c["pattern_complex_format"].to_string())));
    warnings.dedup();
    Exported { document: json!({"name": *backend.name, "configs": configs}), warnings }
}

/// The attributes that a tree asks for, as far as the names of it do not have them anyway.
fn unsaid(tree: &Expanded) -> String {
    let said = |(field, value): &&(&str, Attr)| {
        let has = |s: &Spelling| s.attribute().is_some_and(|(f, v)| f == *field && Attr::Int(v) == *value);
        !spellings(&tree.node).iter().any(has)
    };
    let text = |(field, value): &(&str, Attr)| format!("{field} is {value}");
    tree.attributes.iter().filter(said).map(text).collect::<Vec<_>>().join(", ")
}

/// Adds an entry for each PyTorch pattern that means a tree.
fn one_tree(node: &Node, rows: &[Row<'_>], out: &mut Vec<Json>, warnings: &mut Vec<String>) {
    let same: Vec<&Row<'_>> = rows.iter().filter(|r| r.tree.node == *node).collect();
    let name = same.first().map_or("", |row| &row.config.name);
    let spellings = spellings(node);
    if spellings.is_empty() {
        warnings.push(format!("`{name}` is left out: the table of PyTorch's names has none for it"));
    }
    let two = operands(node.bottom().op) == 2;
    let mut partly: Option<&BackendPatternConfig> = None;
    for spelling in spellings {
        // A name without ranks is for every one.
        let ranks = if spelling.ranks().is_empty() { &[1, 2, 3, 4, 5] } else { spelling.ranks() };
        let chosen = |of: Operands| {
            let at = |rank: &usize| same.iter().find(|row| row.matches(*rank, of)).copied();
            ranks.iter().map(at).collect::<Vec<Option<&Row<'_>>>>()
        };
        let tensors = chosen(Operands::Tensors);
        let Some(row) = tensors.iter().flatten().next().copied() else { continue };
        if tensors.iter().any(Option::is_none) {
            partly = Some(row.config);
            continue;
        }
        let number = if two { chosen(Operands::WithNumber).into_iter().flatten().next() } else { None };
        let number = number.map(|r| r.config.observation_type).filter(|t| *t != row.config.observation_type);
        out.push(entry(&spelling, row.config, number));
    }
    if let Some(config) = partly {
        let conditions = crate::print::conditions(&config.conditions, &config.pattern.vars).join(" ");
        warnings.push(format!("`{name}` is left out under the names that are for more than {conditions}"));
    }
}

/// An entry of `configs`. `number`: how it is observed with a number as an operand, if otherwise.
fn entry(spelling: &Spelling, config: &BackendPatternConfig, number: Option<ObservationType>) -> Json {
    let mut out = Map::new();
    let (key, pattern) = spelling.to_json();
    out.insert(key.to_owned(), pattern);
    let observed = observation_name(config.observation_type);
    out.insert("observation_type".to_owned(), json!(observed));
    let weighted = config.roles.iter().any(|r| r.1 == Role::Weight);
    let dtypes = config.dtype_configs.iter().map(|c| dtypes::to_json(c, &config.fixed_qparams, weighted));
    out.insert("dtype_configs".to_owned(), dtypes.collect());
    out.extend(spelling.modules());
    if let Some(number) = number {
        let by_count = json!({"0": observed, "1": observation_name(number), "2": observed});
        out.insert("num_tensor_args_to_observation_type".to_owned(), by_count);
    }
    if let Spelling::One(name) = spelling
        && let Some([weight, bias]) = name.parameters
    {
        out.insert("input_type_to_index".to_owned(), json!({"weight": weight, "bias": bias}));
    }
    Json::Object(out)
}
