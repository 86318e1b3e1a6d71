//! The command line of a test: steps between `|`, each a stage of the compiler with options.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quantc_ir::Graph;
use quantc_pattern::{Library, Phase, RuleSet};
use quantc_quant::report::Decision;
use quantc_quant::{
    Calibrator, Placement, PreparedModel, QConfigMapping, convert_to_reference_fx, prepare_fx_with, qconfig,
};
use quantc_rewrite::{Budget, RewriteReport, canonicalize, fold_constants, lower_quantized, run_phase};

use super::values;

/// What a test does with its graph.
#[derive(Clone, Debug)]
pub(super) struct Command {
    text: String,
    pub(super) steps: Vec<Step>,
    /// Print what was done and decided in place of the graph.
    pub(super) report: bool,
}

/// A stage of the compiler.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The canonical phase, constants folded.
    Canonicalize { approximate: bool, target: Target },
    /// The lowering phases, constants folded.
    Lower(Target),
    /// One phase, perhaps with some of its rules only; constants stay.
    Rewrite { phase: Phase, rules: Vec<String>, approximate: bool, target: Target },
    /// `prepare_fx`.
    Prepare(Target),
    /// `prepare_fx`, calibration on random inputs, `convert_to_reference_fx`.
    Convert(Target),
}

/// What is quantized for, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `x86` if there is none; its rules only if there is one.
    backend: Option<String>,
    qconfig: Option<String>,
    mapping: Option<PathBuf>,
    placement: Placement,
    samples: usize,
}

impl Default for Target {
    fn default() -> Target {
        Target { backend: None, qconfig: None, mapping: None, placement: Placement::default(), samples: 8 }
    }
}

const STEPS: &[(&str, &[&str])] = &[
    ("canonicalize", &["--allow-approximate", "--backend"]),
    ("lower", &["--backend"]),
    ("rewrite", &["--phase", "--rule", "--allow-approximate", "--backend"]),
    ("prepare", &["--backend", "--qconfig", "--mapping", "--placement"]),
    ("convert", &["--backend", "--qconfig", "--mapping", "--placement", "--samples"]),
];

impl Command {
    /// Parses `STEP [OPTION ..] | STEP .. [--report]`.
    pub(super) fn parse(text: &str) -> Result<Command, String> {
        let mut steps = Vec::new();
        let mut report = false;
        for part in text.split('|') {
            let words: Vec<&str> = part.split_whitespace().filter(|w| *w != "--report").collect();
            report |= words.len() < part.split_whitespace().count();
            steps.push(parse_step(&words)?);
        }
        Ok(Command { text: text.to_owned(), steps, report })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_step(words: &[&str]) -> Result<Step, String> {
    let names = || STEPS.iter().map(|s| s.0).collect::<Vec<_>>().join(", ");
    let Some((name, rest)) = words.split_first() else { return Err(format!("a step is one of {}", names())) };
    let known =
        STEPS.iter().find(|s| s.0 == *name).ok_or_else(|| format!("no step `{name}`; there is: {}", names()))?.1;
    let mut target = Target::default();
    let (mut phase, mut rules, mut approximate) = (None, Vec::new(), false);
    let mut words = rest.iter();
    while let Some(option) = words.next() {
        if !known.contains(option) {
            return Err(format!("`{name}` takes no `{option}`; there is: {}, --report", known.join(", ")));
        }
        if *option == "--allow-approximate" {
            approximate = true;
            continue;
        }
        let value = *words.next().ok_or_else(|| format!("`{option}` needs a value"))?;
        match *option {
            "--backend" => target.backend = Some(value.to_owned()),
            "--qconfig" => target.qconfig = Some(value.to_owned()),
            "--mapping" => target.mapping = Some(PathBuf::from(value)),
            "--placement" => {
                target.placement = match value {
                    "quantc" => Placement::Quantc,
                    "pytorch" => Placement::PyTorch,
                    _ => return Err(format!("no placement `{value}`; there is: quantc, pytorch")),
                };
            }
            "--rule" => rules.push(value.to_owned()),
            "--phase" => {
                let found = Phase::ALL.iter().find(|p| p.0 == value);
                let all = || Phase::ALL.iter().map(|p| p.0).collect::<Vec<_>>().join(", ");
                phase = Some(found.ok_or_else(|| format!("no phase `{value}`; there is: {}", all()))?.1);
            }
            _ => {
                let n = value.parse().ok().filter(|n| *n > 0);
                target.samples = n.ok_or_else(|| format!("`{value}` is no number of samples"))?;
            }
        }
    }
    Ok(match *name {
        "canonicalize" => Step::Canonicalize { approximate, target },
        "lower" => Step::Lower(target),
        "rewrite" => {
            let phase = phase.ok_or("`rewrite` needs `--phase`")?;
            Step::Rewrite { phase, rules, approximate, target }
        }
        "prepare" => Step::Prepare(target),
        _ => Step::Convert(target),
    })
}

/// What a step makes of a graph.
pub(super) struct Outcome {
    pub(super) graph: Graph,
    /// What was done and decided.
    pub(super) report: String,
    /// How far the values may be apart by the classes of the rules that were used; `None` if the step is no rewrite.
    pub(super) tolerance: Option<f32>,
}

impl Step {
    /// Runs the step. `ranges` are those of random inputs for calibration, `folder` is where relative paths start.
    pub(super) fn run(
        &self,
        graph: &Graph,
        ranges: &[(String, f32, f32)],
        library: &Library,
        folder: &Path,
    ) -> Result<Outcome, String> {
        match self {
            Step::Canonicalize { approximate, target } => {
                let rules = target.rules(library, *approximate)?;
                let (graph, report) = canonicalize(graph, &rules).map_err(|e| e.to_string())?;
                Ok(rewritten(graph, &report, &rules))
            }
            Step::Lower(target) => {
                let rules = target.rules(library, false)?;
                let (graph, report) = lower_quantized(graph, &rules).map_err(|e| e.to_string())?;
                Ok(rewritten(graph, &report, &rules))
            }
            Step::Rewrite { phase, rules: names, approximate, target } => {
                let mut rules = target.rules(library, *approximate)?;
                let mut wanted: Vec<Arc<str>> = Vec::new();
                for name in names {
                    let named = rules.named(name).map_err(|nearest| {
                        let hint = nearest.map_or(String::new(), |n| format!(" (hint: did you mean `{n}`?)"));
                        format!("there is no rule `{name}`{hint}")
                    })?;
                    wanted.extend(named.into_iter().map(|r| r.name.clone()));
                }
                rules.rules.retain(|r| names.is_empty() || wanted.contains(&r.name));
                let mut report = RewriteReport::default();
                let budget = Budget::default();
                let mut graph = run_phase(graph, &rules, *phase, &budget, &mut report).map_err(|e| e.to_string())?;
                report.folded = fold_constants(&mut graph).map_err(|e| e.to_string())?;
                Ok(rewritten(graph, &report, &rules))
            }
            Step::Prepare(target) => {
                let prepared = target.prepare(graph, library, folder)?;
                let report = decisions(&prepared);
                Ok(Outcome { graph: prepared.graph, report, tolerance: None })
            }
            Step::Convert(target) => {
                let prepared = target.prepare(graph, library, folder)?;
                let mut calibrator = Calibrator::new(&prepared).map_err(|e| e.to_string())?;
                if prepared.needs_calibration() {
                    for sample in 0..target.samples {
                        let inputs = values::inputs(graph, ranges, sample as u64)?;
                        calibrator.observe(&inputs).map_err(|e| e.to_string())?;
                    }
                }
                let qparams = calibrator.finish().map_err(|e| e.to_string())?;
                let converted = convert_to_reference_fx(&prepared, &qparams).map_err(|e| e.to_string())?;
                Ok(Outcome { graph: converted.graph, report: decisions(&prepared), tolerance: None })
            }
        }
    }
}

impl Target {
    /// The rules that run for the backend, or those for every backend.
    fn rules(&self, library: &Library, allow_approximate: bool) -> Result<RuleSet, String> {
        let rules = match &self.backend {
            Some(name) => library.rules_for(library.backend(name).map_err(|e| e.to_string())?),
            None => library.rules.clone(),
        };
        Ok(RuleSet { allow_approximate, ..rules })
    }

    fn prepare(&self, graph: &Graph, library: &Library, folder: &Path) -> Result<PreparedModel, String> {
        let backend = library.backend(self.backend.as_deref().unwrap_or("x86")).map_err(|e| e.to_string())?;
        let mapping = match &self.mapping {
            Some(path) => {
                let path = folder.join(path);
                let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                QConfigMapping::from_json(&text).map_err(|e| format!("{}: {e}", path.display()))?
            }
            None => {
                let name = self.qconfig.as_deref().unwrap_or("x86");
                let names = || qconfig::NAMES.iter().map(|n| n.0).collect::<Vec<_>>().join(", ");
                let found = qconfig::named(name);
                QConfigMapping::default_for(found.ok_or_else(|| format!("no qconfig `{name}`; there is: {}", names()))?)
            }
        };
        prepare_fx_with(graph, &mapping, backend, self.placement).map_err(|e| e.to_string())
    }
}

/// A rewritten graph with what the rules did: one line for each application that had a part in the result.
fn rewritten(graph: Graph, report: &RewriteReport, rules: &RuleSet) -> Outcome {
    let mut text = String::new();
    let mut tolerance = 0.0;
    let mut rest = &report.nodes[..];
    while let Some(first) = rest.first() {
        // The nodes that one application made.
        let n = rest.iter().take_while(|t| t.rule == first.rule && t.replaces == first.replaces).count();
        let (made, after) = rest.split_at(n);
        let names: Vec<String> = made.iter().map(|t| format!("%{}", t.node)).collect();
        text.push_str(&format!("{}: {} of {}\n", names.join(", "), first.rule, first.replaces.join(", ")));
        tolerance += rules.find(&first.rule).map_or(0.0, |r| r.class.tolerance());
        rest = after;
    }
    // A rule that leaves nothing of its own behind, a value in place of a call, has no trace.
    for (name, stats) in report.rules.iter().filter(|(_, stats)| stats.used == 0) {
        tolerance += rules.find(name).map_or(0.0, |r| r.class.tolerance()) * stats.applied as f32;
    }
    for (dropped, kept) in &report.merged {
        text.push_str(&format!("%{dropped} is the same as %{kept}\n"));
    }
    if !report.folded.is_empty() {
        let names: Vec<String> = report.folded.iter().map(|name| format!("%{name}")).collect();
        text.push_str(&format!("computed from constants: {}\n", names.join(", ")));
    }
    if text.is_empty() {
        text.push_str("nothing to do\n");
    }
    Outcome { graph, report: text, tolerance: Some(tolerance) }
}

/// What was decided for each call, and the observers.
fn decisions(prepared: &PreparedModel) -> String {
    let mut text = String::new();
    for node in &prepared.report.nodes {
        text.push_str(&match &node.decision {
            Decision::Quantized { mode, pattern, dtype_config, group, .. } => {
                format!("%{}: {mode}, pattern {pattern}, dtypes {dtype_config}, group %{group}\n", node.name)
            }
            Decision::Float { reason } => format!("%{}: float: {reason}\n", node.name),
        });
    }
    for (id, slot) in prepared.observers.iter().enumerate() {
        text.push_str(&format!("observer {id}: {} on {}\n", slot.name(), slot.values.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_is_not_there_gets_the_nearest_name() {
        let graph = quantc_ir::text::parse("graph g(%x: f32[2]) {\n  return y=%x\n}\n").expect("parses");
        let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
        let run = |rule: &str| {
            let command = Command::parse(&format!("rewrite --phase canonical --rule {rule}")).expect("parses");
            command.steps[0].run(&graph, &[], library, Path::new(".")).map(|outcome| outcome.graph.to_string())
        };
        let error = run("relu-of-rellu").expect_err("there is none");
        assert_eq!(error, "there is no rule `relu-of-rellu` (hint: did you mean `relu-of-relu`?)");
        assert!(run("relu-of-relu").is_ok() && run("relu-of-relu/relu6").is_ok());
    }
}
