//! `quantc rewrite`.

use std::path::PathBuf;
use std::sync::Arc;

use quantc::{Error, Model, files, text};
use quantc_ir::Graph;
use quantc_pattern::Phase;
use quantc_rewrite::explain::{Extra, Fate, Matched, Missed, NotChosen, WhyNot, not_chosen, why_not};
use quantc_rewrite::{Budget, NodeTrace, RewriteReport, RuleStats, Step, rewrite};
use serde_json::{Value, json};

use super::inputs::PatternsOption;
use super::outputs::{check_distinct, model_files};
use super::ui;

/// Near misses that are printed.
const MISSES: usize = 10;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PhaseArg {
    /// Float graphs: constants folded, decompositions recognised
    Canonical,
    /// Reference q/dq graphs: integer operators
    Lower,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: .onnx, .json or .qg
    model: PathBuf,
    /// Which rules run
    #[arg(long, value_enum, default_value = "canonical")]
    phase: PhaseArg,
    #[command(flatten)]
    patterns: PatternsOption,
    /// With the rules that run for this backend, as `quantc quantize` does [default: those for every backend]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Apply rules that change values too, each within the tolerance it states
    #[arg(long)]
    allow_approximate: bool,
    /// Write the result in the text form, with the values of its parameters in OUT.qg.safetensors
    #[arg(short, long, value_name = "OUT.qg")]
    output: Option<PathBuf>,
    /// Show which rules made which node of the result from which
    #[arg(long)]
    trace: bool,
    /// Show where a rule (or the rules of one `:for`, by the name before the slash) matches, what became of that, and where it
    /// almost matches
    #[arg(long, value_name = "RULE")]
    why_not: Option<String>,
    /// Ask about matches that this node is part of, anywhere in the pattern
    #[arg(long, value_name = "NODE", requires = "why_not")]
    at: Option<String>,
    /// Show how often each rule was searched, matched, applied and used, and how long it took
    #[arg(long)]
    rule_stats: bool,
    /// Show results of rules that were not chosen, and what choosing them would cost
    #[arg(long)]
    not_chosen: bool,
    /// Apply only the first N matches, to find the one that goes wrong by bisection
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees.
pub fn run(args: &Args) -> Result<(), Error> {
    if let Some(output) = &args.output {
        if output.extension().is_none_or(|e| e != "qg") && !files::is_special(output) {
            return Err(Error::file(output, "the result must be a .qg file: that is how it is known again"));
        }
        let mut outputs = vec![(output.clone(), "the result")];
        if !files::is_special(output) {
            outputs.push((text::values_path(output), "its parameters"));
        }
        check_distinct(model_files(&args.model), outputs)?;
    }
    let model = Model::load(&args.model)?;
    let library = args.patterns.library()?;
    let mut rules = match &args.backend {
        Some(name) => library.rules_for(library.backend(name)?),
        None => library.rules.clone(),
    };
    rules.allow_approximate |= args.allow_approximate;
    let phase = match args.phase {
        PhaseArg::Canonical => Phase::Canonical,
        PhaseArg::Lower => Phase::Lower,
    };
    let budget = Budget { applications: args.stop_after.unwrap_or(usize::MAX), ..Budget::default() };
    let answer = match &args.why_not {
        Some(rule) => Some(why_not(&model.graph, &rules, phase, rule, args.at.as_deref(), &budget)?),
        None => None,
    };
    let (graph, report) = rewrite(&model.graph, &rules, phase, &budget)?;
    let others = if args.not_chosen { Some(not_chosen(&model.graph, &rules, phase, &budget)?) } else { None };
    if let Some(output) = &args.output {
        text::write(output, &graph)?;
    }
    if args.json {
        return ui::print_json(&as_json(args, &report, answer.as_ref(), others.as_deref()));
    }
    let mut text = String::new();
    if let (Some(answer), Some(rule)) = (&answer, &args.why_not) {
        text.push_str(&show_why_not(answer, rule, args.at.as_deref()));
    }
    if args.trace {
        for trace in &report.nodes {
            text.push_str(&show_trace(&graph, trace));
        }
    }
    if args.rule_stats {
        text.push_str(&ui::table(&stats_table(&report)));
    }
    if let Some(others) = &others {
        others.iter().for_each(|o| text.push_str(&format!("{} at {}: {}\n", o.rule, o.node, show_extra(o.extra))));
        if others.is_empty() {
            text.push_str("there is no result of a rule that could be chosen instead\n");
        }
    }
    if args.stop_after.is_some()
        && let Some(last) = &report.last_application
    {
        text.push_str(&format!("application {}: {}\n", report.applications, show_step(last)));
    }
    if text.is_empty() && args.output.is_none() {
        text = graph.to_string();
    }
    ui::print(&text)?;
    summary(&report);
    Ok(())
}

/// What happened in a few lines on stderr, so that stdout is the answer alone.
fn summary(report: &RewriteReport) {
    for phase in &report.phases {
        ui::tell(format_args!(
            "{}: {} after {} rounds, {} e-nodes, {} applications; cost {} -> {}",
            phase.phase,
            phase.stop,
            phase.iterations,
            phase.e_nodes,
            report.applications,
            phase.cost_before,
            phase.cost
        ));
    }
}

fn show_step(step: &Step) -> String {
    format!("{} on {}", step.rule, step.from.join(", "))
}

fn show_trace(graph: &Graph, trace: &NodeTrace) -> String {
    let op = graph.find(&trace.node).and_then(|id| graph.node(id).call()).map_or("constant", |(op, _)| op.name());
    let mut text = format!("{} = {op} replaces {}\n", trace.node, trace.replaces.join(", "));
    trace.steps.iter().for_each(|s| text.push_str(&format!("  {}\n", show_step(s))));
    text
}

fn show_extra(extra: Extra) -> String {
    let cost = match extra.cost {
        0 => "would cost the same".to_owned(),
        more if more > 0 => format!("would cost {more} more"),
        less => format!("would cost {} less", -less),
    };
    match extra.repeated {
        0 => cost,
        n => format!("{cost} and compute {n} heavy calls twice"),
    }
}

fn show_fate(fate: &Fate) -> String {
    match fate {
        Fate::Chosen => "in the result".to_owned(),
        Fate::Used => "in the result, rewritten further".to_owned(),
        Fate::NotChosen(extra) => format!("not chosen: {}", show_extra(*extra)),
        Fate::NotNeeded => "not needed: the value is inside something larger".to_owned(),
        Fate::NothingNew => "nothing new: the result was there already".to_owned(),
        Fate::Rejected(reason) => format!("can't be rewritten: {reason}"),
    }
}

/// The root of a match, and where in the pattern the node that was asked about stands.
fn show_place(root: &str, stands: Option<&str>, at: Option<&str>) -> String {
    match (stands, at) {
        (Some(stands), Some(at)) => format!("{root}, with {at} at {stands}"),
        _ => root.to_owned(),
    }
}

fn show_why_not(answer: &WhyNot, rule: &str, at: Option<&str>) -> String {
    let mut text = String::new();
    for m in &answer.matches {
        let place = show_place(&m.node, m.stands.as_deref(), at);
        text.push_str(&format!("{} matches at {place}: {}\n", m.rule, show_fate(&m.fate)));
    }
    for Missed { rule, calls, node, stands, miss } in answer.misses.iter().take(MISSES) {
        let place = show_place(node, stands.as_deref(), at);
        text.push_str(&format!(
            "{rule} at {place}: {} of {calls} calls match, then at {}: {}\n",
            miss.matched, miss.path, miss.reason
        ));
    }
    let more = answer.misses.len().saturating_sub(MISSES);
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    if text.is_empty() {
        text.push_str(&match at {
            Some(at) => format!("{rule}: {at} can't be any call of its pattern\n"),
            None => format!("{rule}: nothing in the graph has even the operator at its root\n"),
        });
    }
    text
}

fn stats_table(report: &RewriteReport) -> Vec<Vec<String>> {
    let head = ["rule", "searched", "matched", "applied", "used", "ms"].map(str::to_owned).to_vec();
    let row = |(name, r): (&Arc<str>, &RuleStats)| {
        let ms = format!("{:.3}", r.time.as_secs_f64() * 1e3);
        let counts = [r.searched, r.matched, r.applied, r.used].map(|n| n.to_string());
        std::iter::once(name.to_string()).chain(counts).chain([ms]).collect()
    };
    std::iter::once(head).chain(report.rules.iter().map(row)).collect()
}

fn as_json(args: &Args, report: &RewriteReport, answer: Option<&WhyNot>, others: Option<&[NotChosen]>) -> Value {
    let mut out = json!({
        "phases": report.phases.iter().map(|p| json!({
            "phase": p.phase, "stop": p.stop.to_string(), "rounds": p.iterations, "e_nodes": p.e_nodes,
            "regions": p.regions, "cost_before": p.cost_before, "cost": p.cost,
        })).collect::<Vec<_>>(),
        "applications": report.applications,
        "last_application": report.last_application.as_ref().map(step_json),
    });
    if args.trace {
        let trace = |t: &NodeTrace| {
            let steps: Vec<Value> = t.steps.iter().map(step_json).collect();
            json!({"node": &*t.node, "rule": &*t.rule, "replaces": names(&t.replaces), "steps": steps})
        };
        out["trace"] = report.nodes.iter().map(trace).collect();
    }
    if args.rule_stats {
        let rule = |(name, r): (&Arc<str>, &RuleStats)| {
            json!({
                "rule": &**name, "searched": r.searched, "matched": r.matched, "applied": r.applied, "used": r.used,
                "ms": r.time.as_secs_f64() * 1e3, "rejected": r.rejected,
            })
        };
        out["rules"] = report.rules.iter().map(rule).collect();
    }
    if let Some(others) = others {
        let other = |o: &NotChosen| {
            json!({
                "rule": &*o.rule, "node": &*o.node, "cost": o.extra.cost, "repeated_heavy_calls": o.extra.repeated,
            })
        };
        out["not_chosen"] = others.iter().map(other).collect();
    }
    if let Some(answer) = answer {
        let matched =
            |m: &Matched| json!({"rule": &*m.rule, "node": &*m.node, "stands": m.stands, "fate": show_fate(&m.fate)});
        let missed = |m: &Missed| {
            json!({
                "rule": &*m.rule, "node": &*m.node, "stands": m.stands, "calls": m.calls, "matched": m.miss.matched,
                "path": m.miss.path, "reason": m.miss.reason,
            })
        };
        out["why_not"] = json!({
            "rule": args.why_not,
            "matches": answer.matches.iter().map(matched).collect::<Vec<_>>(),
            "misses": answer.misses.iter().map(missed).collect::<Vec<_>>(),
        });
    }
    out
}

fn step_json(step: &Step) -> Value {
    json!({"rule": &*step.rule, "from": names(&step.from)})
}

fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|n| &**n).collect()
}
