//! `quantc isa`.

use quantc::Error;
use quantc_kernels::Isa;
use quantc_kernels::isa::select;
use serde::Serialize;

use super::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// One tier.
#[derive(Serialize)]
struct Tier {
    name: &'static str,
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
    selected: bool,
}

/// Runs the command: every ISA tier, whether this machine runs it, and why not.
///
/// Where `QUANTC_ISA` cannot be satisfied, none is selected.
///
/// # Errors
/// If stdout can't be written.
pub fn run(args: &Args) -> Result<(), Error> {
    let selected = select();
    let tier = |&isa: &Isa| {
        let refusal = isa.refusal();
        Tier {
            name: isa.name(),
            available: refusal.is_none(),
            refusal,
            selected: selected.as_ref().is_ok_and(|selected| isa == *selected),
        }
    };
    let tiers: Vec<Tier> = Isa::ALL.iter().map(tier).collect();
    if args.json {
        return ui::print_json(&tiers);
    }
    let mut rows = vec![["tier", "runs here", ""].map(str::to_owned).to_vec()];
    for tier in tiers {
        let note = tier.refusal.unwrap_or(if tier.selected { "selected" } else { "" });
        rows.push([tier.name, if tier.available { "yes" } else { "no" }, note].map(str::to_owned).to_vec());
    }
    ui::print(&ui::table(&rows))?;
    selected.map_or_else(|e| ui::print(&format!("none is selected: {e}\n")), |_| Ok(()))
}
