//! `quantc explain`.

use std::path::PathBuf;

use quantc::{CompiledCalls, Error, Model, ModelKind, RunsAs};
use quantc_quant::QuantReport;
use quantc_quant::report::{Decision, FloatReason, NodeReport};
use serde::Serialize;

use super::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The compiled model
    model: PathBuf,
    /// A node or a module path; all nodes if left out
    node: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the model is not compiled or there is no such node.
pub fn run(args: &Args) -> Result<(), Error> {
    let model = Model::load(&args.model)?;
    let ModelKind::Qtc { report, .. } = &model.kind else {
        return Err(Error::file(&args.model, "is no compiled model (hint: quantc quantize)"));
    };
    let wanted = |n: &&NodeReport| match &args.node {
        None => true,
        Some(name) => n.name == *name || n.origins.iter().any(|o| in_module(o, name)),
    };
    let nodes: Vec<&NodeReport> = report.nodes.iter().filter(wanted).collect();
    if nodes.is_empty() {
        let name = args.node.as_deref().unwrap_or("");
        let near: Vec<&str> =
            report.nodes.iter().map(|n| n.name.as_str()).filter(|n| n.contains(name)).take(5).collect();
        let hint = if near.is_empty() { String::new() } else { format!(" (hint: {})", near.join(", ")) };
        return Err(Error::Data(format!("no node or module `{name}`{hint}")));
    }
    let compiled = CompiledCalls::new(&model.graph, report);
    let explained: Vec<Explained<'_>> =
        nodes.into_iter().map(|node| Explained { runs_as: compiled.of(node), node }).collect();
    if args.json {
        return ui::print_json(&explained);
    }
    let text: String = explained.iter().map(|e| describe(report, e)).collect();
    ui::print(&text)
}

/// A decision, and what came of it.
#[derive(Serialize)]
struct Explained<'r> {
    #[serde(flatten)]
    node: &'r NodeReport,
    /// The calls of the compiled graph that compute it.
    runs_as: Vec<RunsAs>,
}

/// Whether an origin (`path: Type(op, index)`) is that module or inside it.
fn in_module(origin: &str, name: &str) -> bool {
    let path = origin.split(": ").next().unwrap_or("").trim_matches('"');
    path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

fn describe(report: &QuantReport, Explained { node, runs_as }: &Explained<'_>) -> String {
    let mut text = format!("{} = {}", node.name, node.op);
    if !node.origins.is_empty() {
        text.push_str(&format!("  # {}", node.origins.join("; ")));
    }
    text.push('\n');
    match &node.decision {
        Decision::Float { reason } => text.push_str(&format!("  float: {reason}\n")),
        Decision::Quantized { mode, pattern, dtype_config, group, qconfig_entry, .. } => {
            text.push_str(&format!(
                "  quantized ({mode}) by pattern `{pattern}`, dtypes `{dtype_config}`, QConfig from `{qconfig_entry}`"
            ));
            if *group != node.name {
                text.push_str(&format!(", part of `{group}`"));
            }
            text.push('\n');
            let custom = pattern.starts_with("custom module ");
            if custom && mode != "static" {
                text.push_str("  its quantized form takes and gives floats\n");
                return text;
            }
            text.push_str(&describe_numbers(report, node, runs_as));
            // The calls of a custom module's quantized form are its own, not what became of those that it has here.
            if custom {
                return text;
            }
        }
    }
    text.push_str(&describe_runs(node, runs_as));
    text
}

/// What is integers, or half precision, and how real numbers become it.
fn describe_numbers(report: &QuantReport, node: &NodeReport, runs_as: &[RunsAs]) -> String {
    let Decision::Quantized { mode, input_observers, output_observer, .. } = &node.decision else {
        return String::new();
    };
    match mode.as_str() {
        "dynamic" => {
            let range = if runs_as.iter().any(|r| r.reduce_range == Some(true)) { "0..127" } else { "0..255" };
            // A gate of a recurrent layer is a sum of two products with scales of their own.
            let bias = match node.op.as_str() {
                "lstm" | "gru" | "rnn" => "; output: f32, the biases are added in f32",
                _ => ", the bias rounded to an integer; output: f32",
            };
            format!(
                "  input: quantized at each call to u8 ({range}) over the whole tensor's own minimum and maximum; products and sums in \
                 integers{bias}\n"
            )
        }
        "float16 dynamic" => "  weights: rounded to half precision; everything else: f32\n".to_owned(),
        "float16 static" => {
            "  inputs, weights, bias and output: rounded to half precision; arithmetic: f32\n".to_owned()
        }
        "weight-only" if runs_as.iter().any(|r| r.op.starts_with("quantized.embedding")) => {
            "  weight: codes, a scale and a zero point for each row; only the rows picked are read; output: f32\n"
                .to_owned()
        }
        "weight-only" => {
            "  weight: integers, dequantized when the model is planned; input, arithmetic and output: f32\n".to_owned()
        }
        _ => {
            let observer = |id: usize| {
                report.observers.get(id).map_or(format!("observer {id}"), |o| {
                    format!(
                        "observer {id} ({}): {} scale {:?}, zero point {}, range {:?} to {:?}",
                        o.observer, o.dtype, o.scale, o.zero_point, o.range.0, o.range.1
                    )
                })
            };
            let mut text: String = input_observers.iter().map(|id| format!("  input: {}\n", observer(*id))).collect();
            match output_observer {
                Some(id) => text.push_str(&format!("  output: {}\n", observer(*id))),
                None => text.push_str("  output: f32, no quantized operator takes it\n"),
            }
            if report.bias_corrected.contains(&node.name) {
                text.push_str("  bias: corrected for what rounding the weight does to the mean of the output\n");
            }
            text
        }
    }
}

/// The calls that run, with the types that they run on.
fn describe_runs(node: &NodeReport, runs_as: &[RunsAs]) -> String {
    if runs_as.is_empty() {
        return "  runs as nothing: no call of the compiled graph is left of it\n".to_owned();
    }
    let calls: Vec<String> = runs_as
        .iter()
        .map(|RunsAs { node, op, takes, gives, merged, .. }| {
            let part = if *merged { "part of " } else { "" };
            let types = match (takes.join(", "), gives.join(", ")) {
                (takes, gives) if takes == gives => format!("on {gives}"),
                (takes, gives) if takes.is_empty() => format!("to {gives}"),
                (takes, gives) => format!("from {takes} to {gives}"),
            };
            format!("{part}{op} ({node}) {types}")
        })
        .collect();
    // The decision is about observers; an operator between two quantized ones may compute with integers all the same.
    let float = matches!(&node.decision, Decision::Float { reason } if *reason != FloatReason::NotFloat);
    let why = if float && runs_as.iter().any(RunsAs::is_quantized) { ": its neighbours are quantized" } else { "" };
    format!("  runs as {}{why}\n", calls.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(op: &str, mode: &str, pattern: &str) -> String {
        let decision = Decision::Quantized {
            mode: mode.to_owned(),
            pattern: pattern.to_owned(),
            dtype_config: "d".to_owned(),
            group: "y".to_owned(),
            qconfig_entry: "global".to_owned(),
            input_observers: Vec::new(),
            output_observer: None,
        };
        let node = NodeReport { name: "y".to_owned(), op: op.to_owned(), origins: Vec::new(), decision };
        describe(&QuantReport::default(), &Explained { runs_as: Vec::new(), node: &node })
    }

    #[test]
    fn biases_are_integers_but_in_recurrent_layers() {
        assert!(described("conv2d", "dynamic", "conv").contains("the bias rounded to an integer; output: f32"));
        assert!(described("lstm", "dynamic", "lstm").contains("the biases are added in f32"));
    }

    /// What a custom module's quantized form does is not known from its mode.
    #[test]
    fn custom_modules_speak_for_themselves() {
        let dynamic = described("relu", "dynamic", "custom module Observed");
        assert!(dynamic.contains("its quantized form takes and gives floats"), "{dynamic}");
        for text in [dynamic, described("relu", "static", "custom module Observed")] {
            assert!(!text.contains("quantized at each call") && !text.contains("runs as"), "{text}");
        }
        assert!(described("relu", "static", "relu").contains("runs as nothing"));
    }
}
