//! `quantc bench`.

mod layers;
mod peak;
mod roofline;
mod rounds;

use std::path::{Path, PathBuf};

use quantc::{Compiled, Error, InputShapes, files};
use quantc_tensor::{DType, Tensor, TensorType};
use serde::Serialize;

use super::inputs::{ShapeOption, bind_shapes, threads, within};
use super::outputs::{check_distinct, model_files};
use super::{memory, ui};
use layers::Layers;
use rounds::Contestant;

/// Times of runs are kept, so there are not any number of them.
const MAX_RUNS: usize = 10_000_000;
/// Rounds that the runs of two models are divided into.
const ROUNDS: usize = 10;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: .onnx, .json, .qg (in float) or .qtc
    model: PathBuf,
    /// Number of threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Measured runs
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Samples in a run, where the model leaves it open [default: 1]
    #[arg(long)]
    batch: Option<usize>,
    /// The shape of an input with other open dimensions
    #[arg(long, value_name = "NAME=D,D,...")]
    shape: Vec<ShapeOption>,
    /// Show for each kernel call its time, its multiply-accumulates and bytes, and its share of what the machine can do
    #[arg(long)]
    per_layer: bool,
    /// Draw each layer's rate against what the machine can do, as an SVG file
    #[arg(long, value_name = "FILE.svg")]
    roofline: Option<PathBuf>,
    /// A second model, timed in turns with the first
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["per_layer", "roofline"])]
    compare: Option<PathBuf>,
    /// Rounds that the runs of two models are divided into [default: 10, or --runs if that is less]
    #[arg(long, requires = "compare")]
    rounds: Option<usize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    median_ms: f64,
    min_ms: f64,
    p90_ms: f64,
    isa: String,
    threads: usize,
    peak_rss_mb: Option<f64>,
    /// How many layers use a blocking in the model's file, if it was tuned.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocking: Option<String>,
    #[serde(flatten)]
    per_layer: Option<Layers>,
}

/// A value to some decimal places.
pub fn rounded(value: f64, places: i32) -> f64 {
    let factor = 10f64.powi(places);
    (value * factor).round() / factor
}

/// The value that this share of the values lies below; between two values in proportion.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = values.len().saturating_sub(1) as f64 * share;
    let below = values.get(place as usize).copied().unwrap_or(0.0);
    values.get(place as usize + 1).map_or(below, |above| below + (above - below) * place.fract())
}

impl Report {
    /// Statistics over run times in milliseconds.
    pub fn new(times: Vec<f64>, isa: &str, threads: usize) -> Report {
        let at = |share: f64| quantile(times.clone(), share);
        Report {
            median_ms: rounded(at(0.5), 4),
            min_ms: rounded(at(0.0), 4),
            p90_ms: rounded(at(0.9), 4),
            isa: isa.to_owned(),
            threads,
            peak_rss_mb: memory::peak().map(|bytes| rounded(bytes as f64 / 1e6, 1)),
            blocking: None,
            per_layer: None,
        }
    }

    /// The median in milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.median_ms
    }
}

/// An input for timing: floats between -1 and 1 from a fixed sequence, integers 1.
///
/// # Errors
/// If the type has open dimensions or too many elements.
pub fn sample(ty: &TensorType) -> Result<Tensor, Error> {
    let shape = ty.shape.to_known().ok_or_else(|| Error::Data(format!("the shape of {ty} is not known")))?;
    let n = quantc_ops::dims::numel(&shape).map_err(|e| Error::Data(e.to_string()))?;
    let floats = Tensor::from_vec(&shape, (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0).collect())
        .map_err(|e| Error::Data(e.to_string()))?;
    Ok(if ty.dtype == DType::F32 { floats } else { Tensor::full(&shape, 1i64).cast(ty.dtype) })
}

/// Loads a model and runs it until its speed has settled.
fn prepare(path: &Path, args: &Args) -> Result<(Contestant, InputShapes), Error> {
    let compiled = Compiled::load(path, threads(Some(args.threads))?)?;
    let shapes = bind_shapes(compiled.graph(), &args.shape, args.batch)?;
    let inputs = shapes.iter().map(|(name, ty)| Ok((name.clone(), sample(ty)?))).collect::<Result<Vec<_>, Error>>()?;
    let mut contestant = Contestant { compiled, inputs };
    for _ in 0..args.runs.div_ceil(10).max(2) {
        contestant.time()?;
    }
    Ok((contestant, shapes))
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees; nothing is written then.
pub fn run(args: &Args) -> Result<(), Error> {
    within("--runs", args.runs, MAX_RUNS)?;
    if let Some(other) = &args.compare {
        return compare(args, other);
    }
    if let Some(svg) = &args.roofline {
        check_distinct(model_files(&args.model), vec![(svg.clone(), "the plot")])?;
    }
    let (mut model, shapes) = prepare(&args.model, args)?;
    let times = (0..args.runs).map(|_| model.time()).collect::<Result<Vec<_>, _>>()?;
    let Contestant { compiled, inputs } = &mut model;
    let mut report = Report::new(times, compiled.isa().name(), args.threads);
    report.blocking = blocking(compiled, &shapes)?;
    if args.per_layer || args.roofline.is_some() {
        report.per_layer = Some(Layers::measure(compiled, inputs, &shapes, args.threads, args.runs)?);
    }
    if let (Some(path), Some(layers)) = (&args.roofline, &report.per_layer) {
        let name = args.model.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy());
        let svg = roofline::svg(&name, compiled.isa().name(), layers);
        files::write(path, |sink| sink.write_all(svg.as_bytes()))?;
    }
    if !args.per_layer {
        report.per_layer = None;
    }
    if args.json {
        return ui::print_json(&report);
    }
    ui::print(&format!(
        "median {:.3} ms, min {:.3} ms, p90 {:.3} ms; {} threads, {}{}\n",
        report.median_ms,
        report.min_ms,
        report.p90_ms,
        report.threads,
        report.isa,
        report.peak_rss_mb.map_or(String::new(), |mb| format!(", peak memory {mb} MB")),
    ))?;
    if let Some(blocking) = &report.blocking {
        ui::print(&format!("blocking: {blocking}\n"))?;
    }
    report.per_layer.map_or(Ok(()), |layers| ui::print(&layers.text()))
}

/// Which blockings a tuned model runs with for these input shapes.
fn blocking(compiled: &mut Compiled, shapes: &InputShapes) -> Result<Option<String>, Error> {
    let Some(tuning) = compiled.tuning() else { return Ok(None) };
    if compiled.tuning_used().is_none() {
        return Ok(Some(format!("default; the model is tuned for {}", tuning.machine)));
    }
    let chosen = tuning.blockings();
    if chosen.is_empty() {
        return Ok(Some("default; tuning found none that is faster".to_owned()));
    }
    let plan = compiled.plan(shapes)?;
    let layers = plan.blocked().flatten().count();
    let tuned = plan.blocked().flatten().filter(|layer| chosen.contains_key(layer.geometry())).count();
    Ok(Some(match tuned {
        0 => "default; tuned for other shapes".to_owned(),
        _ => format!("tuned ({tuned} of {layers} layers)"),
    }))
}

/// Times two models in turns.
fn compare(args: &Args, other: &Path) -> Result<(), Error> {
    let rounds = args.rounds.map_or(Ok(args.runs.min(ROUNDS)), |n| within("--rounds", n, args.runs))?;
    let (a, _) = prepare(&args.model, args)?;
    let (b, _) = prepare(other, args)?;
    let runs = args.runs.div_ceil(rounds);
    let comparison = rounds::compare([&args.model, other], [a, b], args.threads, rounds, runs)?;
    if args.json { ui::print_json(&comparison) } else { ui::print(&comparison.text()) }
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(vec![3.0, 1.0], 0.5), 2.0);
        assert_eq!(quantile(vec![4.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(vec![4.0, 1.0, 2.0, 8.0, 16.0], 0.25), 2.0);
        assert_eq!([0.0, 1.0].map(|share| quantile(vec![4.0, 1.0, 2.0], share)), [1.0, 4.0]);
        assert_eq!(quantile(vec![5.0], 0.9), 5.0);
        assert_eq!(quantile(vec![], 0.5), 0.0);
    }
}
