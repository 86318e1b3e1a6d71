//! Rules that another rule makes superfluous.

use crate::ast::{Rule, VarId};
use crate::lint::cover::{Guarded, cover};
use crate::print;
use crate::source::QpatError;

pub(super) fn lint(rules: &[Rule]) -> Vec<QpatError> {
    let mut sorted: Vec<&Rule> = rules.iter().collect();
    sorted.sort_by(|a, b| (&a.span.source.name, a.span.start).cmp(&(&b.span.source.name, b.span.start)));
    let mut found = Vec::new();
    for (i, rule) in sorted.iter().enumerate() {
        let others = sorted.iter().enumerate().filter(|(j, o)| *j != i && o.phase == rule.phase);
        for (j, other) in others {
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
