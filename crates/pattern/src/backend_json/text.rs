//! The text of an imported backend.

use std::fmt::Write as _;

use quantc_ops::{InputKind, lookup};

use super::dtypes::{constraints_text, real_text};
use super::import::{Group, Remarks};
use super::tree::{Node, commutes, operands};
use crate::backend::{DTypeConfig, FixedQParams, ObservationType};
use crate::torch_names::all;
use quantc_tensor::DType;

/// Where comments are broken.
const WIDTH: usize = 130;

pub(super) fn backend(name: &str, groups: &[Group], remarks: &Remarks) -> String {
    let mut out = comment("", &format!("PyTorch's BackendConfig `{name}`, imported."));
    let notes: Vec<String> = remarks.lines(true).chain(remarks.lines(false)).collect();
    if !notes.is_empty() {
        out.push_str(";\n; What it does not say, or says otherwise:\n");
        notes.iter().for_each(|line| out.push_str(&comment("- ", line)));
    }
    let configs = NamedConfigs::of(groups);
    // Writing to a string cannot fail.
    let _ = write!(out, "\n(backend {name}\n  :doc \"PyTorch's BackendConfig {name}, imported.\"\n");
    for (name, config) in &configs.0 {
        let _ = write!(out, "\n  {}", dtype_config(name, config));
    }
    let mut names: Vec<String> = Vec::new();
    for group in groups {
        let base = group.node.path().unwrap_or_default().iter().map(|n| n.op).collect::<Vec<_>>().join("-");
        if group.with_number != group.observed {
            let name = unique(format!("{base}-number"), &mut names);
            out.push_str(&pattern(&name, group, &configs, true));
        }
        let name = unique(base, &mut names);
        out.push_str(&pattern(&name, group, &configs, false));
    }
    out + ")\n"
}

/// A name that is not taken yet: the same with a number, if it is.
fn unique(base: String, names: &mut Vec<String>) -> String {
    let mut name = base.clone();
    let mut n = 1;
    while names.contains(&name) {
        n += 1;
        name = format!("{base}-{n}");
    }
    names.push(name.clone());
    name
}

/// A comment of several lines, if it must be.
fn comment(bullet: &str, text: &str) -> String {
    let (first, indent) = (format!("; {bullet}"), format!("; {}", " ".repeat(bullet.len())));
    let mut out = String::new();
    let mut line = first;
    for word in text.split_whitespace() {
        if line.len() + word.len() > WIDTH && line.trim_end().len() > indent.len() {
            let _ = writeln!(out, "{}", line.trim_end());
            line = indent.clone();
        }
        let _ = write!(line, "{word} ");
    }
    let _ = writeln!(out, "{}", line.trim_end());
    out
}

/// The distinct configurations, each with its name.
struct NamedConfigs(Vec<(String, DTypeConfig)>);

impl NamedConfigs {
    fn of(groups: &[Group]) -> NamedConfigs {
        let (mut out, mut names) = (Vec::<(String, DTypeConfig)>::new(), Vec::new());
        for config in groups.iter().flat_map(|g| &g.dtypes) {
            if out.iter().all(|(_, known)| known != config) {
                let exact = config.output.as_ref().is_some_and(|o| o.scale_exact.is_some());
                let float = config.input.as_ref().is_some_and(|i| i.dtype == DType::F32);
                let base = match (config.dynamic, &config.weight) {
                    (true, _) if config.half => "float16-dynamic",
                    _ if config.half => "float16",
                    (_, Some(_)) if float => "weight-only",
                    (true, _) => "dynamic",
                    (_, Some(_)) => "static",
                    _ if exact => "fixed",
                    _ => "activation",
                };
                out.push((unique(base.to_owned(), &mut names), config.clone()));
            }
        }
        NamedConfigs(out)
    }

    fn name(&self, config: &DTypeConfig) -> &str {
        self.0.iter().find(|(_, known)| known == config).map_or("", |(name, _)| name)
    }
}

fn dtype_config(name: &str, config: &DTypeConfig) -> String {
    let mut out = format!("(dtype-config {name}");
    for (key, constraints) in [("input", &config.input), ("output", &config.output), ("weight", &config.weight)] {
        if let Some(c) = constraints {
            let _ = write!(out, " :{key} {}", constraints_text(c));
        }
    }
    if let Some(bias) = config.bias {
        let _ = write!(out, " :bias {bias}");
    }
    if config.half {
        out.push_str(" :half true");
    }
    out + if config.dynamic { " :dynamic true)" } else { ")" }
}

fn pattern(name: &str, group: &Group, configs: &NamedConfigs, number: bool) -> String {
    let mut out = format!("\n\n{}", indented(&comment("", &group.names.join("; "))));
    let others = other_names(group);
    if !others.is_empty() {
        out.push_str(&indented(&comment("", &format!("To quantc the same: {}", others.join("; ")))));
    }
    let path = group.node.path().unwrap_or_default();
    let bottom = group.node.bottom();
    let mut ops: Vec<String> = path.iter().map(|n| n.op.to_owned()).collect();
    if number {
        ops[0].push_str(" with a number");
    }
    let ops = ops.join(", then ");
    let _ = write!(out, "  (pattern {name}\n    :doc \"{ops}.\"\n    :match {}", tree(group, &group.node, number));
    let mut conditions = Vec::new();
    let weights = weights(bottom);
    conditions.extend(weights.iter().map(|(_, var)| format!("(constant {var})")));
    if number {
        conditions.push("(given (scalar ?number)) (not (constant ?x))".to_owned());
    }
    if !group.ranks.is_empty() {
        let ranks: Vec<String> = group.ranks.iter().map(usize::to_string).collect();
        let first = if bottom.weight == Some(0) { "?weight" } else { "?x" };
        conditions.push(match &ranks[..] {
            [rank] => format!("(= (rank {first}) {rank})"),
            ranks => format!("(in (rank {first}) {})", ranks.join(" ")),
        });
    }
    if !conditions.is_empty() {
        let _ = write!(out, "\n    :when {}", conditions.join(" "));
    }
    if !weights.is_empty() {
        let vars: Vec<&str> = weights.iter().map(|(_, var)| *var).collect();
        let bias = if bias(bottom).is_some() { " :bias ?bias" } else { "" };
        let _ = write!(out, "\n    :weight {}{bias}", vars.join(" "));
    }
    if path.len() > 1 {
        out.push_str("\n    :root ?root");
    }
    let observed = if number { group.with_number } else { group.observed };
    let observed = ObservationType::ALL.iter().find(|o| o.1 == observed).map_or("", |o| o.0);
    let dtypes: Vec<&str> = group.dtypes.iter().map(|c| configs.name(c)).collect();
    let _ = write!(out, "\n    :observation {observed} :dtypes ({})", dtypes.join(" "));
    let fixed = fixed_qparams(group);
    if !fixed.is_empty() {
        let of = |f: &FixedQParams| format!("({} {} {})", f.dtype, real_text(f.scale), f.zero_point);
        let _ = write!(out, "\n    :fixed-qparams {}", fixed.iter().map(of).collect::<Vec<_>>().join(" "));
    }
    out + ")"
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// PyTorch's other names of a single operator: quantc does not tell modules, functions and methods apart.
fn other_names(group: &Group) -> Vec<&'static str> {
    if !group.node.children.is_empty() {
        return Vec::new();
    }
    let same = all().iter().filter(|row| {
        let fits =
            group.ranks.is_empty() || (!row.ranks.is_empty() && row.ranks.iter().all(|r| group.ranks.contains(r)));
        row.operator() == Some(group.node.op) && row.weight == group.node.weight && row.is_plain() && fits
    });
    same.map(|row| row.name).filter(|name| !group.names.iter().any(|n| n == name)).collect()
}

/// The operands that are weights, with their variables: a recurrent layer has two.
fn weights(node: &Node) -> Vec<(usize, &'static str)> {
    let Some(first) = node.weight else { return Vec::new() };
    let recurrent = |at: usize| operand_named(node, &["r"]).map(|r| vec![(at, "?w"), (r, "?r")]);
    recurrent(first).unwrap_or_else(|| vec![(first, "?weight")])
}

/// The operand of a layer that is its bias.
fn bias(node: &Node) -> Option<usize> {
    node.weight.and_then(|_| operand_named(node, &["bias", "b"]))
}

fn operand_named(node: &Node, names: &[&str]) -> Option<usize> {
    lookup(node.op)?.signature().inputs.iter().position(|i| names.contains(&i.name))
}

/// The parameters that the output always has, where the configurations ask for exact ones.
fn fixed_qparams(group: &Group) -> Vec<FixedQParams> {
    let mut out: Vec<FixedQParams> = Vec::new();
    for output in group.dtypes.iter().filter_map(|c| c.output.as_ref()) {
        if let (Some(scale), Some(zero_point)) = (output.scale_exact, output.zero_point_exact)
            && out.iter().all(|f| f.dtype != output.dtype)
        {
            out.push(FixedQParams { dtype: output.dtype, scale, zero_point });
        }
    }
    out
}

/// The tree with its variables.
fn tree(group: &Group, node: &Node, number: bool) -> String {
    let inputs = lookup(node.op).map_or(&[][..], |op| op.signature().inputs);
    // The bottom call decides the QConfig.
    let label = |bottom: bool| if bottom && !group.node.children.is_empty() { " :as ?root" } else { "" };
    let Some((_, inner)) = node.children.first() else {
        let label = label(true);
        if number {
            let call = format!("({} ?x ?number{label})", node.op);
            return if commutes(node.op) { format!("(commutative {call})") } else { call };
        }
        let (weights, bias) = (weights(node), bias(node));
        let operand = |(i, input): (usize, &quantc_ops::InputSpec)| match weights.iter().find(|w| w.0 == i) {
            Some((_, var)) => var,
            None if input.kind == InputKind::Variadic => "?x ...",
            None if bias == Some(i) => "(optional ?bias)",
            None if i == 0 => "?x",
            None if operands(node.op) == 2 => "?y",
            None => "_",
        };
        let operands: Vec<&str> = inputs.iter().enumerate().map(operand).collect();
        let attribute = group.attribute.map(|(name, value)| format!(" :{name} {value}")).unwrap_or_default();
        return format!("({} {}{attribute}{label})", node.op, operands.join(" "));
    };
    let inner = tree(group, inner, number);
    if operands(node.op) == 2 {
        return match group.orders {
            [true, true] => format!("(commutative ({} {inner} ?extra))", node.op),
            [false, true] => format!("({} ?extra {inner})", node.op),
            _ => format!("({} {inner} ?extra)", node.op),
        };
    }
    let rest = " _".repeat(inputs.len().saturating_sub(1));
    format!("({} {inner}{rest})", node.op)
}
