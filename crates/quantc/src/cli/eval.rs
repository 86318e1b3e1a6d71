//! `quantc eval`.

use std::path::PathBuf;

use quantc::data::read_npy;
use quantc::{Compiled, Error, metrics};

use super::inputs::{NamedFile, load_batches, run_all, threads};
use super::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: .onnx, .json, .qg (in float) or .qtc; its first output are the scores
    model: PathBuf,
    /// Samples on axis 0
    #[arg(long, num_args = 1.., required = true, value_name = "[NAME=]X.npy")]
    data: Vec<NamedFile>,
    /// One class number for each sample
    #[arg(long, value_name = "Y.npy")]
    labels: PathBuf,
    /// JSON file that says how images become network input
    #[arg(long, value_name = "P.json")]
    preprocess: Option<PathBuf>,
    /// Number of threads [default: all]
    #[arg(long)]
    threads: Option<usize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees.
pub fn run(args: &Args) -> Result<(), Error> {
    let labels = read_npy(&args.labels)?;
    let mut compiled = Compiled::load(&args.model, threads(args.threads)?)?;
    let batches = load_batches(compiled.graph(), &args.data, args.preprocess.as_deref(), None)?;
    let outputs = run_all(&mut compiled, &batches, "evaluating")?;
    let scores = outputs.first().ok_or_else(|| Error::Data("the model has no outputs".to_owned()))?;
    let accuracy = metrics::accuracy(&scores.1, &labels)?;
    if args.json {
        return ui::print_json(&accuracy);
    }
    ui::print(&format!(
        "top-1 {:.2} %, top-5 {:.2} %, {} samples\n",
        accuracy.top1 * 100.0,
        accuracy.top5 * 100.0,
        accuracy.samples
    ))
}
