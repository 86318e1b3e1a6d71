//! From S-expressions to checked definitions.

mod backend;
mod expr;
mod form;
mod pattern;
mod rule;
mod scope;
mod template;

use std::sync::Arc;

use crate::ast::{Phase, Rule};
use crate::backend::BackendConfig;
use crate::reader::{Sexp, read};
use crate::source::{QpatError, Source, suggest};

/// Checks the forms of several files together: a backend may extend one of another file.
pub(crate) fn check(sources: &[Arc<Source>]) -> (Vec<Rule>, Vec<BackendConfig>, Vec<QpatError>) {
    let mut errors = Vec::new();
    let mut files: Vec<Vec<Sexp>> = Vec::new();
    for source in sources {
        match read(source) {
            Ok(forms) => files.push(forms),
            Err(e) => errors.push(e),
        }
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut raw = Vec::new();
    for forms in &files {
        let mut phase = None;
        for form in forms {
            if let Err(e) = top_level(form, &mut phase, &mut rules, &mut raw) {
                errors.push(e);
            }
        }
    }
    let backends = backends(&raw, &mut errors);
    (rules, backends, errors)
}

fn top_level<'a>(
    form: &'a Sexp,
    phase: &mut Option<Phase>,
    rules: &mut Vec<Rule>,
    raw: &mut Vec<backend::RawBackend<'a>>,
) -> Result<(), QpatError> {
    let hint = "a file holds (phase ..), (rule ..) and (backend ..) forms";
    let Some((head, args)) = form.list().and_then(|l| l.split_first()) else {
        return Err(form.expected("a form").hint(hint));
    };
    match head.symbol() {
        Some("phase") => {
            let found = match args {
                [name] => Phase::ALL.iter().find(|(n, _)| Some(*n) == name.symbol()),
                _ => None,
            };
            let names: Vec<_> = Phase::ALL.iter().map(|p| p.0).collect();
            *phase =
                Some(found.ok_or_else(|| form.error("no such phase").hint(format!("one of {}", names.join(", "))))?.1);
            Ok(())
        }
        Some("rule") => {
            let phase = phase.ok_or_else(|| {
                form.error("which phase does this rule belong to?").hint("start the file with (phase canonical)")
            })?;
            for new in rule::rules(form, args, phase)? {
                if let Some(old) = rules.iter().find(|r| r.name == new.name) {
                    let error = form.error(format!("there is already a rule `{}`", new.name));
                    return Err(error.hint(format!("the other one is at {}", old.span)));
                }
                rules.push(new);
            }
            Ok(())
        }
        Some("backend") => {
            let new = backend::raw(form, args)?;
            if let Some(old) = raw.iter().find(|b| b.name == new.name) {
                let error = form.error(format!("there is already a backend `{}`", new.name));
                return Err(error.hint(format!("the other one is at {}", old.at.span)));
            }
            raw.push(new);
            Ok(())
        }
        _ => Err(head.error(format!("{} is no form", head.describe())).hint(hint)),
    }
}

/// Checks backends, bases first.
fn backends(raw: &[backend::RawBackend<'_>], errors: &mut Vec<QpatError>) -> Vec<BackendConfig> {
    let mut done: Vec<Option<BackendConfig>> = raw.iter().map(|_| None).collect();
    let mut left: Vec<usize> = (0..raw.len()).collect();
    loop {
        let before = left.len();
        left.retain(|&i| {
            let base = raw[i].extends.and_then(Sexp::symbol).map(|name| raw.iter().position(|b| &*b.name == name));
            let base = match base {
                None => None,
                Some(Some(b)) if done[b].is_some() => done[b].as_ref(),
                _ => return true,
            };
            match backend::backend(&raw[i], base) {
                Ok(config) => done[i] = Some(config),
                Err(found) => errors.extend(found),
            }
            false
        });
        if left.len() == before {
            break;
        }
    }
    for i in left {
        let Some(base) = raw[i].extends else { continue };
        let name = base.symbol().unwrap_or_default();
        // A base that has errors of its own is reported there.
        if raw.iter().any(|b| &*b.name == name) && !errors.is_empty() {
            continue;
        }
        let error = base.error(format!("there is no backend {} to extend, or they extend each other", base.describe()));
        errors.push(match suggest(name, raw.iter().map(|b| &*b.name)) {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    done.into_iter().flatten().collect()
}
