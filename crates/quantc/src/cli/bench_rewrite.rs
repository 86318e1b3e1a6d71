//! `quantc bench-rewrite`.

use std::path::PathBuf;

use quantc::{Error, Model};
use quantc_ir::Graph;
use quantc_pattern::{Phase, RuleSet};
use quantc_rewrite::synthetic::{Mix, graph};
use quantc_rewrite::{Budget, PhaseStats, RewriteReport, run_phase};
use serde_json::json;

use super::{memory, ui};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Calls in a synthetic graph
    #[arg(long, num_args = 1.., default_values_t = [1_000, 10_000, 50_000])]
    ops: Vec<usize>,
    /// Kinds of synthetic graphs: resnet, mobilenet, transformer, and each with -qdq in q/dq form; all if left out
    #[arg(long, num_args = 1.., value_parser = parse_mix)]
    mix: Vec<(Mix, bool)>,
    /// Rewrite this model instead: .onnx, .json or .qg
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ops", "mix"])]
    model: Option<PathBuf>,
    /// Calls rewritten as one e-graph
    #[arg(long, default_value_t = Budget::default().region)]
    region: usize,
    /// Measured runs
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const QDQ: &str = "-qdq";

fn parse_mix(text: &str) -> Result<(Mix, bool), String> {
    let (name, quantized) = text.strip_suffix(QDQ).map_or((text, false), |name| (name, true));
    let mix = Mix::ALL.iter().find(|(n, _)| *n == name).map(|(_, mix)| (*mix, quantized));
    mix.ok_or_else(|| {
        let names: Vec<String> = Mix::ALL.iter().flat_map(|(n, _)| [(*n).to_owned(), format!("{n}{QDQ}")]).collect();
        format!("the mixes are {}", names.join(", "))
    })
}

/// What was measured on one graph.
struct Row {
    name: String,
    calls: usize,
    /// Phases of all runs.
    runs: Vec<PhaseStats>,
    /// Peak resident bytes above what the graph takes, over all runs, where the system tells.
    bytes: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees.
pub fn run(args: &Args) -> Result<(), Error> {
    if args.runs == 0 {
        return Err(Error::Data("--runs must be at least 1".to_owned()));
    }
    let rules = RuleSet::builtin()?;
    let budget = Budget { region: args.region, ..Budget::default() };
    let mut rows = Vec::new();
    if let Some(path) = &args.model {
        let model = Model::load(path)?;
        let quantized = model.graph.calls().any(|id| model.graph.node(id).is_op("quantize_per_tensor"));
        let phase = if quantized { Phase::Lower } else { Phase::Canonical };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        rows.push(measure(&name, &model.graph, &rules, phase, &budget, args.runs)?);
    } else {
        let all = Mix::ALL.iter().flat_map(|(_, mix)| [(*mix, false), (*mix, true)]);
        let mixes: Vec<(Mix, bool)> = if args.mix.is_empty() { all.collect() } else { args.mix.clone() };
        for (mix, quantized) in mixes {
            let name = Mix::ALL.iter().find(|(_, m)| *m == mix).map_or("", |(n, _)| *n);
            let name = format!("{name}{}", if quantized { QDQ } else { "" });
            for calls in &args.ops {
                let graph = graph(mix, *calls, quantized)?;
                let phase = if quantized { Phase::Lower } else { Phase::Canonical };
                rows.push(measure(&name, &graph, &rules, phase, &budget, args.runs)?);
            }
        }
    }
    if args.json {
        return ui::print_json(&rows.iter().map(as_json).collect::<Vec<_>>());
    }
    let head = ["graph", "calls", "e-nodes", "encode", "saturate", "extract", "rebuild", "MB", "bytes/e-node"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(as_cells));
    ui::print(&format!("milliseconds: median of {} runs on one thread\n{}", args.runs, ui::table(&table)))
}

fn measure(
    name: &str,
    graph: &Graph,
    rules: &RuleSet,
    phase: Phase,
    budget: &Budget,
    runs: usize,
) -> Result<Row, Error> {
    let mut all = Vec::new();
    memory::reset_peak();
    let before = memory::resident();
    for _ in 0..runs {
        let mut report = RewriteReport::default();
        run_phase(graph, rules, phase, budget, &mut report)?;
        all.append(&mut report.phases);
    }
    let bytes = before.zip(memory::peak()).map(|(before, peak)| peak.saturating_sub(before));
    Ok(Row { name: name.to_owned(), calls: graph.calls().count(), runs: all, bytes })
}

impl Row {
    /// Medians of encode, saturate, extract and rebuild in milliseconds.
    fn times(&self) -> [f64; 4] {
        let parts: [fn(&PhaseStats) -> std::time::Duration; 4] =
            [|p| p.time.encode, |p| p.time.saturate, |p| p.time.extract, |p| p.time.rebuild];
        parts.map(|part| {
            let mut ms: Vec<f64> = self.runs.iter().map(|r| part(r).as_secs_f64() * 1e3).collect();
            ms.sort_by(f64::total_cmp);
            ms[ms.len() / 2]
        })
    }

    /// Bytes per e-node, if the graph is one region: then all e-nodes are there at once.
    fn bytes_per_node(&self) -> Option<u64> {
        self.bytes.filter(|_| self.runs[0].regions == 1).map(|b| b / self.runs[0].e_nodes.max(1) as u64)
    }
}

fn as_cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.name.clone(), row.calls.to_string(), row.runs[0].e_nodes.to_string()];
    cells.extend(row.times().map(|ms| format!("{ms:.2}")));
    cells.push(row.bytes.map_or("-".to_owned(), |b| format!("{:.1}", b as f64 / 1e6)));
    cells.push(row.bytes_per_node().map_or("-".to_owned(), |b| b.to_string()));
    cells
}

fn as_json(row: &Row) -> serde_json::Value {
    let [encode, saturate, extract, rebuild] = row.times();
    let first = &row.runs[0];
    json!({
        "graph": row.name, "calls": row.calls, "e_nodes": first.e_nodes, "regions": first.regions,
        "rounds": first.iterations, "stop": first.stop.to_string(), "cost_before": first.cost_before, "cost": first.cost,
        "ms": {"encode": encode, "saturate": saturate, "extract": extract, "rebuild": rebuild},
        "peak_bytes": row.bytes, "bytes_per_e_node": row.bytes_per_node(),
    })
}
