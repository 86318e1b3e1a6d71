//! `quantc patterns import`.

use std::fs;
use std::path::PathBuf;

use quantc::{Error, files};
use quantc_pattern::import_backend;

use crate::cli::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// PyTorch's `BackendConfig.to_dict` as JSON
    file: PathBuf,
    /// The .qpat file; stdout if left out
    #[arg(short, long, value_name = "FILE.qpat")]
    output: Option<PathBuf>,
    /// The backend's name, in the place of the document's
    #[arg(long)]
    name: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the file can't be read, is not of the form, or names what quantc does not know.
pub fn run(args: &Args) -> Result<(), Error> {
    let read = |source| Error::Read { path: args.file.clone(), source };
    let text = fs::read_to_string(&args.file).map_err(read)?;
    let imported = import_backend(&text, args.name.as_deref())
        .map_err(|e| Error::Data(format!("{}: {e}", args.file.display())))?;
    for warning in &imported.warnings {
        ui::tell(format_args!("warning: {warning}"));
    }
    match &args.output {
        Some(path) => files::write(path, |sink| sink.write_all(imported.text.as_bytes())).map(drop),
        None => ui::print(&imported.text),
    }
}
