//! `quantc patterns check`.

use std::path::PathBuf;

use quantc::Error;
use quantc_pattern::{Library, Rule, RuleSet, builtin_sources};
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
    let mut found: Vec<String> =
        library.lint().iter().filter(|e| mine(&e.span.source.name)).map(ToString::to_string).collect();
    let (mut rules, mut examples, mut patterns) = (0, 0, 0);
    let mut check = |rule: &Rule, all: &RuleSet| {
        if mine(&rule.span.source.name) {
            rules += 1;
            examples += rule.examples.len();
            let wrong = check_examples(rule);
            if wrong.is_empty() {
                found.extend(unreachable(rule, all).map(|message| format!("{}: {message}", rule.span)));
            }
            found.extend(wrong);
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
        return Err(Error::Data(format!("{count} {things} wrong\n\n{}", found.join("\n\n"))));
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
