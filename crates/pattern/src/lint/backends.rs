//! Patterns and dtype configurations of a backend that are never chosen, and patterns that contradict what else it says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ast::{Pat, Phase, Rule, RuleClass, family};
use crate::backend::{BackendConfig, BackendPatternConfig, DTypeConfig, DTypeWithConstraints, Role};
use crate::lint::cover::{Guarded, cover};
use crate::source::QpatError;

pub(super) fn lint(backend: &BackendConfig, rules: &[Rule]) -> Vec<QpatError> {
    let mut found = Vec::new();
    // Dtype configurations are shared by patterns: each is reported once.
    let mut reported = Vec::new();
    for (i, pattern) in backend.patterns.iter().enumerate() {
        let earlier = backend.patterns[..i].iter();
        found.extend(earlier.filter_map(|other| shadowed(backend, pattern, other)).take(1));
        found.extend(rules.iter().filter_map(|rule| rewritten(pattern, rule)).take(1));
        found.extend(unsupported(backend, pattern));
        found.extend(weight(pattern));
        if let Some((config, message)) = never_chosen(pattern)
            && !reported.contains(&config)
        {
            reported.push(config);
            found.push(message);
        }
    }
    for config in &backend.dtype_configs {
        let uses = |p: &BackendPatternConfig| p.dtype_configs.iter().any(|c| c.name == config.name);
        if !backend.patterns.iter().any(uses) {
            let text = format!("no pattern of `{}` has the dtype-config `{}`", backend.name, config.name);
            found.push(QpatError::new(&backend.span, text).hint(format!(":dtypes ({})", config.name)));
        }
    }
    found
}

fn guarded(pattern: &BackendPatternConfig) -> Guarded<'_> {
    Guarded { pattern: &pattern.pattern, conditions: &pattern.conditions }
}

/// A message if `other`, which is declared before, matches the same calls wherever `pattern` does.
fn shadowed(
    backend: &BackendConfig,
    pattern: &BackendPatternConfig,
    other: &BackendPatternConfig,
) -> Option<QpatError> {
    // A match with more calls wins, so only one of equal size can hide another.
    if other.size() != pattern.size() {
        return None;
    }
    cover(guarded(other), guarded(pattern), &pattern.pattern.root)?;
    let text = format!(
        "pattern `{}` of `{}` is never chosen: `{}` matches wherever it does and comes first",
        pattern.name, backend.name, other.name
    );
    Some(QpatError::new(&pattern.span, text).hint(format!("the other one is at {}", other.span)))
}

/// A message if a canonical rule replaces what the pattern matches before any backend sees it.
fn rewritten(pattern: &BackendPatternConfig, rule: &Rule) -> Option<QpatError> {
    if rule.phase != Phase::Canonical || matches!(rule.class, RuleClass::Approximate { .. }) {
        return None;
    }
    let general = Guarded { pattern: &rule.pattern, conditions: &rule.conditions };
    within(general, guarded(pattern), &pattern.pattern.root).then(|| {
        let text = format!(
            "pattern `{}` never matches: the canonical rule `{}` rewrites what it looks for",
            pattern.name, rule.name
        );
        let hint = format!("match what the rule makes of it: {}", rule.template_text());
        QpatError::new(&pattern.span, text).hint(hint)
    })
}

/// Whether a rule's left side matches at a part of the pattern, or below it.
fn within(rule: Guarded<'_>, pattern: Guarded<'_>, at: &Pat) -> bool {
    cover(rule, pattern, at).is_some()
        || match at {
            Pat::Call(call) => call.inputs.iter().chain(&call.rest).any(|input| within(rule, pattern, input)),
            Pat::Either(pats) => pats.iter().all(|p| within(rule, pattern, p)),
            Pat::Output { of, .. } => within(rule, pattern, of),
            _ => false,
        }
}

/// The first dtype configuration that an earlier alternative of the pattern always preempts, and the message.
fn never_chosen(pattern: &BackendPatternConfig) -> Option<(Arc<str>, QpatError)> {
    let configs = &pattern.dtype_configs;
    let (i, later) = configs.iter().enumerate().find(|(i, later)| configs[..*i].iter().any(|c| preempts(c, later)))?;
    let text = format!(
        "dtype-config `{}` (alternative {} of pattern `{}`) is never chosen: one before it accepts all that it does",
        later.name,
        i + 1,
        pattern.name
    );
    Some((later.name.clone(), QpatError::new(&pattern.span, text).hint("put the narrower one first")))
}

/// A message if the backend says that it never runs an operator of the pattern quantized.
fn unsupported(backend: &BackendConfig, pattern: &BackendPatternConfig) -> Option<QpatError> {
    let ops = pattern.ops();
    let (op, unsupported) = backend.unsupported.iter().find(|(name, _)| ops.iter().any(|op| op.name() == **name))?;
    let text = format!("`{op}` never runs quantized on `{}`, but its pattern `{}` does", backend.name, pattern.name);
    let hint =
        format!("(remove {}), or take `{op}` out here; the pattern is at {}", family(&pattern.name), pattern.span);
    Some(QpatError::new(&unsupported.span, text).hint(hint))
}

/// A message if the pattern names a weight and none of its configurations has a type for it, or the other way round.
fn weight(pattern: &BackendPatternConfig) -> Option<QpatError> {
    let configs = &pattern.dtype_configs;
    let named = pattern.roles.iter().find(|r| r.1 == Role::Weight).map(|r| &pattern.pattern.vars[r.0].name);
    let (text, hint) = match named {
        Some(var) if configs.iter().all(|c| c.weight.is_none()) => (
            format!("no dtype-config of pattern `{}` has a type for its weight `?{var}`", pattern.name),
            ":weight i8 in one",
        ),
        None if configs.iter().all(|c| c.weight.is_some()) => (
            format!("every dtype-config of pattern `{}` has a type for a weight, which it does not name", pattern.name),
            "name the variable, :weight ?w, or use a dtype-config without a weight",
        ),
        _ => return None,
    };
    Some(QpatError::new(&pattern.span, text).hint(hint))
}

/// Fixed parameters of a type that the output of the pattern never has: in no backend that has the pattern.
pub(super) fn fixed_qparams(backends: &[BackendConfig]) -> Vec<QpatError> {
    let patterns = || backends.iter().flat_map(|b| &b.patterns);
    let mut found = Vec::new();
    for pattern in patterns() {
        for fixed in &pattern.fixed_qparams {
            let configs = patterns().filter(|p| p.span == pattern.span).flat_map(|p| &p.dtype_configs);
            let outputs: Vec<&DTypeWithConstraints> = configs.filter_map(|c| c.output.as_ref()).collect();
            if outputs.iter().all(|o| o.dtype != fixed.dtype) {
                let text = format!(
                    "pattern `{}` fixes the parameters of {}, which none of its dtype-configs has as output",
                    pattern.name, fixed.dtype
                );
                let has: BTreeSet<String> = outputs.iter().map(|o| o.dtype.to_string()).collect();
                let hint = format!("its outputs are {}", has.into_iter().collect::<Vec<_>>().join(", "));
                found.push(QpatError::new(&pattern.span, text).hint(hint));
            }
        }
    }
    found
}

fn preempts(earlier: &DTypeConfig, later: &DTypeConfig) -> bool {
    let looser = |a: &Option<DTypeWithConstraints>, b: &Option<DTypeWithConstraints>| match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => {
            a.dtype == b.dtype
                && a.quant_min.is_none_or(|a| b.quant_min.is_some_and(|b| a <= b))
                && a.quant_max.is_none_or(|a| b.quant_max.is_some_and(|b| a >= b))
                && a.scale_min.is_none_or(|a| b.scale_min.is_some_and(|b| a <= b))
                && a.scale_max.is_none_or(|a| b.scale_max.is_some_and(|b| a >= b))
                && a.scale_exact.is_none_or(|a| b.scale_exact == Some(a))
                && a.zero_point_exact.is_none_or(|a| b.zero_point_exact == Some(a))
        }
    };
    earlier.mode() == later.mode()
        && looser(&earlier.input, &later.input)
        && looser(&earlier.weight, &later.weight)
        && looser(&earlier.output, &later.output)
}
