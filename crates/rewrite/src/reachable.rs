//! Whether a rule's left side ever gets to it: earlier phases, constant folding and the other rules of its phase may leave
//! nothing of the form it looks for.

use std::collections::BTreeSet;

use quantc_pattern::{Example, Phase, QpatError, Rule, RuleClass, RuleSet};

use crate::examples::example_graph;
use crate::fold::fold_constants;
use crate::report::{Budget, RewriteReport};
use crate::run_phase;

/// A message if the rule matches in none of its examples once everything that runs before it, and with it, has run.
pub fn unreachable(rule: &Rule, rules: &RuleSet) -> Option<QpatError> {
    // An approximate rule is for those who allow them.
    let allow_approximate = rules.allow_approximate || matches!(rule.class, RuleClass::Approximate { .. });
    let rules = &RuleSet { allow_approximate, ..rules.clone() };
    let mut first = None;
    for example in &rule.examples {
        match reaches(rule, rules, example) {
            // An example that is wrong is reported as such.
            Ok(None) | Err(_) => return None,
            Ok(Some(message)) => first = first.or(Some(message)),
        }
    }
    first
}

fn reaches(rule: &Rule, rules: &RuleSet, example: &Example) -> Result<Option<QpatError>, String> {
    let mut graph = example_graph(&example.before, &example.inputs, Some(1))?;
    let folded = fold_constants(&mut graph).map_err(|e| e.to_string())?;
    let mut used = BTreeSet::new();
    for (_, phase) in Phase::ALL {
        let mut report = RewriteReport::default();
        graph = run_phase(&graph, rules, *phase, &Budget::default(), &mut report).map_err(|e| e.to_string())?;
        if *phase == rule.phase {
            if report.rules.get(&rule.name).is_some_and(|stats| stats.matched > 0) {
                return Ok(None);
            }
            break;
        }
        used.extend(report.rules.iter().filter(|(_, stats)| stats.matched > 0).map(|(name, _)| name.to_string()));
        fold_constants(&mut graph).map_err(|e| e.to_string())?;
    }
    let (why, hint) = if !used.is_empty() {
        let names = used.into_iter().collect::<Vec<_>>().join(", ");
        (format!("earlier phases rewrite its left side: {names}"), "match what those rules make of it")
    } else if !folded.is_empty() {
        ("its left side is computed from constants before it can match".to_owned(), "constants are evaluated anyway")
    } else {
        let why = "its left side does not survive the rewriting before it".to_owned();
        (why, "match what `quantc rewrite` makes of it")
    };
    Ok(Some(QpatError::new(&rule.span, format!("rule `{}` never matches: {why}", rule.name)).hint(hint)))
}
