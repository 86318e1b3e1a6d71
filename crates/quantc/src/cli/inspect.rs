//! `quantc inspect`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use quantc::{Compiled, Error, Model, ModelKind};
use quantc_quant::report::QuantizedPort;
use serde_json::json;

use super::inputs::{ShapeOption, bind_shapes};
use super::{plan, ui};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The compiled model
    model: PathBuf,
    /// Number of samples the plan is shown for, where the model leaves it open [default: 1]
    #[arg(long)]
    batch: Option<usize>,
    /// The shape of an input with other open dimensions
    #[arg(long, value_name = "NAME=D,D,...")]
    shape: Vec<ShapeOption>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the model is not compiled or cannot be planned.
pub fn run(args: &Args) -> Result<(), Error> {
    let model = Model::load(&args.model)?;
    let ModelKind::Qtc { producer, report } = &model.kind else {
        return Err(Error::file(&args.model, "is no compiled model (hint: quantc trace shows other models)"));
    };
    let graph = &model.graph;
    let inputs: Vec<String> =
        graph.placeholders().map(|id| format!("{}: {}", graph.node(id).name(), graph.ty(id))).collect();
    let outputs: Vec<String> = graph.outputs().iter().map(|(n, v)| format!("{n}: {}", graph.ty(*v))).collect();
    let mut ops: BTreeMap<&str, usize> = BTreeMap::new();
    for id in graph.calls() {
        if let Some((op, _)) = graph.node(id).call() {
            *ops.entry(op.name()).or_default() += 1;
        }
    }
    let param_bytes: usize = graph.params().values().filter_map(|p| p.value.as_ref()).map(|v| v.byte_len()).sum();
    let mut compiled = Compiled::from_graph(graph.clone(), 1)?;
    // Open dimensions may be unknown here: then there is no plan to show, and the text says how to get one.
    let plan = bind_shapes(graph, &args.shape, args.batch).and_then(|shapes| compiled.plan(&shapes));
    if args.json {
        let steps = plan.as_ref().map(|p| plan::steps_json(p)).unwrap_or_default();
        let memory = plan.as_ref().map(|p| json!(p.memory())).unwrap_or_default();
        return ui::print_json(&json!({
            "producer": producer,
            "backend": report.backend,
            "file_bytes": model.size,
            "parameter_bytes": param_bytes,
            "inputs": inputs,
            "outputs": outputs,
            "quantized_inputs": report.quantized_inputs,
            "quantized_outputs": report.quantized_outputs,
            "operators": ops,
            "isa": compiled.isa().name(),
            "memory": memory,
            "steps": steps,
        }));
    }
    let mut text = format!(
        "{} (written by {producer}, backend {})\n  {} file, {} parameters\n  inputs:  {}\n  outputs: {}\n",
        args.model.display(),
        report.backend,
        ui::size(model.size),
        ui::size(param_bytes as u64),
        inputs.join(", "),
        outputs.join(", ")
    );
    for port in report.quantized_inputs.iter().chain(&report.quantized_outputs) {
        let QuantizedPort { name, dtype, scale, zero_point } = port;
        text.push_str(&format!("  {name}: {dtype}, scale {scale:?}, zero point {zero_point}\n"));
    }
    let counts: Vec<String> = ops.iter().map(|(op, n)| format!("{op} x{n}")).collect();
    text.push_str(&format!("  operators: {}\n", counts.join(", ")));
    match plan {
        Err(e) => text.push_str(&format!("  no plan: {e}\n")),
        Ok(plan) => {
            text.push_str(&format!("\n{}", plan::text(&plan, compiled.isa())));
        }
    }
    ui::print(&text)
}
