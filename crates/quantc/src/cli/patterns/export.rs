//! `quantc patterns export`.

use std::path::PathBuf;

use quantc::{Error, files};
use quantc_pattern::export_backend;

use crate::cli::inputs::PatternsOption;
use crate::cli::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backend
    backend: String,
    /// The file; stdout if left out
    #[arg(short, long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    #[command(flatten)]
    patterns: PatternsOption,
}

/// Runs the command.
///
/// # Errors
/// If there is no such backend or the file can't be written.
pub fn run(args: &Args) -> Result<(), Error> {
    let library = args.patterns.library()?;
    let exported = export_backend(library.backend(&args.backend)?);
    for warning in &exported.warnings {
        ui::tell(format_args!("warning: {warning}"));
    }
    match &args.output {
        Some(path) => files::write(path, |sink| sink.write_all(exported.to_text().as_bytes())).map(drop),
        None => ui::print(&exported.to_text()),
    }
}
