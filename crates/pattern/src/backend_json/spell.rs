//! The PyTorch patterns that mean a tree of operators.

use serde_json::{Map, Value as Json, json};

use super::tree::{Node, operands, takes_batch_norm, without_batch_norm};
use crate::torch_names::{Kind, Meaning, TorchName, all};

/// A pattern in PyTorch's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Spelling {
    /// One name.
    One(&'static TorchName),
    /// A tuple, in order of execution.
    Tuple(Vec<&'static TorchName>),
    /// PyTorch's `pattern_complex_format`: a call before its operands.
    Complex(Complex),
}

/// A part of a complex pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Complex {
    /// A call of values.
    Name(&'static TorchName),
    /// A call and its operands.
    Call(Vec<Complex>),
    /// Any value.
    MatchAllNode,
}

impl Spelling {
    /// The numbers of dimensions that the name of the bottom call stands for; empty for any.
    pub(super) fn ranks(&self) -> &'static [usize] {
        match self {
            Spelling::One(name) => name.ranks,
            Spelling::Tuple(names) => names.first().map_or(&[], |name| name.ranks),
            Spelling::Complex(_) => &[],
        }
    }

    /// The attribute that the name of a single call fixes.
    pub(super) fn attribute(&self) -> Option<(&'static str, i64)> {
        match self {
            Spelling::One(name) => name.attribute,
            Spelling::Tuple(_) | Spelling::Complex(_) => None,
        }
    }

    /// The key and the value of the dictionary.
    pub(super) fn to_json(&self) -> (&'static str, Json) {
        match self {
            Spelling::One(name) => ("pattern", json!(name.name)),
            Spelling::Tuple(names) => ("pattern", json!(names.iter().map(|n| n.name).collect::<Vec<_>>())),
            Spelling::Complex(pattern) => ("pattern_complex_format", pattern.to_json()),
        }
    }

    /// The modules that PyTorch's passes put in the place of the pattern's, as entries of the dictionary.
    pub(super) fn modules(&self) -> Map<String, Json> {
        let mut out = Map::new();
        let mut add = |key: &str, name: String| out.insert(key.to_owned(), json!(name));
        match self {
            Spelling::One(name) if name.kind == Kind::Module => {
                if let Some((root, class)) = root_module(name) {
                    add("root_module", root.name.to_owned());
                    let qat = if name.is_plain() {
                        Some(format!("torch.ao.nn.qat.{class}"))
                    } else {
                        name.name
                            .strip_prefix("torch.ao.nn.intrinsic.")
                            .map(|n| format!("torch.ao.nn.intrinsic.qat.{n}"))
                    };
                    if let Some(qat) = qat.filter(|qat| all().iter().any(|row| row.name == qat)) {
                        add("qat_module", qat);
                    }
                    add("reference_quantized_module_for_root", reference(class));
                }
            }
            Spelling::Tuple(names) if names.first().is_some_and(|n| n.kind == Kind::Module) => {
                match fused_module(names.iter().copied()) {
                    Some(fused) => {
                        add("fused_module", fused.name.to_owned());
                    }
                    None => {
                        if let Some((root, class)) = names.first().and_then(|n| root_module(n)) {
                            add("root_module", root.name.to_owned());
                            add("reference_quantized_module_for_root", reference(class));
                        }
                    }
                }
            }
            Spelling::Complex(pattern) => {
                let mut names = Vec::new();
                pattern.names(&mut names);
                if let Some(fused) = fused_module(names.into_iter()) {
                    add("fused_module", fused.name.to_owned());
                }
            }
            _ => {}
        }
        out
    }
}

impl Complex {
    fn to_json(&self) -> Json {
        match self {
            Complex::Name(name) => json!(name.name),
            Complex::Call(parts) => Json::Array(parts.iter().map(Complex::to_json).collect()),
            Complex::MatchAllNode => json!("MatchAllNode"),
        }
    }

    /// The names in order of execution.
    fn names(&self, out: &mut Vec<&'static TorchName>) {
        match self {
            Complex::Name(name) => out.push(name),
            Complex::Call(parts) => parts.iter().rev().for_each(|part| part.names(out)),
            Complex::MatchAllNode => {}
        }
    }
}

/// The plain module that a weighted module's first call is of, and its class name, if PyTorch has a reference module for it.
fn root_module(name: &TorchName) -> Option<(&'static TorchName, &'static str)> {
    let (Meaning::Calls([op, ..]), Some(weight)) = (name.meaning, name.weight) else { return None };
    let plain = |row: &&TorchName| {
        let itself = !name.is_plain() || row.name == name.name;
        row.kind == Kind::Module && row.is_plain() && itself && row.operator() == Some(op) && row.weight == Some(weight)
    };
    let root = all().iter().find(plain)?;
    root.module_type().filter(|class| REFERENCES.contains(class)).map(|class| (root, class))
}

/// The classes that have a reference module.
const REFERENCES: &[&str] = &[
    "Linear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Embedding",
    "EmbeddingBag",
    "LSTM",
    "LSTMCell",
    "GRU",
    "GRUCell",
    "RNNCell",
];

fn reference(class: &str) -> String {
    format!("torch.ao.nn.quantized.reference.{class}")
}

/// The fused module that PyTorch has for modules or functions one behind the other.
fn fused_module(names: impl Iterator<Item = &'static TorchName>) -> Option<&'static TorchName> {
    let names: Vec<_> = names.collect();
    let ops: Vec<&str> = names.iter().map(|n| n.operator()).collect::<Option<_>>()?;
    let ranks = names.first().map_or(&[][..], |n| n.ranks);
    let fused = |row: &&TorchName| {
        let of_these = matches!(row.meaning, Meaning::Calls(calls) if calls == ops);
        of_these && row.name.starts_with("torch.ao.nn.intrinsic.") && !row.name.contains(".qat.") && row.ranks == ranks
    };
    all().iter().find(fused)
}

/// Every PyTorch pattern that means the tree, batch norms behind layers being folded.
pub(super) fn spellings(node: &Node) -> Vec<Spelling> {
    let Some(path) = node.path() else { return Vec::new() };
    let ops: Vec<&str> = path.iter().map(|n| n.op).collect();
    let weight = path.first().and_then(|n| n.weight);
    let means = |row: &&TorchName| match row.meaning {
        Meaning::Calls(calls) => row.weight == weight && without_batch_norm(calls, weight) == ops,
        Meaning::Input | Meaning::Nothing(_) => false,
    };
    let mut out: Vec<Spelling> = all().iter().filter(means).map(Spelling::One).collect();
    if node.is_chain() {
        out.extend(tuples(&path).into_iter().map(Spelling::Tuple));
    } else {
        out.extend(complex(node).into_iter().map(Spelling::Complex));
    }
    out
}

/// Names of one call that may be in a tuple: modules and functions that leave their input as it is.
fn parts(node: &Node) -> impl Iterator<Item = &'static TorchName> {
    let (op, weight) = (node.op, node.weight);
    all().iter().filter(move |row| {
        let plain = row.is_plain() && row.kind != Kind::Method && !row.is_in_place();
        plain && row.operator() == Some(op) && row.weight == weight
    })
}

/// The batch norm module that goes with a layer.
fn batch_norm_behind(layer: &TorchName) -> Option<&'static TorchName> {
    let op = layer.operator()?;
    if layer.kind != Kind::Module || !takes_batch_norm(&Node::new(op, layer.weight)) {
        return None;
    }
    let dimensions = op.chars().rev().nth(1).filter(char::is_ascii_digit).unwrap_or('1');
    all().iter().find(|row| row.name == format!("torch.nn.BatchNorm{dimensions}d"))
}

/// Tuples of two or three: PyTorch takes no others.
fn tuples(path: &[&Node]) -> Vec<Vec<&'static TorchName>> {
    let Some((bottom, rest)) = path.split_first() else { return Vec::new() };
    let mut out: Vec<Vec<&'static TorchName>> = Vec::new();
    for layer in parts(bottom) {
        out.push(vec![layer]);
        out.extend(batch_norm_behind(layer).map(|norm| vec![layer, norm]));
    }
    for node in rest {
        let extend = |tuple: &Vec<&'static TorchName>| {
            parts(node).map(|name| tuple.iter().copied().chain([name]).collect()).collect::<Vec<Vec<_>>>()
        };
        out = out.iter().flat_map(extend).collect();
    }
    out.retain(|tuple| (2..=3).contains(&tuple.len()));
    out
}

fn complex(node: &Node) -> Vec<Complex> {
    let mut out = Vec::new();
    for name in parts(node) {
        let [(at, inner)] = &node.children[..] else {
            out.push(Complex::Name(name));
            let norm = batch_norm_behind(name);
            out.extend(norm.map(|norm| Complex::Call(vec![Complex::Name(norm), Complex::Name(name)])));
            continue;
        };
        for inner in complex(inner) {
            let mut call = vec![Complex::MatchAllNode; operands(node.op)];
            if let Some(operand) = call.get_mut(*at) {
                *operand = inner;
            }
            call.insert(0, Complex::Name(name));
            out.push(Complex::Call(call));
        }
    }
    out
}
