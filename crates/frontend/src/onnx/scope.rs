//! Where nodes come from: module paths from the scoped names that PyTorch's exporter writes
//! (`/layer1/layer1.0/conv1/Conv`) or from the metadata that its newer one notes, readable node names, and module types.

use std::collections::{HashMap, HashSet};

use quantc_ir::Origin;

use super::proto::NodeProto;

/// Name and origin of one node.
pub(crate) struct Place {
    pub(crate) origin: Origin,
    naming: Naming,
}

enum Naming {
    /// The node has a name of its own.
    Own(String),
    /// The node is one of several in a module: the name is the module's path and the operator.
    Within(String),
}

impl Place {
    /// The name of a call of `op` made for this node.
    pub(crate) fn call_name(&self, op: &str) -> String {
        match &self.naming {
            Naming::Own(name) => name.clone(),
            Naming::Within(path) if path.is_empty() => op.to_owned(),
            Naming::Within(path) => format!("{path}.{op}"),
        }
    }
}

/// The module path of the scopes of a name: `layer1/layer1.0/conv1` is `layer1.0.conv1`, because a child of a sequence or
/// list repeats its parent's name.
fn module_path(scopes: &[&str]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut parent: Option<&str> = None;
    for scope in scopes {
        match parent.and_then(|p| scope.strip_prefix(p)).and_then(|s| s.strip_prefix('.')) {
            Some(rest) => parts.push(rest),
            None => parts.push(scope),
        }
        parent = Some(scope);
    }
    parts.join(".")
}

/// The scopes that a node's name says it is in: `/layer1/layer1.0/Add` is in two. `None` if its name is no path to an operator.
fn scopes_of(node: &NodeProto) -> Option<Vec<&str>> {
    let (scopes, last) = node.name.rsplit_once('/')?;
    let mut scopes: Vec<&str> = match scopes.strip_prefix('/') {
        Some(inner) => inner.split('/').collect(),
        None if scopes.is_empty() => Vec::new(),
        None if last.starts_with(&node.op_type) => scopes.split('/').collect(),
        None => return None,
    };
    // Other tools put their own prefix before the exporter's path (`F0::main/stft/Conv`).
    if scopes.first().is_some_and(|s| s.contains("::")) {
        scopes.remove(0);
    }
    scopes.retain(|s| !s.is_empty());
    Some(scopes)
}

fn sanitize(name: &str) -> String {
    let name = name.trim_matches('/').replace('/', ".");
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '_' }).collect()
}

/// The PyTorch module that a lone operator of this type is exported from; `None` for functional ones.
fn module_type(node: &NodeProto, is_weight: impl Fn(&str) -> bool) -> Option<String> {
    let rank = |attribute: &str| {
        let found = node.attribute.iter().find(|a| a.name == attribute);
        found.map(|a| a.ints.len()).filter(|n| (1..=3).contains(n)).unwrap_or(2)
    };
    Some(match node.op_type.as_str() {
        "Conv" => format!("Conv{}d", rank("kernel_shape")),
        "ConvTranspose" => format!("ConvTranspose{}d", rank("kernel_shape")),
        "Gemm" => "Linear".to_owned(),
        "MatMul" if node.input.get(1).is_some_and(|i| is_weight(i)) => "Linear".to_owned(),
        "Gather" if node.input.first().is_some_and(|i| is_weight(i)) => "Embedding".to_owned(),
        "BatchNormalization" => "BatchNorm2d".to_owned(),
        "InstanceNormalization" => "InstanceNorm2d".to_owned(),
        "LayerNormalization" => "LayerNorm".to_owned(),
        "GroupNormalization" => "GroupNorm".to_owned(),
        "MaxPool" => format!("MaxPool{}d", rank("kernel_shape")),
        "AveragePool" => format!("AvgPool{}d", rank("kernel_shape")),
        "GlobalAveragePool" => "AdaptiveAvgPool2d".to_owned(),
        "GlobalMaxPool" => "AdaptiveMaxPool2d".to_owned(),
        "Relu" => "ReLU".to_owned(),
        "Clip" => "ReLU6".to_owned(),
        "LeakyRelu" => "LeakyReLU".to_owned(),
        "Elu" => "ELU".to_owned(),
        "PRelu" => "PReLU".to_owned(),
        "HardSigmoid" => "Hardsigmoid".to_owned(),
        "HardSwish" => "Hardswish".to_owned(),
        "Gelu" => "GELU".to_owned(),
        "LogSoftmax" => "LogSoftmax".to_owned(),
        "Resize" => "Upsample".to_owned(),
        "Sigmoid" | "Tanh" | "Mish" | "Softplus" | "Softmax" | "Flatten" | "Dropout" | "LSTM" | "GRU" | "Upsample" => {
            node.op_type.clone()
        }
        _ => return None,
    })
}

/// Modules without parameters may be called several times; the exporter then numbers their scopes (`relu`, `relu_1`).
fn is_stateless(op: &str) -> bool {
    matches!(
        op,
        "Relu"
            | "Clip"
            | "LeakyRelu"
            | "Elu"
            | "Sigmoid"
            | "Tanh"
            | "HardSigmoid"
            | "HardSwish"
            | "Gelu"
            | "Softmax"
            | "Dropout"
    )
}

/// The path without a `_1`, `_2` ... at its end.
fn without_number(path: &str) -> Option<&str> {
    let (base, number) = path.rsplit_once('_')?;
    (!base.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(base)
}

/// The module that PyTorch's newer exporter (torch.export) notes in a node's metadata.
struct Noted {
    path: String,
    ty: String,
    /// Whether it is a leaf of `torch.nn`.
    leaf: bool,
}

/// Reads the metadata: the scopes of the module and the classes of its modules, both ending with the operator, as Python lists.
fn noted_module(node: &NodeProto) -> Option<Noted> {
    let list = |key: &str| -> Option<Vec<&str>> {
        let entry = node.metadata_props.iter().find(|e| e.key == key)?;
        let inner = entry.value.strip_prefix("['")?.strip_suffix("']")?;
        Some(inner.split("', '").collect())
    };
    let (scopes, classes) = (list("pkg.torch.onnx.name_scopes")?, list("pkg.torch.onnx.class_hierarchy")?);
    let last = scopes.len().checked_sub(2).filter(|_| scopes.len() == classes.len())?;
    let (mut path, class) = (scopes[last], classes[last]);
    let mut ty = class.rsplit('.').next().unwrap_or(class).to_owned();
    // A batch norm folded by the exporter leaves its place to the convolution, which its weight still names.
    if ty.starts_with("BatchNorm") && node.op_type != "BatchNormalization" {
        ty = module_type(node, |_| true).unwrap_or(ty);
        path = node.input.get(1).and_then(|w| w.strip_suffix(".weight")).unwrap_or(path);
    }
    let leaf = class.starts_with("torch.nn.modules.") && !class.contains(".container.");
    Some(Noted { path: sanitize(path), ty, leaf })
}

/// What the nodes of one scope say about their module.
#[derive(Default)]
struct Scope {
    /// The module's type, and the node (by number) that stands for it.
    module: Option<(String, usize)>,
    /// Whether other scopes are inside it.
    has_children: bool,
    gelu: bool,
}

/// Name and origin of every node. `is_weight` tells the floating-point initializers.
pub(crate) fn places(nodes: &[NodeProto], is_weight: impl Fn(&str) -> bool) -> Vec<Place> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for node in nodes {
        *times.entry(&node.name).or_default() += 1;
    }
    let paths: Vec<Option<String>> =
        nodes.iter().map(|node| scopes_of(node).map(|s| sanitize(&module_path(&s)))).collect();
    let noted: Vec<Option<Noted>> = nodes.iter().map(noted_module).collect();
    // For each noted module: how many nodes it has, and the one that stands for it.
    let mut members: HashMap<&str, (usize, Option<usize>)> = HashMap::new();
    for (i, (node, noted)) in nodes.iter().zip(&noted).enumerate() {
        let Some(noted) = noted else { continue };
        let member = members.entry(&noted.path).or_default();
        member.0 += 1;
        if member.1.is_none() && module_type(node, &is_weight).is_some_and(|ty| ty == noted.ty) {
            member.1 = Some(i);
        }
    }
    let mut scopes: HashMap<&str, Scope> = HashMap::new();
    for (i, (node, path)) in nodes.iter().zip(&paths).enumerate() {
        let Some(path) = path else { continue };
        let scope = scopes.entry(path).or_default();
        scope.gelu |= node.op_type == "Erf";
        if scope.module.is_none() {
            scope.module = module_type(node, &is_weight).map(|ty| (ty, i));
        }
    }
    let all: HashSet<&str> = scopes.keys().copied().collect();
    for path in all {
        for (dot, _) in path.match_indices('.') {
            if let Some(parent) = scopes.get_mut(&path[..dot]) {
                parent.has_children = true;
            }
        }
    }
    let mut counts: HashMap<(String, &str), u32> = HashMap::new();
    let mut out = Vec::with_capacity(nodes.len());
    for (i, ((node, path), noted)) in nodes.iter().zip(&paths).zip(&noted).enumerate() {
        let (path, ty, naming) = match (noted, path) {
            (Some(noted), _) => {
                let (count, main) = members[noted.path.as_str()];
                let own = noted.leaf && !noted.path.is_empty() && (main == Some(i) || count == 1);
                let path = noted.path.clone();
                let naming = if own { Naming::Own(path.clone()) } else { Naming::Within(path.clone()) };
                (path, noted.ty.clone(), naming)
            }
            (None, None) => {
                let own = if node.name.is_empty() || times[node.name.as_str()] > 1 {
                    node.output.first().map_or(node.op_type.as_str(), String::as_str)
                } else {
                    &node.name
                };
                let own = sanitize(own);
                let ty = module_type(node, &is_weight).unwrap_or_else(|| node.op_type.clone());
                (own.clone(), ty, Naming::Own(own))
            }
            (None, Some(path)) => {
                let scope = &scopes[path.as_str()];
                let composite = path.is_empty() || scope.has_children;
                match &scope.module {
                    _ if composite => (path.clone(), "Module".to_owned(), Naming::Within(path.clone())),
                    Some((ty, main)) if *main == i => {
                        let shared = without_number(path).filter(|base| {
                            is_stateless(&node.op_type)
                                && scopes.get(base).and_then(|s| s.module.as_ref()).is_some_and(|m| m.0 == *ty)
                        });
                        (shared.unwrap_or(path).to_owned(), ty.clone(), Naming::Own(path.clone()))
                    }
                    Some((ty, _)) => (path.clone(), ty.clone(), Naming::Within(path.clone())),
                    None if scope.gelu => (path.clone(), "GELU".to_owned(), Naming::Within(path.clone())),
                    None => (path.clone(), "Module".to_owned(), Naming::Within(path.clone())),
                }
            }
        };
        let index = counts.entry((path.clone(), &node.op_type)).or_default();
        out.push(Place { origin: Origin::new(&path, &ty, &node.op_type, *index), naming });
        *index += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::StringStringEntryProto;

    fn names(nodes: &[(&str, &str)]) -> Vec<String> {
        let nodes: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(i, (name, op))| NodeProto {
                name: (*name).to_owned(),
                op_type: (*op).to_owned(),
                input: vec!["x".to_owned(), "w".to_owned()],
                output: vec![format!("{i}")],
                ..NodeProto::default()
            })
            .collect();
        let places = places(&nodes, |name| name == "w");
        places
            .iter()
            .zip(&nodes)
            .map(|(p, n)| format!("{} <- {}", p.call_name(&n.op_type.to_lowercase()), p.origin))
            .collect()
    }

    #[test]
    fn paths_come_from_scopes() {
        let got = names(&[
            ("/conv1/Conv", "Conv"),
            ("/Relu", "Relu"),
            ("/layer1/layer1.0/conv1/Conv", "Conv"),
            ("/layer1/layer1.0/relu/Relu", "Relu"),
            ("/layer1/layer1.0/Add", "Add"),
            ("/layer1/layer1.0/relu_1/Relu", "Relu"),
            ("/features/features.1/conv/conv.0/conv.0.2/Clip", "Clip"),
            ("/layers/layers.0/q/MatMul", "MatMul"),
            ("/layers/layers.0/q/Add", "Add"),
            ("/layers/layers.0/Add", "Add"),
            ("/layers/layers.0/Add_1", "Add"),
            ("/layers/layers.0/act/Erf", "Erf"),
        ]);
        insta::assert_snapshot!(got.join("\n"));
    }

    #[test]
    fn modules_come_from_metadata() {
        let noted = |name: &str, op: &str, scopes: &str, classes: &str| {
            let entry =
                |key: &str, value: &str| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
            NodeProto {
                name: name.to_owned(),
                op_type: op.to_owned(),
                input: vec!["x".to_owned(), "w".to_owned()],
                metadata_props: vec![
                    entry("pkg.torch.onnx.name_scopes", scopes),
                    entry("pkg.torch.onnx.class_hierarchy", classes),
                ],
                ..NodeProto::default()
            }
        };
        let block = "['net.Net', 'net.Block', 'torch.nn.modules";
        let nodes = [
            noted(
                "node_Conv_7",
                "Conv",
                "['', 'b.0', 'b.0.conv', 'conv2d']",
                &format!("{block}.conv.Conv2d', 'aten.conv2d']"),
            ),
            noted(
                "node_Conv_8",
                "Conv",
                "['', 'b.0', 'b.0.bn', 'norm']",
                &format!("{block}.batchnorm.BatchNorm2d', 'aten.norm']"),
            ),
            NodeProto {
                input: vec!["x".to_owned(), "b.0.conv2.weight".to_owned()],
                ..noted(
                    "node_Conv_9",
                    "Conv",
                    "['', 'b.0', 'b.0.bn2', 'norm']",
                    &format!("{block}.batchnorm.BatchNorm2d', 'aten.norm']"),
                )
            },
            noted("node_add", "Add", "['', 'b.0', 'add']", "['net.Net', 'net.Block', 'aten.add']"),
            noted("m", "MatMul", "['', 'b.0', 'b.0.fc', 'linear']", &format!("{block}.linear.Linear', 'aten.linear']")),
            noted("a", "Add", "['', 'b.0', 'b.0.fc', 'linear']", &format!("{block}.linear.Linear', 'aten.linear']")),
            noted(
                "mean",
                "ReduceMean",
                "['', 'b.0', 'b.0.pool', 'mean']",
                &format!("{block}.pooling.AdaptiveAvgPool2d', 'aten.mean']"),
            ),
            noted("relu", "Relu", "['', 'relu']", "['net.Net', 'aten.relu']"),
        ];
        let got: Vec<_> = places(&nodes, |name| name == "w")
            .iter()
            .zip(&nodes)
            .map(|(p, n)| format!("{} <- {}", p.call_name(&n.op_type.to_lowercase()), p.origin))
            .collect();
        insta::assert_snapshot!(got.join("\n"));
    }

    #[test]
    fn names_without_scopes_stand_for_themselves() {
        let got = names(&[
            ("n_conv0", "Conv"),
            ("", "Relu"),
            ("F0::anon", "Add"),
            ("F0::anon", "Add"),
            ("model_2/lstm_6/MatMul_1_add", "Add"),
            ("F0::main/stft/Conv_1", "Conv"),
        ]);
        insta::assert_snapshot!(got.join("\n"));
    }
}
