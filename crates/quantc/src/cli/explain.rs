//! `quantc explain`.

use std::path::PathBuf;

use quantc::{Error, Model, ModelKind};
use quantc_quant::QuantReport;
use quantc_quant::report::{Decision, NodeReport};

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
    if args.json {
        return ui::print_json(&nodes);
    }
    let mut text = String::new();
    for node in nodes {
        text.push_str(&describe(report, node));
    }
    ui::print(&text)
}

/// Whether an origin (`path: Type(op, index)`) is that module or inside it.
fn in_module(origin: &str, name: &str) -> bool {
    let path = origin.split(": ").next().unwrap_or("").trim_matches('"');
    path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

fn describe(report: &QuantReport, node: &NodeReport) -> String {
    let mut text = format!("{} = {}", node.name, node.op);
    if !node.origins.is_empty() {
        text.push_str(&format!("  # {}", node.origins.join("; ")));
    }
    text.push('\n');
    let observer = |id: usize| {
        report.observers.get(id).map_or(format!("observer {id}"), |o| {
            format!(
                "observer {id} ({}): {} scale {:?}, zero point {}, range {:?} to {:?}",
                o.observer, o.dtype, o.scale, o.zero_point, o.range.0, o.range.1
            )
        })
    };
    match &node.decision {
        Decision::Float { reason } => text.push_str(&format!("  float: {reason}\n")),
        Decision::Quantized { mode, pattern, dtype_config, group, qconfig_entry, input_observers, output_observer } => {
            text.push_str(&format!(
                "  quantized ({mode}) by pattern `{pattern}`, dtypes `{dtype_config}`, QConfig from `{qconfig_entry}`"
            ));
            if *group != node.name {
                text.push_str(&format!(", part of `{group}`"));
            }
            text.push('\n');
            if mode == "dynamic" {
                text.push_str(
                    "  input: quantized at each call to u8 from the whole tensor's own minimum and maximum; output: f32\n",
                );
                return text;
            }
            if mode.starts_with("float16") {
                text.push_str(if mode == "float16 dynamic" {
                    "  weights: rounded to half precision; everything else: f32\n"
                } else {
                    "  inputs, weights, bias and output: rounded to half precision; arithmetic: f32\n"
                });
                return text;
            }
            if mode == "weight-only" {
                text.push_str(if *dtype_config == "weight-only-table" {
                    "  weight: codes, a scale and a zero point for each row; only the rows picked are read; output: f32\n"
                } else {
                    "  weight: integers, dequantized when the model is planned; input, arithmetic and output: f32\n"
                });
                return text;
            }
            for id in input_observers {
                text.push_str(&format!("  input: {}\n", observer(*id)));
            }
            match output_observer {
                Some(id) => text.push_str(&format!("  output: {}\n", observer(*id))),
                None => text.push_str("  output: f32, no quantized operator takes it\n"),
            }
            if report.bias_corrected.contains(&node.name) {
                text.push_str("  bias: corrected for what rounding the weight does to the mean of the output\n");
            }
        }
    }
    text
}
