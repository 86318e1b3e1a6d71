//! From S-expressions to checked definitions.

mod backend;
mod dtypes;
mod expr;
mod form;
mod pattern;
mod rule;
mod scope;
mod template;

pub(crate) use dtypes::unsatisfiable;

use std::sync::Arc;

use quantc_ops::names::suggest;

use crate::ast::{Phase, Rule};
use crate::backend::BackendConfig;
use crate::parse::form::Kernels;
use crate::reader::{Sexp, read};
use crate::source::{QpatError, Source};

/// Checks the forms of several files together: a backend may extend one of another file.
pub(crate) fn check(sources: &[Arc<Source>]) -> (Vec<Rule>, Vec<BackendConfig>, Vec<QpatError>) {
    let mut errors = Vec::new();
    let files: Vec<Vec<Sexp>> = sources.iter().map(|source| read(source, &mut errors)).collect();
    let mut rules: Vec<Rule> = Vec::new();
    let mut raw = Vec::new();
    for forms in &files {
        let mut phase = None;
        for form in forms {
            if let Err(found) = top_level(form, &mut phase, &mut rules, &mut raw) {
                errors.extend(found);
            }
        }
    }
    let backends = backends(&raw, &rules, &mut errors);
    // In the order of the files and of their lines, not of the checks.
    let file = |e: &QpatError| sources.iter().position(|s| *s == e.span.source);
    errors.sort_by_key(|e| (file(e), e.span.start));
    (rules, backends, errors)
}

/// `(phase NAME)`.
fn phase(form: &Sexp, args: &[Sexp]) -> Result<Phase, QpatError> {
    let found = match args {
        [name] => Phase::ALL.iter().find(|(n, _)| Some(*n) == name.symbol()),
        _ => None,
    };
    let names: Vec<_> = Phase::ALL.iter().map(|p| p.0).collect();
    found.map(|f| f.1).ok_or_else(|| form.error("no such phase").hint(format!("one of {}", names.join(", "))))
}

fn top_level<'a>(
    form: &'a Sexp,
    at: &mut Option<Phase>,
    rules: &mut Vec<Rule>,
    raw: &mut Vec<backend::RawBackend<'a>>,
) -> Result<(), Vec<QpatError>> {
    let hint = "a file holds (phase ..), (rule ..) and (backend ..) forms";
    let Some((head, args)) = form.list().and_then(|l| l.split_first()) else {
        return Err(vec![form.expected("a form").hint(hint)]);
    };
    match head.symbol() {
        Some("phase") => {
            *at = Some(phase(form, args).map_err(|e| vec![e])?);
            Ok(())
        }
        Some("rule") => {
            let phase = at.ok_or_else(|| {
                let error = form.error("which phase does this rule belong to?");
                vec![error.hint("start the file with (phase canonical)")]
            })?;
            for new in rule::rules(form, args, phase, &Kernels::new())? {
                if let Some(old) = rules.iter().find(|r| r.name == new.name) {
                    let error = form.error(format!("there is already a rule `{}`", new.name));
                    return Err(vec![error.hint(format!("the other one is at {}", old.span))]);
                }
                rules.push(new);
            }
            Ok(())
        }
        Some("backend") => {
            let new = backend::raw(form, args).map_err(|e| vec![e])?;
            if let Some(old) = raw.iter().find(|b| b.name == new.name) {
                let error = form.error(format!("there is already a backend `{}`", new.name));
                return Err(vec![error.hint(format!("the other one is at {}", old.at.span))]);
            }
            raw.push(new);
            Ok(())
        }
        _ => Err(vec![head.error(format!("{} is no form", head.describe())).hint(hint)]),
    }
}

/// Checks backends, each with what it extends. What is wrong with a base is said once, there.
fn backends(raw: &[backend::RawBackend<'_>], rules: &[Rule], errors: &mut Vec<QpatError>) -> Vec<BackendConfig> {
    let mut out = Vec::new();
    for own in raw {
        let chain = match chain(own, raw) {
            Ok(chain) => chain,
            Err(error) => {
                if !errors.contains(&error) {
                    errors.push(error);
                }
                continue;
            }
        };
        match backend::backend(&chain, rules) {
            Ok(config) => out.push(config),
            Err(mut found) => {
                found.retain(|e| !errors.contains(e));
                errors.extend(found);
            }
        }
    }
    out
}

/// The backends that one extends, the furthest first, and itself last.
fn chain<'r, 'a>(
    own: &'r backend::RawBackend<'a>,
    raw: &'r [backend::RawBackend<'a>],
) -> Result<Vec<&'r backend::RawBackend<'a>>, QpatError> {
    let mut chain = vec![own];
    let mut at = own;
    while let Some(base) = at.extends {
        let name = base.symbol().unwrap_or_default();
        let Some(next) = raw.iter().find(|b| &*b.name == name) else {
            let error = base.error(format!("there is no backend {} to extend", base.describe()));
            return Err(match suggest(name, raw.iter().map(|b| &*b.name)) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        };
        if let Some(start) = chain.iter().position(|b| b.name == next.name) {
            return Err(cycle(&chain[start..]));
        }
        chain.push(next);
        at = next;
    }
    chain.reverse();
    Ok(chain)
}

/// The error of backends each of which extends the next: the same wherever the cycle is entered.
fn cycle(backends: &[&backend::RawBackend<'_>]) -> QpatError {
    let at = |b: &backend::RawBackend<'_>| (b.at.span.source.name.clone(), b.at.span.start);
    let first = (0..backends.len()).min_by_key(|i| at(backends[*i])).unwrap_or_default();
    let names = backends.iter().cycle().skip(first).take(backends.len() + 1).map(|b| format!("`{}`", b.name));
    let text = names.collect::<Vec<_>>().join(" extends ");
    let base = backends[first].extends.unwrap_or(backends[first].at);
    base.error(format!("{text}: that goes round")).hint("a backend extends one that is complete without it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ObservationType;

    /// The grammar page has every keyword, phase and choice that the parser knows.
    #[test]
    fn the_grammar_page_is_complete() {
        let page = include_str!("../../../../docs/qpat-grammar.md");
        let keywords = [rule::KEYWORDS, backend::KEYWORDS, dtypes::CONFIG, dtypes::CONSTRAINTS].concat();
        let mut wanted: Vec<String> = keywords.into_iter().map(|k| format!("\":{k}\"")).collect();
        wanted.extend(Phase::ALL.iter().map(|p| format!("\"{}\"", p.0)));
        wanted.extend(ObservationType::ALL.iter().map(|o| format!("\"{}\"", o.0)));
        let missing: Vec<_> = wanted.iter().filter(|w| !page.contains(*w)).collect();
        assert!(missing.is_empty(), "docs/qpat-grammar.md lacks {missing:?}");
    }
}
