//! `quantc compare`.

use std::path::PathBuf;

use quantc::metrics::{difference, top1_agreement};
use quantc::{Compiled, Error};
use quantc_tensor::Tensor;
use serde_json::json;

use super::inputs::{NamedFile, load_batches, run_all, threads};
use super::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reference
    float: PathBuf,
    /// The model that is compared with it
    quantized: PathBuf,
    /// Inputs: .npy or .npz, samples on axis 0
    #[arg(long, num_args = 1.., required = true, value_name = "[NAME=]FILE")]
    data: Vec<NamedFile>,
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
    let mut results = Vec::new();
    for model in [&args.float, &args.quantized] {
        let mut compiled = Compiled::load(model, threads(args.threads)?)?;
        let batches = load_batches(compiled.graph(), &args.data, args.preprocess.as_deref(), None)?;
        results.push(run_all(&mut compiled, &batches, "running")?);
    }
    let (Some(quantized), Some(float)) = (results.pop(), results.pop()) else { return Ok(()) };
    let names = |outputs: &[(String, Tensor)]| outputs.iter().map(|o| o.0.clone()).collect::<Vec<_>>();
    let of_quantized = |name: &str| quantized.iter().find(|o| o.0 == name).map(|o| &o.1);
    let pairs: Option<Vec<_>> = float.iter().map(|(name, a)| Some((name, a, of_quantized(name)?))).collect();
    let Some(pairs) = pairs.filter(|p| p.len() == quantized.len()) else {
        let [a, b] = [&float, &quantized].map(|o| names(o).join(", "));
        return Err(Error::Data(format!("the models have different outputs: {a} and {b}")));
    };
    let outputs = pairs.iter().map(|(name, a, b)| difference(name, a, b)).collect::<Result<Vec<_>, _>>()?;
    // Agreement of the first output, where it is a row of scores for each sample.
    let agreement = match pairs.first() {
        Some((_, a, b)) if a.rank() >= 2 && a.shape()[2..].iter().all(|d| *d == 1) => Some(top1_agreement(a, b)?),
        _ => None,
    };
    if args.json {
        return ui::print_json(&json!({ "outputs": outputs, "top1_agreement": agreement }));
    }
    let mut rows = vec![["output", "SQNR dB", "cosine", "max abs"].map(str::to_owned).to_vec()];
    for o in &outputs {
        rows.push(vec![
            o.name.clone(),
            o.sqnr_db.map_or("equal".to_owned(), |v| format!("{v:.2}")),
            format!("{:.6}", o.cosine),
            format!("{:.6}", o.max_abs),
        ]);
    }
    let mut text = ui::table(&rows);
    for o in outputs.iter().filter(|o| o.not_finite > 0) {
        text.push_str(&format!("{}: {} elements left out, NaN or the same infinity in both\n", o.name, o.not_finite));
    }
    if let Some(a) = agreement {
        text.push_str(&format!("top-1 agreement {:.2} %\n", a * 100.0));
    }
    ui::print(&text)
}
