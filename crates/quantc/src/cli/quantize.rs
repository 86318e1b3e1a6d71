//! `quantc quantize`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use quantc::data::Batches;
use quantc::eager::quantize_eager;
use quantc::{
    Compiled, Error, InputShapes, Mode, Model, ModelKind, QuantizeOptions, Quantized, files, qtc, quantize, text,
};
use quantc_frontend::trace::Description;
use quantc_ir::Graph;
use quantc_quant::qconfig_mapping::Shadowed;
use quantc_quant::report::Decision;
use quantc_quant::{Placement, PrepareCustomConfig, QConfigMapping, qconfig};
use serde_json::json;

use super::inputs::{NamedFile, PatternsOption, ShapeOption, bind_shapes, load_batches};
use super::outputs::{check_distinct, model_files};
use super::quantize_eager::{EagerArgs, Workflow, eager_model};
use super::{plan, ui};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModeArg {
    /// Activation ranges from calibration data
    Static,
    /// Activation ranges from each input when the model runs
    Dynamic,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PlacementArg {
    /// Only where int8 saves time; outputs of the model stay float
    Quantc,
    /// As PyTorch's prepare_fx: every operator the backend has a pattern for, on the traced operators (batch norms folded)
    Pytorch,
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
    ///
    /// [default: static, or as --qconfig has it; a mapping decides for itself]
    #[arg(long, value_enum, conflicts_with = "qconfig_mapping")]
    mode: Option<ModeArg>,
    /// What the target supports
    #[arg(long, default_value = "x86")]
    backend: String,
    /// A QConfig preset for everything
    #[arg(long)]
    qconfig: Option<String>,
    /// A JSON file: which QConfig each module or operator gets
    #[arg(long, value_name = "FILE.json", conflicts_with = "qconfig")]
    qconfig_mapping: Option<PathBuf>,
    /// A JSON file: modules that stay float or are prepared on their own, inputs and outputs that are integers
    #[arg(long, value_name = "FILE.json")]
    prepare_custom_config: Option<PathBuf>,
    /// What is quantized, and where observers go
    #[arg(long, value_enum, default_value = "quantc")]
    placement: PlacementArg,
    /// Keep the biases as they are, instead of correcting them for what rounding the weights does to each channel's mean
    #[arg(long)]
    no_bias_correction: bool,
    /// Which of PyTorch's workflows
    #[arg(long, value_enum, default_value = "fx")]
    workflow: Workflow,
    #[command(flatten)]
    eager: EagerArgs,
    #[command(flatten)]
    patterns: PatternsOption,
    /// Apply rules that change values too, each within the tolerance it states
    #[arg(long)]
    allow_approximate: bool,
    /// Write the graph after a stage (imported, canonical, prepared, converted, quantized) in the text form, with the values of its
    /// parameters in PATH.safetensors, or the kernel calls it is compiled to (plan), for one sample or the shapes given
    #[arg(long, value_name = "STAGE=PATH", num_args = 1..)]
    emit: Vec<Emit>,
    /// The shape of an input in the plan that is written
    #[arg(long, value_name = "NAME=D,D,...", requires = "emit")]
    shape: Vec<ShapeOption>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees; nothing is written then.
pub fn run(args: &Args) -> Result<(), Error> {
    check_outputs(args)?;
    let model = Model::load(&args.model)?;
    let is_quantized = |name: &str| name == "observer" || name.starts_with("quantized.");
    let mut ops = model.graph.calls().filter_map(|id| model.graph.node(id).call());
    if model.is_compiled() || ops.any(|(op, _)| is_quantized(op.name())) {
        return Err(Error::file(&args.model, "is already quantized"));
    }
    let mode = mode(args)?;
    let library = args.patterns.library()?;
    let mut options = QuantizeOptions::with_library(&library, mode, &args.backend, args.qconfig.as_deref())?;
    options.placement = match args.placement {
        PlacementArg::Quantc => Placement::Quantc,
        PlacementArg::Pytorch => Placement::PyTorch,
    };
    options.bias_correction = !args.no_bias_correction;
    options.rules.allow_approximate = args.allow_approximate;
    if let Some(path) = &args.qconfig_mapping {
        options.mapping =
            QConfigMapping::from_json(&files::read_text(path)?).map_err(|e| Error::file(path, e.to_string()))?;
    }
    if let Some(path) = &args.prepare_custom_config {
        let text = files::read_text(path)?;
        options.prepare_custom_config =
            PrepareCustomConfig::from_json(&text).map_err(|e| Error::file(path, e.to_string()))?;
        if matches!(model.kind, ModelKind::Description) {
            // It tells the classes of modules that make no calls themselves.
            let modules = Description::from_file(&args.model)?.modules();
            options.prepare_custom_config = options.prepare_custom_config.set_modules(modules);
        }
    }
    let eager = match args.workflow {
        Workflow::Fx => {
            args.eager.none()?;
            None
        }
        Workflow::Eager => {
            if matches!(args.placement, PlacementArg::Pytorch) {
                return Err(Error::Data(
                    "--placement is of --workflow fx: in eager mode stubs and QConfigs place observers".to_owned(),
                ));
            }
            if args.prepare_custom_config.is_some() {
                return Err(Error::Data(
                    "--prepare-custom-config is of --workflow fx: in eager mode stubs are put by hand".to_owned(),
                ));
            }
            let source = eager_model(&args.model, &model)?;
            let mapping = args.qconfig_mapping.is_some();
            Some((source, args.eager.options(&options, mode, args.qconfig.as_deref(), mapping)?))
        }
    };
    let batches = if args.calibration.is_empty() {
        None
    } else {
        Some(load_batches(&model.graph, &args.calibration, args.preprocess.as_deref(), args.limit)?)
    };
    // What can't be planned is reported before any work is done.
    let has_plan = args.emit.iter().any(|e| e.stage == Stage::Plan);
    let shapes = if has_plan { plan_shapes(args, &model.graph, batches.as_ref())? } else { Vec::new() };
    let bar = ui::progress("calibrating", batches.as_ref().map_or(0, |b| b.samples()));
    let progress = |done| bar.set_position(done as u64);
    let result = match &eager {
        Some((source, options)) => quantize_eager(source, options, batches.as_ref(), progress),
        None => quantize(&model.graph, &options, batches.as_ref(), progress),
    };
    bar.finish_and_clear();
    let quantized = result?;
    let plan = if has_plan { plan_text(&quantized.stages.quantized, &shapes)? } else { String::new() };
    for emit in &args.emit {
        let graph = match emit.stage {
            Stage::Plan => {
                files::write(&emit.path, |sink| sink.write_all(plan.as_bytes()))?;
                continue;
            }
            Stage::Imported => &model.graph,
            Stage::Canonical => &quantized.stages.canonical,
            Stage::Prepared => &quantized.stages.prepared,
            Stage::Converted => &quantized.stages.converted,
            Stage::Quantized => &quantized.stages.quantized,
        };
        text::write(&emit.path, graph)?;
    }
    let warnings = warnings(args, &options.mapping, &quantized);
    for warning in &warnings {
        ui::tell(format_args!("warning: {warning}"));
    }
    let size = qtc::write(&args.output, &quantized.stages.quantized, &quantized.report)?;
    report(args, &model, &quantized, &warnings, batches.map_or(0, |b| b.samples()), size as u64)
}

/// What is allowed and hardly meant: nothing quantized, entries of the mapping that no call goes by.
fn warnings(args: &Args, mapping: &QConfigMapping, quantized: &Quantized) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for node in &quantized.report.nodes {
        match &node.decision {
            Decision::Quantized { .. } => {
                reasons.clear();
                break;
            }
            Decision::Float { reason } => *reasons.entry(reason.to_string()).or_default() += 1,
        }
    }
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|r| std::cmp::Reverse(r.1));
    if !reasons.is_empty() {
        let all: usize = reasons.iter().map(|r| r.1).sum();
        let main: Vec<String> = reasons.iter().take(3).map(|(why, n)| format!("{n} because {why}")).collect();
        warnings.push(format!("nothing is quantized; of {all} calls stay float {}", main.join(", ")));
    }
    warnings.extend(quantized.unused.iter().cloned());
    warnings.extend(quantized.report.overruled.iter().map(ToString::to_string));
    if args.patterns.dir().is_some() && args.workflow == Workflow::Eager {
        warnings.push(
            "--patterns: in eager mode the QConfigs of modules say what is quantized, so that only rules of the phase lower have an effect"
                .to_owned(),
        );
    }
    if args.qconfig_mapping.is_some() && args.workflow == Workflow::Fx {
        let resolver = mapping.resolver(&quantized.stages.canonical);
        let unused = resolver.unused();
        warnings.extend(unused.into_iter().map(|entry| format!("the entry `{entry}` of the mapping has no effect")));
        warnings.extend(resolver.shadowed().iter().filter_map(surprise));
    }
    warnings
}

/// An entry that another comes before where that may surprise.
fn surprise(shadowed: &Shadowed) -> Option<String> {
    let Shadowed { entry, by, calls, surprise } = shadowed;
    let (first, more) = (calls.first()?, calls.len() - 1);
    let calls = if more == 0 { first.clone() } else { format!("{first} and {more} more") };
    surprise.map(|why| format!("`{by}` comes before `{entry}` for {calls}: {why}"))
}

/// The mode that is asked for: by name, or by a QConfig.
fn mode(args: &Args) -> Result<Mode, Error> {
    let of_qconfig = args.qconfig.as_deref().and_then(|name| Some((name, qconfig::named(name)?.is_dynamic())));
    let asked = args.mode.map(|m| matches!(m, ModeArg::Dynamic));
    match (asked, of_qconfig) {
        (Some(asked), Some((name, dynamic))) if asked != dynamic => {
            let is = |dynamic: bool| if dynamic { "dynamic" } else { "static" };
            Err(Error::Data(format!("--mode {}: the QConfig `{name}` is {}", is(asked), is(dynamic))))
        }
        (asked, of_qconfig) => {
            let dynamic = asked.or(of_qconfig.map(|q| q.1)).unwrap_or(false);
            Ok(if dynamic { Mode::Dynamic } else { Mode::Static })
        }
    }
}

/// Fails if an output would be lost, or an input.
fn check_outputs(args: &Args) -> Result<(), Error> {
    if args.output.extension().is_none_or(|e| e != "qtc") && !files::is_special(&args.output) {
        return Err(Error::file(&args.output, "the compiled model must be a .qtc file: that is how it is known again"));
    }
    let mut inputs = model_files(&args.model);
    inputs.extend(args.calibration.iter().map(|f| (f.path().to_owned(), "the calibration data")));
    inputs.extend(args.preprocess.iter().map(|p| (p.clone(), "the preprocessing")));
    inputs.extend(args.prepare_custom_config.iter().map(|p| (p.clone(), "the custom configuration")));
    inputs.extend(args.qconfig_mapping.iter().map(|p| (p.clone(), "the mapping")));
    let mut outputs = vec![(args.output.clone(), "the compiled model")];
    for emit in &args.emit {
        outputs.push((emit.path.clone(), "the graph of a stage"));
        if emit.stage != Stage::Plan && !files::is_special(&emit.path) {
            outputs.push((text::values_path(&emit.path), "the parameters of a stage"));
        }
    }
    check_distinct(inputs, outputs)
}

/// The input shapes that a plan is shown for: those of `--shape`, else of one sample.
fn plan_shapes(args: &Args, graph: &Graph, samples: Option<&Batches>) -> Result<InputShapes, Error> {
    match samples.filter(|b| args.shape.is_empty() && b.samples() > 0) {
        Some(batches) => Ok(batches.get(0, 1)?.into_iter().map(|(name, tensor)| (name, tensor.ty())).collect()),
        None => bind_shapes(graph, &args.shape, None),
    }
}

/// The plan of the quantized graph.
fn plan_text(graph: &Graph, shapes: &InputShapes) -> Result<String, Error> {
    let mut compiled = Compiled::from_graph(graph.clone(), 1)?;
    let made = compiled.plan(shapes)?;
    Ok(format!("{}{}", plan::ports(&made), plan::text(&made, compiled.isa())))
}

fn report(
    args: &Args,
    model: &Model,
    quantized: &Quantized,
    warnings: &[String],
    samples: usize,
    size: u64,
) -> Result<(), Error> {
    let nodes = &quantized.report.nodes;
    // Decisions are counted; what runs for each call, `explain` says.
    let done = nodes.iter().filter(|n| matches!(n.decision, Decision::Quantized { .. })).count();
    let t = &quantized.timings;
    let seconds = |d: std::time::Duration| (d.as_secs_f64() * 1e4).round() / 1e4;
    if args.json {
        return ui::print_json(&json!({
            "output": args.output,
            "float_bytes": model.size,
            "quantized_bytes": size,
            "calls": nodes.len(),
            "quantized_calls": done,
            "observers": quantized.report.observers.len(),
            "calibration_samples": samples,
            "warnings": warnings,
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
        "{}: {done} of {} calls quantized, {} -> {} ({}), {samples} calibration samples, {:.2} s + {:.2} s calibration\n",
        args.output.display(),
        nodes.len(),
        ui::size(model.size),
        ui::size(size),
        ui::ratio(model.size, size),
        t.without_calibration().as_secs_f64(),
        t.calibrate.as_secs_f64(),
    ))
}
