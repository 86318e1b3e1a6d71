//! `quantc run`.

use std::path::PathBuf;

use quantc::data::write_npz;
use quantc::{Compiled, Error};

use super::inputs::{NamedFile, load_batches, run_all, threads};
use super::outputs::{check_distinct, model_files};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: .onnx, .json, .qg (in float) or .qtc
    model: PathBuf,
    /// Inputs: .npy or .npz, samples on axis 0
    #[arg(long, num_args = 1.., required = true, value_name = "[NAME=]FILE")]
    input: Vec<NamedFile>,
    /// Where the outputs go: .npz, under their names
    #[arg(short, long)]
    output: PathBuf,
    /// JSON file that says how images become network input
    #[arg(long, value_name = "P.json")]
    preprocess: Option<PathBuf>,
    /// Number of threads [default: all]
    #[arg(long)]
    threads: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees; nothing is written then.
pub fn run(args: &Args) -> Result<(), Error> {
    let mut inputs = model_files(&args.model);
    inputs.extend(args.input.iter().map(|f| (f.path().to_owned(), "the data")));
    inputs.extend(args.preprocess.iter().map(|p| (p.clone(), "the preprocessing")));
    check_distinct(inputs, vec![(args.output.clone(), "the outputs")])?;
    let mut compiled = Compiled::load(&args.model, threads(args.threads)?)?;
    let batches = load_batches(compiled.graph(), &args.input, args.preprocess.as_deref(), None)?;
    let outputs = run_all(&mut compiled, &batches, "running")?;
    write_npz(&args.output, &outputs)
}
