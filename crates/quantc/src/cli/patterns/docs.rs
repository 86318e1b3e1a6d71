//! `quantc patterns docs`: an index, a page for each rule and a page for each backend.

use std::fmt::Write as _;
use std::path::PathBuf;

use quantc::{Error, files};
use quantc_pattern::{
    BackendConfig, BackendPatternConfig, DTypeConfig, DTypeWithConstraints, Library, ObservationType, Phase, Role,
    Rule, family,
};
use quantc_rewrite::example_graphs;

use crate::cli::inputs::PatternsOption;
use crate::cli::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder the pages go to; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    patterns: PatternsOption,
}

/// Runs the command.
///
/// # Errors
/// If the patterns can't be loaded or a page can't be written.
pub fn run(args: &Args) -> Result<(), Error> {
    let library = args.patterns.library()?;
    let dir = &args.output;
    let pages = pages(&library)?;
    for folder in [dir.clone(), dir.join(RULES), dir.join(BACKENDS)] {
        std::fs::create_dir_all(&folder).map_err(|source| Error::Write { path: folder, source })?;
    }
    for (name, text) in &pages {
        files::write(&dir.join(name), |sink| sink.write_all(text.as_bytes()))?;
    }
    // Where to start.
    ui::print(&format!("{}\n", dir.join(&pages[0].0).display()))
}

/// The folder of the pages of rules.
const RULES: &str = "rules";
/// The folder of the pages of backends.
const BACKENDS: &str = "backends";

/// Every page with its file name; the first is the index.
fn pages(library: &Library) -> Result<Vec<(String, String)>, Error> {
    let mut index = "# Patterns\n".to_owned();
    let mut pages = Pages::default();
    for (phase, at) in Phase::ALL {
        let rules: Vec<&Rule> = library.rules.rules.iter().filter(|r| r.phase == *at).collect();
        // Writing to a string cannot fail.
        let _ = write!(index, "\n## Rules of the phase {phase}\n\n{}", pages.rules(&rules, None)?);
    }
    index.push_str("\n## Backends\n\n");
    for backend in &library.backends {
        let text = backend_page(backend, &mut pages)?;
        let path = pages.add(BACKENDS, &backend.name, text);
        let _ = writeln!(index, "- [{}]({path}): {}", backend.name, backend.doc);
    }
    let mut all = pages.0;
    all.insert(0, ("index.md".to_owned(), index));
    Ok(all)
}

/// Pages with their paths.
#[derive(Default)]
struct Pages(Vec<(String, String)>);

impl Pages {
    /// Adds a page; its path. Names of definitions may have characters that names of files may not have, and differ in their case
    /// only.
    fn add(&mut self, folder: &str, name: &str, text: String) -> String {
        let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        let base: String = name.trim_start_matches('.').chars().map(plain).collect();
        let mut path = format!("{folder}/{base}.md");
        let mut n = 1;
        while self.0.iter().any(|(taken, _)| taken.to_lowercase() == path.to_lowercase()) {
            n += 1;
            path = format!("{folder}/{base}-{n}.md");
        }
        self.0.push((path.clone(), text));
        path
    }

    /// Adds a page for each name of a definition, its rows among it; a table of them. `backend` is the one whose rules they are, if
    /// not those for every backend.
    fn rules(&mut self, rules: &[&Rule], backend: Option<&str>) -> Result<String, Error> {
        let mut table = "| rule | class | |\n|---|---|---|\n".to_owned();
        let mut done: Vec<&str> = Vec::new();
        for rule in rules {
            let name = family(&rule.name);
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            let rows: Vec<&Rule> = rules.iter().filter(|r| family(&r.name) == name).copied().collect();
            let file = backend.map_or(name.to_owned(), |backend| format!("{backend}.{name}"));
            let path = self.add(RULES, &file, rule_page(name, &rows, backend)?);
            let link = if backend.is_some() { format!("../{path}") } else { path };
            let _ = writeln!(table, "| [{name}]({link}) | `{}` | {} |", rule.class, rule.doc.replace('|', "\\|"));
        }
        Ok(table)
    }
}

/// The page of a name: each definition that has it, the rows of one together.
fn rule_page(name: &str, rows: &[&Rule], backend: Option<&str>) -> Result<String, Error> {
    let mut text = format!("# {name}\n");
    let mut done: Vec<&Rule> = Vec::new();
    for rule in rows {
        if done.iter().all(|d| d.span != rule.span) {
            let same: Vec<&Rule> = rows.iter().filter(|r| r.span == rule.span).copied().collect();
            text.push_str(&entry(rule, &same, backend)?);
            done.push(rule);
        }
    }
    Ok(text)
}

fn entry(rule: &Rule, rows: &[&Rule], backend: Option<&str>) -> Result<String, Error> {
    let mut text = format!("\n{}\n\n- phase: {}\n", rule.doc, rule.phase.name());
    if let Some(backend) = backend {
        let _ = writeln!(text, "- only for the backend {backend}");
    }
    let _ = writeln!(text, "- class: `{}`\n- defined: `{}`", rule.class, rule.span);
    if rows.len() > 1 {
        let names: Vec<String> = rows.iter().map(|r| format!("`{}`", r.name)).collect();
        let _ = writeln!(text, "- rules: {} (below: the first)", names.join(", "));
    }
    let _ = write!(text, "\n```text\n{}", rule.pattern);
    for condition in rule.conditions_text() {
        let _ = write!(text, "\n  when {condition}");
    }
    let _ = writeln!(text, "\n=> {}\n```", rule.template_text());
    for example in &rule.examples {
        let (before, after) = example_graphs(example)
            .map_err(|e| Error::Data(format!("{}: example of `{}`: {e}", example.span, rule.name)))?;
        let _ = writeln!(text, "\n```text\n{before}```\n\nbecomes\n\n```text\n{after}```");
    }
    Ok(text)
}

fn backend_page(backend: &BackendConfig, pages: &mut Pages) -> Result<String, Error> {
    let mut text = format!("# Backend {}\n\n{}\n\n## Types\n\n", backend.name, backend.doc);
    text.push_str("| dtype-config | input | output | weight | bias | |\n|---|---|---|---|---|---|\n");
    for config in &backend.dtype_configs {
        text.push_str(&type_row(config));
    }
    let mut done: Vec<&BackendPatternConfig> = Vec::new();
    text.push_str("\n## Patterns\n");
    for pattern in &backend.patterns {
        if done.iter().any(|d| d.span == pattern.span) {
            continue;
        }
        let rows: Vec<_> = backend.patterns.iter().filter(|p| p.span == pattern.span).collect();
        text.push_str(&pattern_entry(pattern, &rows));
        done.push(pattern);
    }
    if !backend.unsupported.is_empty() {
        text.push_str("\n## What stays float\n\n| operator | why |\n|---|---|\n");
        for (op, unsupported) in &backend.unsupported {
            let _ = writeln!(text, "| `{op}` | {} |", unsupported.reason);
        }
    }
    if !backend.rules.is_empty() {
        let table = pages.rules(&backend.rules.iter().collect::<Vec<_>>(), Some(&backend.name))?;
        let _ = write!(text, "\n## Rules of its own\n\n{table}");
    }
    if !backend.without_rules.is_empty() {
        let _ = writeln!(text, "\n## Rules it does without\n\n{}", backend.without_rules.join(", "));
    }
    Ok(text)
}

fn type_row(config: &DTypeConfig) -> String {
    let constraint = |c: &Option<DTypeWithConstraints>| c.as_ref().map_or(String::new(), describe);
    let bias = config.bias.map_or(String::new(), |b| b.to_string());
    let (input, output, weight) = (constraint(&config.input), constraint(&config.output), constraint(&config.weight));
    let dynamic = if config.dynamic { "dynamic" } else { "" };
    format!("| `{}` | {input} | {output} | {weight} | {bias} | {dynamic} |\n", config.name)
}

fn describe(c: &DTypeWithConstraints) -> String {
    let mut text = c.dtype.to_string();
    let int = |name: &str, v: Option<i32>| v.map_or(String::new(), |v| format!(", {name} {v}"));
    let real = |name: &str, v: Option<f32>| v.map_or(String::new(), |v| format!(", {name} {v:e}"));
    text.push_str(&int("at least", c.quant_min));
    text.push_str(&int("at most", c.quant_max));
    text.push_str(&real("scale at least", c.scale_min));
    text.push_str(&real("scale at most", c.scale_max));
    text.push_str(&real("scale", c.scale_exact));
    text.push_str(&int("zero point", c.zero_point_exact));
    text
}

fn pattern_entry(pattern: &BackendPatternConfig, rows: &[&BackendPatternConfig]) -> String {
    let family = family(&pattern.name);
    let mut text = format!("\n### {family}\n\n{}\n\n", pattern.doc);
    let observation = ObservationType::ALL.iter().find(|o| o.1 == pattern.observation_type).map_or("", |o| o.0);
    let mut dtypes: Vec<&str> = pattern.dtype_configs.iter().map(|c| &*c.name).collect();
    dtypes.dedup();
    let _ = writeln!(text, "- observation: `{observation}`\n- types: {}", dtypes.join(", "));
    let role = |role: Role| {
        let of = pattern.roles.iter().filter(|r| r.1 == role).map(|r| format!("`?{}`", pattern.pattern.vars[r.0].name));
        of.collect::<Vec<_>>().join(", ")
    };
    for (name, of) in [("inputs", Role::Input), ("weight", Role::Weight), ("bias", Role::Bias)] {
        let list = role(of);
        if !list.is_empty() {
            let _ = writeln!(text, "- {name}: {list}");
        }
    }
    for fixed in &pattern.fixed_qparams {
        let (scale, zero_point) = (fixed.scale, fixed.zero_point);
        let _ = writeln!(text, "- output as {}: scale {scale}, zero point {zero_point}", fixed.dtype);
    }
    let _ = writeln!(text, "- defined: `{}`", pattern.span);
    if rows.len() > 1 {
        let names: Vec<String> = rows.iter().map(|r| format!("`{}`", r.name)).collect();
        let _ = writeln!(text, "- patterns: {} (below: the first)", names.join(", "));
    }
    let _ = write!(text, "\n```text\n{}", pattern.pattern_text());
    for condition in quantc_pattern::print::conditions(&pattern.conditions, &pattern.pattern.vars) {
        let _ = write!(text, "\n  when {condition}");
    }
    text + "\n```\n"
}
