//! `quantc demo`.

use std::path::Path;
use std::time::Instant;

use quantc::data::{Batches, bind_inputs, decode_npy};
use quantc::{Compiled, Error, Mode, Preprocess, QuantizeOptions, metrics, qtc, quantize};
use serde_json::json;

use super::bench::Report;
use super::ui;

const MODEL: &[u8] = include_bytes!("../../demo/digits_cnn.onnx");
const CALIBRATION: &[u8] = include_bytes!("../../demo/digits_calib_x.npy");
const TEST: &[u8] = include_bytes!("../../demo/digits_test_x.npy");
const LABELS: &[u8] = include_bytes!("../../demo/digits_test_y.npy");
const PREPROCESS: &str = include_str!("../../demo/digits_preprocess.json");

/// Samples run at once for the accuracy.
const BATCH: usize = 50;
/// Measured runs of one sample.
const RUNS: usize = 300;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// None that a user can cause, but for `QUANTC_ISA`.
pub fn run(args: &Args) -> Result<(), Error> {
    let embedded = |name: &str, bytes: &[u8]| decode_npy(Path::new(name), bytes);
    let graph = quantc_frontend::onnx::import_bytes(MODEL)?;
    let preprocess = Preprocess::parse(Path::new("demo/digits_preprocess.json"), PREPROCESS)?;
    let batches = |name, bytes| {
        let data = bind_inputs(&graph, vec![(None, embedded(name, bytes)?)])?;
        Batches::new(&graph, data, Some(&preprocess), BATCH, None)
    };
    let calibration = batches("demo/digits_calib_x.npy", CALIBRATION)?;
    let test = batches("demo/digits_test_x.npy", TEST)?;
    let labels = embedded("demo/digits_test_y.npy", LABELS)?;

    let options = QuantizeOptions::new(Mode::Static, "x86", None)?;
    let start = Instant::now();
    let quantized = quantize(&graph, &options, Some(&calibration), |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let size = qtc::encode(&quantized.stages.quantized, &quantized.report, quantc_kernels::isa::select()?)?.len();

    let mut models = [
        Compiled::from_graph(quantized.stages.canonical.clone(), 1)?,
        Compiled::from_graph(quantized.stages.quantized.clone(), 1)?,
    ];
    let mut accuracies = Vec::new();
    for model in &mut models {
        let outputs = model.run_batches(&test, |_| ())?;
        let scores = outputs.first().ok_or_else(|| Error::Data("the model has no outputs".to_owned()))?;
        accuracies.push(metrics::accuracy(&scores.1, &labels)?);
    }
    // Interleaved, so that both see the same machine.
    let sample = test.get(0, 1)?;
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..RUNS + RUNS / 10 {
        for (model, times) in models.iter_mut().zip(&mut times) {
            let start = Instant::now();
            model.run(&sample)?;
            if run >= RUNS / 10 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let isa = models[0].isa().name();
    let latency = times.map(|t| Report::new(t, isa, 1));
    let (float_ms, int8_ms) = (latency[0].median_ms(), latency[1].median_ms());
    if args.json {
        return ui::print_json(&json!({
            "float": {"top1": accuracies[0].top1, "bytes": MODEL.len(), "median_ms": float_ms},
            "int8": {"top1": accuracies[1].top1, "bytes": size, "median_ms": int8_ms},
            "samples": accuracies[0].samples,
            "isa": isa,
        }));
    }
    let row = |name: &str, float: String, int8: String, ratio: String| vec![name.to_owned(), float, int8, ratio];
    let percent = |v: f64| format!("{:.2} %", v * 100.0);
    let rows = [
        row("", "float".into(), "int8".into(), String::new()),
        row("accuracy", percent(accuracies[0].top1), percent(accuracies[1].top1), String::new()),
        row(
            "size",
            ui::size(MODEL.len() as u64),
            ui::size(size as u64),
            format!("{:.2}x smaller", MODEL.len() as f64 / size as f64),
        ),
        row(
            "latency",
            format!("{:.1} us", float_ms * 1e3),
            format!("{:.1} us", int8_ms * 1e3),
            format!("{:.2}x faster", float_ms / int8_ms),
        ),
    ];
    ui::print(&format!(
        "A small CNN on the UCI digits: quantized with {} calibration images in {seconds:.2} s,\n\
         scored on {} held-out images, timed on one thread ({isa}).\n\n{}",
        calibration.samples(),
        accuracies[0].samples,
        ui::table(&rows)
    ))
}
