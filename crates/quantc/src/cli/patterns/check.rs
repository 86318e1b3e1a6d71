//! `quantc patterns check`.

use std::path::PathBuf;

use quantc::Error;
use quantc_pattern::{Library, QpatError, QpatErrors, Rule, RuleSet, Span, builtin_sources};
use quantc_rewrite::{check_examples, unreachable};

use crate::cli::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pattern files and folders of them; the embedded ones if left out
    paths: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// With everything that is wrong.
pub fn run(args: &Args) -> Result<(), Error> {
    let own;
    let (library, names) = if args.paths.is_empty() {
        (Library::builtin()?, builtin_sources().iter().map(|s| s.name.clone()).collect())
    } else {
        own = Library::with_paths(&args.paths)?;
        (&own.0, own.1.clone())
    };
    let mine = |name: &str| names.iter().any(|n| n == name);
    let mut found: Vec<QpatError> = library.lint().into_iter().filter(|e| mine(&e.span.source.name)).collect();
    let mut from_examples: Vec<Span> = Vec::new();
    let (mut rules, mut examples, mut patterns) = (0, 0, 0);
    let mut check = |rule: &Rule, all: &RuleSet| {
        if mine(&rule.span.source.name) {
            rules += 1;
            examples += rule.examples.len();
            let wrong = check_examples(rule);
            let wrong = if wrong.is_empty() { unreachable(rule, all).into_iter().collect() } else { wrong };
            // One mistake may be in all rows of `:for`.
            let new = wrong.into_iter().filter(|e| !from_examples.contains(&e.span)).collect::<Vec<_>>();
            from_examples.extend(new.iter().map(|e| e.span.clone()));
            found.extend(new);
        }
    };
    library.rules.rules.iter().for_each(|rule| check(rule, &library.rules));
    let backends: Vec<_> = library.backends.iter().filter(|b| mine(&b.span.source.name)).collect();
    for backend in &backends {
        let all = library.rules_for(backend);
        backend.rules.iter().for_each(|rule| check(rule, &all));
        patterns += backend.patterns.len();
    }
    if !found.is_empty() {
        let count = found.len();
        let things = if count == 1 { "thing is" } else { "things are" };
        found.sort_by_key(|e| (names.iter().position(|n| *n == e.span.source.name), e.span.start));
        return Err(Error::Data(format!("{count} {things} wrong\n\n{}", QpatErrors(found))));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    ui::print(&format!(
        "{}: {} with {} that hold, {} with {}\n",
        count(names.len(), "file"),
        count(rules, "rule"),
        count(examples, "example"),
        count(backends.len(), "backend"),
        count(patterns, "pattern"),
    ))
}
