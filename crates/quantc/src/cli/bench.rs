//! `quantc bench`.

use std::path::PathBuf;
use std::time::Instant;

use quantc::{Compiled, Error, InputShapes};
use quantc_runtime::StepInfo;
use quantc_tensor::{DType, Tensor, TensorType};
use serde::Serialize;

use super::inputs::{ShapeOption, bind_shapes, load_compiled, threads, within};
use super::{memory, ui};

/// Times of runs are kept, so there are not any number of them.
const MAX_RUNS: usize = 10_000_000;

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
    /// Show the time of each kernel call, too
    #[arg(long)]
    steps: bool,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepTime>,
}

/// The time of one kernel call.
#[derive(Clone, Debug, Serialize)]
struct StepTime {
    node: String,
    op: String,
    kernel: String,
    output: String,
    median_us: f64,
}

impl StepTime {
    /// Medians over some runs.
    fn measure(
        compiled: &mut Compiled,
        inputs: &[(String, Tensor)],
        shapes: &InputShapes,
        runs: usize,
    ) -> Result<Vec<StepTime>, Error> {
        let plan = compiled.plan(shapes)?;
        let infos: Vec<_> = plan.describe().collect();
        let mut times = vec![Vec::with_capacity(runs); infos.len()];
        for _ in 0..runs {
            compiled.run_inspected(inputs, |step, time| times[step].push(time.as_secs_f64() * 1e6))?;
        }
        let step = |(info, times): (&StepInfo, Vec<f64>)| StepTime {
            node: info.node.clone(),
            op: info.op.clone(),
            kernel: info.kernel.clone(),
            output: info.output.clone(),
            median_us: (quantile(times, 0.5) * 1e2).round() / 1e2,
        };
        Ok(infos.into_iter().zip(times).map(step).collect())
    }
}

/// The value that this share of the values lies below.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len().saturating_sub(1) as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

impl Report {
    /// Statistics over run times in milliseconds.
    pub fn new(times: Vec<f64>, isa: &str, threads: usize) -> Report {
        let at = |share: f64| quantile(times.clone(), share);
        let ms = |v: f64| (v * 1e4).round() / 1e4;
        Report {
            median_ms: ms(at(0.5)),
            min_ms: ms(at(0.0)),
            p90_ms: ms(at(0.9)),
            isa: isa.to_owned(),
            threads,
            peak_rss_mb: memory::peak().map(|bytes| (bytes as f64 / 1048576.0 * 10.0).round() / 10.0),
            steps: Vec::new(),
        }
    }

    /// The median in milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.median_ms
    }
}

/// An input for timing: floats between -1 and 1 from a fixed sequence, integers 1.
fn sample(ty: &TensorType) -> Result<Tensor, Error> {
    let shape = ty.shape.to_known().ok_or_else(|| Error::Data(format!("the shape of {ty} is not known")))?;
    let n = quantc_ops::dims::numel(&shape).map_err(|e| Error::Data(e.to_string()))?;
    let floats = Tensor::from_vec(&shape, (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0).collect())
        .map_err(|e| Error::Data(e.to_string()))?;
    Ok(if ty.dtype == DType::F32 { floats } else { Tensor::full(&shape, 1i64).cast(ty.dtype) })
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees.
pub fn run(args: &Args) -> Result<(), Error> {
    within("--runs", args.runs, MAX_RUNS)?;
    let (_, mut compiled) = load_compiled(&args.model, threads(Some(args.threads))?)?;
    let shapes = bind_shapes(compiled.graph(), &args.shape, args.batch)?;
    let inputs = shapes.iter().map(|(name, ty)| Ok((name.clone(), sample(ty)?))).collect::<Result<Vec<_>, Error>>()?;
    for _ in 0..args.runs.div_ceil(10).max(2) {
        compiled.run(&inputs)?;
    }
    let mut times = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        let start = Instant::now();
        compiled.run(&inputs)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mut report = Report::new(times, compiled.isa().name(), args.threads);
    if args.steps {
        report.steps = StepTime::measure(&mut compiled, &inputs, &shapes, args.runs)?;
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
    if report.steps.is_empty() {
        return Ok(());
    }
    let total: f64 = report.steps.iter().map(|s| s.median_us).sum();
    let mut rows = vec![["node", "operator", "kernel", "output", "us", "share"].map(str::to_owned).to_vec()];
    for s in &report.steps {
        let (us, share) = (format!("{:.2}", s.median_us), format!("{:.1}%", s.median_us / total.max(1e-9) * 100.0));
        rows.push([&s.node, &s.op, &s.kernel, &s.output, &us, &share].map(String::clone).to_vec());
    }
    ui::print(&ui::table(&rows))
}
