//! Rules that another rule makes superfluous.

use crate::ast::{Rule, VarId};
use crate::lint::cover::{Guarded, cover};
use crate::print;
use crate::source::QpatError;

/// What is superfluous among `rules`, or between one of them and one of `beside`.
pub(super) fn lint(rules: &[Rule], beside: &[&Rule]) -> Vec<QpatError> {
    let own = rules.iter().map(|r| (r, true));
    let mut sorted: Vec<(&Rule, bool)> = own.chain(beside.iter().map(|r| (*r, false))).collect();
    // Embedded files first, whatever the others are called: they were there before.
    sorted.sort_by(|a, b| place(a.0).cmp(&place(b.0)));
    let mut found = Vec::new();
    for (i, &(rule, own)) in sorted.iter().enumerate() {
        let others = sorted.iter().enumerate().filter(|(j, o)| *j != i && o.0.phase == rule.phase && (own || o.1));
        for (j, &(other, _)) in others {
            let Some(error) = superfluous(rule, other) else { continue };
            // Of two that cover each other, only the later one is reported.
            if j > i && superfluous(other, rule).is_some() {
                continue;
            }
            found.push(error);
            break;
        }
    }
    found
}

fn place(rule: &Rule) -> (bool, &str, usize) {
    let source = &rule.span.source;
    (!source.embedded, &source.name, rule.span.start)
}

/// A message if `other` does all that `rule` does.
fn superfluous(rule: &Rule, other: &Rule) -> Option<QpatError> {
    if rule.pattern.root == other.pattern.root && same_conditions(rule, other) {
        let text = format!("rule `{}` has the left side and the conditions of `{}`", rule.name, other.name);
        let hint = format!("the other one is at {}: one of them is never needed", other.span);
        return Some(QpatError::new(&rule.span, text).hint(hint));
    }
    let general = Guarded { pattern: &other.pattern, conditions: &other.conditions };
    let special = Guarded { pattern: &rule.pattern, conditions: &rule.conditions };
    let cover = cover(general, special, &rule.pattern.root)?;
    let names = |v: VarId| format!("?{}", rule.pattern.vars[v].name);
    let by_other = print::template(&other.template, &|v| cover.name(v, &names).unwrap_or_default());
    (by_other == rule.template_text()).then(|| {
        let text = format!("rule `{}` is a special case of `{}`, which gives the same", rule.name, other.name);
        QpatError::new(&rule.span, text).hint(format!("the other one is at {}", other.span))
    })
}

/// Whether the conditions are the same, with variables numbered by their first occurrence.
fn same_conditions(a: &Rule, b: &Rule) -> bool {
    let text = |r: &Rule| {
        let mut all: Vec<String> = r.conditions.iter().map(|c| print::expr(c, &|v| format!("?{v}"))).collect();
        all.sort();
        all
    };
    text(a) == text(b)
}
