//! `quantc trace`.

use std::path::PathBuf;

use quantc::{Error, Model};

use super::ui;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// The text form, which quantc also reads
    Text,
    /// One row per node, like torch.fx's print_tabular
    Table,
    /// Graphviz
    Dot,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: .onnx, .json, .qg or .qtc
    model: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees.
pub fn run(args: &Args) -> Result<(), Error> {
    let model = Model::load(&args.model)?;
    ui::print(&match args.format {
        Format::Text => model.graph.to_string(),
        Format::Table => model.graph.to_table(),
        Format::Dot => model.graph.to_dot(),
    })
}
