//! `quantc ops`.

use quantc::{Error, pytorch};
use serde::Serialize;

use super::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What each class and function of PyTorch's quantization is here
    #[arg(long)]
    pytorch: bool,
    /// Only what has this in its name
    name: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// An operator.
#[derive(Serialize)]
struct Operator {
    name: &'static str,
    doc: &'static str,
}

/// Runs the command: operators, or PyTorch's names.
///
/// # Errors
/// If nothing has the name.
pub fn run(args: &Args) -> Result<(), Error> {
    let name = args.name.as_deref().unwrap_or("");
    let nothing = || Error::Data(format!("nothing has `{name}` in its name"));
    if args.pytorch {
        let entries = pytorch::find(name);
        if entries.is_empty() {
            return Err(nothing());
        }
        if args.json {
            return ui::print_json(&entries);
        }
        let mut rows = vec![["PyTorch", "here", "", "note"].map(str::to_owned).to_vec()];
        rows.extend(entries.iter().map(|e| [e.name, e.ours, e.status.name(), e.note].map(str::to_owned).to_vec()));
        return ui::print(&ui::text_table(&rows));
    }
    let wanted = |op: &str| op.to_lowercase().contains(&name.to_lowercase());
    let ops: Vec<Operator> = quantc_ops::operators()
        .filter(|op| wanted(op.name()))
        .map(|op| Operator { name: op.name(), doc: op.signature().doc })
        .collect();
    if ops.is_empty() {
        return Err(nothing());
    }
    if args.json {
        return ui::print_json(&ops);
    }
    let rows: Vec<Vec<String>> = ops.iter().map(|o| vec![o.name.to_owned(), o.doc.to_owned()]).collect();
    ui::print(&ui::text_table(&rows))
}
