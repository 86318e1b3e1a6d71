//! `quantc patterns list`.

use quantc::Error;
use quantc_pattern::{BackendConfig, BackendPatternConfig, Library, Rule};
use serde_json::{Map, Value, json};

use crate::cli::inputs::PatternsOption;
use crate::cli::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    patterns: PatternsOption,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the patterns can't be loaded.
pub fn run(args: &Args) -> Result<(), Error> {
    let library = args.patterns.library()?;
    if args.json {
        return ui::print_json(&document(&library));
    }
    let mut rows = vec![["rule", "phase", "class"].map(str::to_owned).to_vec()];
    for rule in &library.rules.rules {
        rows.push(vec![rule.name.to_string(), rule.phase.name().to_owned(), rule.class.to_string()]);
    }
    let mut text = ui::table(&rows);
    for backend in &library.backends {
        let mut rows = vec![vec![format!("backend {}", backend.name), "calls".to_owned(), "dtypes".to_owned()]];
        for pattern in &backend.patterns {
            rows.push(vec![pattern.name.to_string(), pattern.size().to_string(), dtypes(pattern).join(" ")]);
        }
        text.push_str(&format!("\n{}", ui::table(&rows)));
        for rule in &backend.rules {
            text.push_str(&format!("{}  rule of {}, {}\n", rule.name, rule.phase.name(), rule.class));
        }
    }
    ui::print(&text)
}

/// The names of a pattern's dtype configurations, each once.
fn dtypes(pattern: &BackendPatternConfig) -> Vec<&str> {
    let mut names: Vec<&str> = pattern.dtype_configs.iter().map(|c| &*c.name).collect();
    names.dedup();
    names
}

fn rule(rule: &Rule) -> Value {
    json!({
        "name": *rule.name,
        "phase": rule.phase.name(),
        "class": rule.class.to_string(),
        "tolerance": rule.class.tolerance(),
        "doc": rule.doc,
        "match": rule.pattern.to_string(),
        "when": rule.conditions_text(),
        "replace": rule.template_text(),
        "examples": rule.examples.len(),
        "defined": rule.span.to_string(),
    })
}

fn backend(backend: &BackendConfig) -> Value {
    let pattern = |p: &BackendPatternConfig| {
        json!({
            "name": *p.name,
            "doc": p.doc,
            "match": p.pattern_text(),
            "when": quantc_pattern::print::conditions(&p.conditions, &p.pattern.vars),
            "dtypes": dtypes(p),
            "calls": p.size(),
            "defined": p.span.to_string(),
        })
    };
    json!({
        "name": *backend.name,
        "doc": backend.doc,
        "patterns": backend.patterns.iter().map(pattern).collect::<Vec<_>>(),
        "rules": backend.rules.iter().map(rule).collect::<Vec<_>>(),
        "without_rules": backend.without_rules.iter().map(|name| &**name).collect::<Vec<_>>(),
        "unsupported": backend.unsupported.iter().map(|(op, u)| ((*op).to_owned(), json!(u.reason))).collect::<Map<_, _>>(),
        "defined": backend.span.to_string(),
    })
}

fn document(library: &Library) -> Value {
    json!({
        "rules": library.rules.rules.iter().map(rule).collect::<Vec<_>>(),
        "backends": library.backends.iter().map(backend).collect::<Vec<_>>(),
    })
}
