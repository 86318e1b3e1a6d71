//! `quantc quantize`.

use std::path::PathBuf;

use quantc::data::Batches;
use quantc::{Compiled, Error, Mode, Model, QuantizeOptions, Quantized, files, qtc, quantize};
use quantc_ir::Graph;
use quantc_quant::QConfigMapping;
use quantc_quant::report::Decision;
use serde_json::json;

use super::inputs::{NamedFile, PatternsOption, bind_shapes, load_batches};
use super::{plan, ui};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModeArg {
    /// Activation ranges from calibration data
    Static,
    /// Activation ranges from each input when the model runs
    Dynamic,
}

/// A graph between two stages of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Imported,
    Canonical,
    Prepared,
    Converted,
    Quantized,
    Plan,
}

const STAGES: &[(&str, Stage)] = &[
    ("imported", Stage::Imported),
    ("canonical", Stage::Canonical),
    ("prepared", Stage::Prepared),
    ("converted", Stage::Converted),
    ("quantized", Stage::Quantized),
    ("plan", Stage::Plan),
];

#[derive(Clone, Debug)]
struct Emit {
    stage: Stage,
    path: PathBuf,
}

impl std::str::FromStr for Emit {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let names = || STAGES.iter().map(|s| s.0).collect::<Vec<_>>().join(", ");
        let (stage, path) = s.split_once('=').ok_or_else(|| format!("must be STAGE=PATH; stages: {}", names()))?;
        let stage =
            STAGES.iter().find(|s| s.0 == stage).ok_or_else(|| format!("no stage `{stage}`; stages: {}", names()))?.1;
        Ok(Emit { stage, path: path.into() })
    }
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The float model: .onnx, .json (description), .qg (text form)
    model: PathBuf,
    /// Where the compiled model goes
    #[arg(short, long)]
    output: PathBuf,
    /// Sample inputs: .npy or .npz, samples on axis 0
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE")]
    calibration: Vec<NamedFile>,
    /// JSON file that says how images become network input
    #[arg(long, value_name = "P.json")]
    preprocess: Option<PathBuf>,
    /// Use at most this many samples
    #[arg(long)]
    limit: Option<usize>,
    /// How activations are quantized
    #[arg(long, value_enum, default_value = "static")]
    mode: ModeArg,
    /// What the target supports
    #[arg(long, default_value = "x86")]
    backend: String,
    /// A QConfig preset for everything
    #[arg(long)]
    qconfig: Option<String>,
    /// A JSON file: which QConfig each module or operator gets
    #[arg(long, value_name = "FILE.json", conflicts_with = "qconfig")]
    qconfig_mapping: Option<PathBuf>,
    /// Keep the biases as they are, instead of correcting them for what rounding the weights does to each channel's mean
    #[arg(long)]
    no_bias_correction: bool,
    #[command(flatten)]
    patterns: PatternsOption,
    /// Apply rules that change values too, each within the tolerance it states
    #[arg(long)]
    allow_approximate: bool,
    /// Write the graph after a stage (imported, canonical, prepared, converted, quantized) in the text form, or the kernel calls it
    /// is compiled to (plan), for one sample
    #[arg(long, value_name = "STAGE=PATH", num_args = 1..)]
    emit: Vec<Emit>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees; nothing is written then.
pub fn run(args: &Args) -> Result<(), Error> {
    files::check_writable(&args.output)?;
    for emit in &args.emit {
        files::check_writable(&emit.path)?;
    }
    let model = Model::load(&args.model)?;
    if model.is_compiled() {
        return Err(Error::file(&args.model, "is already quantized"));
    }
    let mode = match args.mode {
        ModeArg::Static => Mode::Static,
        ModeArg::Dynamic => Mode::Dynamic,
    };
    let library = args.patterns.library()?;
    let mut options = QuantizeOptions::with_library(&library, mode, &args.backend, args.qconfig.as_deref())?;
    options.bias_correction = !args.no_bias_correction;
    options.rules.allow_approximate = args.allow_approximate;
    if let Some(path) = &args.qconfig_mapping {
        options.mapping =
            QConfigMapping::from_json(&files::read_text(path)?).map_err(|e| Error::file(path, e.to_string()))?;
    }
    let batches = if args.calibration.is_empty() {
        None
    } else {
        Some(load_batches(&model.graph, &args.calibration, args.preprocess.as_deref(), args.limit)?)
    };
    let bar = ui::progress("calibrating", batches.as_ref().map_or(0, |b| b.samples()));
    let result = quantize(&model.graph, &options, batches.as_ref(), |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let quantized = result?;
    for emit in &args.emit {
        let graph = match emit.stage {
            Stage::Plan => {
                let text = plan_text(&quantized.stages.quantized, batches.as_ref())?;
                files::write(&emit.path, |sink| sink.write_all(text.as_bytes()))?;
                continue;
            }
            Stage::Imported => &model.graph,
            Stage::Canonical => &quantized.stages.canonical,
            Stage::Prepared => &quantized.stages.prepared,
            Stage::Converted => &quantized.stages.converted,
            Stage::Quantized => &quantized.stages.quantized,
        };
        files::write(&emit.path, |sink| sink.write_all(graph.to_string().as_bytes()))?;
    }
    let size = qtc::write(&args.output, &quantized.stages.quantized, &quantized.report)?;
    report(args, &model, &quantized, batches.map_or(0, |b| b.samples()), size as u64)
}

/// The plan of the quantized graph for one sample, which says how large open dimensions are.
fn plan_text(graph: &Graph, samples: Option<&Batches>) -> Result<String, Error> {
    let shapes = match samples {
        Some(batches) => batches.get(0, 1)?.iter().map(|(name, tensor)| (name.clone(), tensor.ty())).collect(),
        None => bind_shapes(graph, &[], None)?,
    };
    let mut compiled = Compiled::from_graph(graph.clone(), 1)?;
    let made = compiled.plan(&shapes)?;
    Ok(format!("{}{}", plan::ports(&made), plan::text(&made, compiled.isa())))
}

fn report(args: &Args, model: &Model, quantized: &Quantized, samples: usize, size: u64) -> Result<(), Error> {
    let nodes = &quantized.report.nodes;
    let done = nodes.iter().filter(|n| matches!(n.decision, Decision::Quantized { .. })).count();
    let t = &quantized.timings;
    let seconds = |d: std::time::Duration| (d.as_secs_f64() * 1e4).round() / 1e4;
    if args.json {
        return ui::print_json(&json!({
            "output": args.output,
            "float_bytes": model.file_size,
            "quantized_bytes": size,
            "calls": nodes.len(),
            "quantized_calls": done,
            "observers": quantized.report.observers.len(),
            "calibration_samples": samples,
            "seconds": {
                "canonicalize": seconds(t.canonicalize),
                "prepare": seconds(t.prepare),
                "calibrate": seconds(t.calibrate),
                "convert": seconds(t.convert),
                "lower": seconds(t.lower),
                "without_calibration": seconds(t.without_calibration()),
            },
        }));
    }
    ui::print(&format!(
        "{}: {done} of {} calls quantized, {} -> {} ({:.2}x smaller), {samples} calibration samples, {:.2} s + {:.2} s calibration\n",
        args.output.display(),
        nodes.len(),
        ui::size(model.file_size),
        ui::size(size),
        model.file_size as f64 / size.max(1) as f64,
        t.without_calibration().as_secs_f64(),
        t.calibrate.as_secs_f64(),
    ))
}
