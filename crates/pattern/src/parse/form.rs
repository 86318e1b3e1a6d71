//! Forms with keyword arguments.

use std::collections::HashMap;

use quantc_ops::names::suggest;

use crate::reader::{Kind, Sexp};
use crate::source::{QpatError, Span};

/// `(head positional ... :keyword value ... :keyword value ...)`.
pub(super) struct Form<'a> {
    pub(super) span: Span,
    /// What stands before the first keyword, the head excluded.
    pub(super) positional: &'a [Sexp],
    keywords: Vec<(&'a str, &'a Sexp, &'a [Sexp])>,
}

impl<'a> Form<'a> {
    /// Splits the items after the head.
    pub(super) fn new(span: &Span, items: &'a [Sexp]) -> Form<'a> {
        let first = items.iter().position(is_keyword).unwrap_or(items.len());
        let (positional, mut rest) = items.split_at(first);
        let mut keywords = Vec::new();
        while let [key, after @ ..] = rest {
            let end = after.iter().position(is_keyword).unwrap_or(after.len());
            if let Kind::Keyword(name) = &key.kind {
                keywords.push((name.as_str(), key, &after[..end]));
            }
            rest = &after[end..];
        }
        Form { span: span.clone(), positional, keywords }
    }

    /// Every keyword with its values.
    pub(super) fn keywords(&self) -> &[(&'a str, &'a Sexp, &'a [Sexp])] {
        &self.keywords
    }

    /// Fails on a keyword that is not known, or given twice without being in `repeatable`.
    pub(super) fn check_keywords(&self, known: &[&str], repeatable: &[&str]) -> Result<(), QpatError> {
        self.keyword_errors(known, repeatable).into_iter().next().map_or(Ok(()), Err)
    }

    /// Every keyword that is not known, or given twice without being in `repeatable`.
    pub(super) fn keyword_errors(&self, known: &[&str], repeatable: &[&str]) -> Vec<QpatError> {
        let mut errors = Vec::new();
        for (i, (name, key, _)) in self.keywords.iter().enumerate() {
            if !known.contains(name) {
                let error = key.error(format!("there is no keyword `:{name}` here"));
                errors.push(match suggest(name, known.iter().copied()) {
                    Some(hint) => error.hint(hint),
                    None => error,
                });
            } else if !repeatable.contains(name) && self.keywords[..i].iter().any(|k| k.0 == *name) {
                errors.push(key.error(format!("`:{name}` is given twice")));
            }
        }
        errors
    }

    /// One error for all the keywords that must be given and are not. A misspelt one was reported already.
    pub(super) fn missing(&self, required: &[(&str, &str)]) -> Option<QpatError> {
        let known: Vec<_> = required.iter().filter(|(name, _)| self.get(name).is_none()).collect();
        let (name, hint) = *known.first()?;
        let text = match &known[..] {
            [_] => format!("`:{name}` is missing"),
            many => {
                let names: Vec<String> = many.iter().map(|(name, _)| format!("`:{name}`")).collect();
                format!("{} are missing", names.join(", "))
            }
        };
        let hint = if known.len() == 1 { (*hint).to_owned() } else { format!("first `:{name}`: {hint}") };
        Some(QpatError::new(&self.span, text).hint(hint))
    }

    /// The values of a keyword.
    pub(super) fn get(&self, name: &str) -> Option<(&'a Sexp, &'a [Sexp])> {
        self.keywords.iter().find(|k| k.0 == name).map(|k| (k.1, k.2))
    }

    /// The single value of a keyword.
    pub(super) fn one(&self, name: &str) -> Result<Option<&'a Sexp>, QpatError> {
        match self.get(name) {
            None => Ok(None),
            Some((_, [value])) => Ok(Some(value)),
            Some((key, values)) => Err(key.error(format!("`:{name}` takes one value, {} are given", values.len()))),
        }
    }

    /// The single value of a keyword that must be given.
    pub(super) fn required(&self, name: &str, hint: &str) -> Result<&'a Sexp, QpatError> {
        self.one(name)?.ok_or_else(|| QpatError::new(&self.span, format!("`:{name}` is missing")).hint(hint))
    }

    /// The text of `:doc`, which every definition must have.
    pub(super) fn doc(&self) -> Result<String, QpatError> {
        let value = self.required("doc", DOC_HINT)?;
        match &value.kind {
            Kind::Str(s) if s.trim().is_empty() => Err(value.error("`:doc` says nothing").hint(DOC_HINT)),
            Kind::Str(s) => Ok(s.clone()),
            _ => Err(value.expected("a string").hint(DOC_HINT)),
        }
    }
}

/// What `:doc` is for.
pub(super) const DOC_HINT: &str = "say in one sentence what it does and why it holds: :doc \"...\"";

/// The value, or the error collected.
pub(super) fn keep<T>(result: Result<T, QpatError>, errors: &mut Vec<QpatError>) -> Option<T> {
    result.map_err(|e| errors.push(e)).ok()
}

/// The value, or the errors collected.
pub(super) fn keep_all<T>(result: Result<T, Vec<QpatError>>, errors: &mut Vec<QpatError>) -> Option<T> {
    result.map_err(|e| errors.extend(e)).ok()
}

fn is_keyword(s: &Sexp) -> bool {
    matches!(s.kind, Kind::Keyword(_))
}

/// Lists of operators that a backend declares, by name: what `:for` may name in place of a table.
pub(super) type Kernels<'a> = HashMap<&'a str, &'a [Sexp]>;

/// The rows of `:for`; one empty row without it.
fn rows(form: &Form<'_>, kernels: &Kernels<'_>) -> Result<Vec<Row>, QpatError> {
    let Some((key, values)) = form.get("for") else { return Ok(vec![Row { name: None, values: Vec::new() }]) };
    let hint = ":for $conv [conv1d conv2d], or :for ($conv $rank) [(conv1d 1) (conv2d 2)]";
    let [params, table] = values else {
        return Err(key.error("`:for` takes parameters and a `[...]` table").hint(hint));
    };
    let names: Vec<&Sexp> = match &params.kind {
        Kind::List(items) => items.iter().collect(),
        _ => vec![params],
    };
    for name in &names {
        if !name.symbol().is_some_and(|s| s.len() > 1 && s.starts_with('$')) {
            return Err(name.expected("a parameter such as `$op`").hint(hint));
        }
    }
    let rows = match table.symbol() {
        Some(name) => *kernels.get(name).ok_or_else(|| {
            let error = table.error(format!("there are no kernels `{name}`"));
            match suggest(name, kernels.keys().copied()) {
                Some(hint) => error.hint(hint),
                None => error.hint("a backend declares them: (kernels NAME op ..)"),
            }
        })?,
        None => table.vector().ok_or_else(|| table.expected("a `[...]` table or the name of kernels").hint(hint))?,
    };
    if rows.is_empty() {
        return Err(table.error("`:for` over nothing defines nothing").hint(hint));
    }
    rows.iter()
        .map(|row| {
            let values: Vec<&Sexp> = match (&row.kind, names.len()) {
                (_, 1) => vec![row],
                (Kind::List(items), n) if items.len() == n => items.iter().collect(),
                (_, n) => return Err(row.expected(&format!("a row of {n} values, one per parameter"))),
            };
            let name = |s: &Sexp| s.symbol().unwrap_or_default().to_owned();
            Ok(names.iter().zip(values).map(|(n, v)| (name(n), v.clone())).collect())
        })
        .collect::<Result<Vec<Vec<_>>, QpatError>>()
        .and_then(|rows| named(rows, table.symbol().is_some()))
}

/// The rows with their names: those of their first values, which must differ. A list of `kernels` was checked where it stands.
fn named(rows: Vec<Vec<(String, Sexp)>>, kernels: bool) -> Result<Vec<Row>, QpatError> {
    let mut out: Vec<Row> = Vec::new();
    for values in rows {
        let first = values.first().map(|(_, first)| first);
        let name = first.map(|first| first.word().ok_or_else(|| first.expected("a word or number: it names the row")));
        let name = name.transpose()?;
        if let (Some(first), false, Some(_)) = (first, kernels, out.iter().find(|row| row.name == name)) {
            let error = first.error(format!("{} is there twice", first.describe()));
            return Err(error.hint("each row is one definition, named by its first value"));
        }
        out.push(Row { name, values });
    }
    Ok(out)
}

/// A row of `:for`.
pub(super) struct Row {
    /// What it adds to the name of the definition; nothing without `:for`.
    name: Option<String>,
    /// `$parameter -> value`.
    values: Vec<(String, Sexp)>,
}

/// One definition for each row of `:for`, named `name/first-parameter`. What is wrong in several rows is said once.
pub(super) fn for_each_row<T>(
    form: &Form<'_>,
    name: &str,
    args: &[Sexp],
    kernels: &Kernels<'_>,
    mut define: impl FnMut(&str, &[Sexp]) -> Result<T, Vec<QpatError>>,
) -> Result<Vec<T>, Vec<QpatError>> {
    let mut errors: Vec<QpatError> = Vec::new();
    let mut out: Vec<T> = Vec::new();
    for row in rows(form, kernels).map_err(|e| vec![e])? {
        let suffix = row.name.map(|name| format!("/{name}")).unwrap_or_default();
        let substituted = args.iter().map(|a| a.substitute(&row.values)).collect::<Result<Vec<_>, _>>();
        match substituted.map_err(|e| vec![e]).and_then(|args| define(&format!("{name}{suffix}"), &args)) {
            Ok(new) => out.push(new),
            Err(mut found) => {
                found.retain(|e| !errors.iter().any(|earlier| earlier.span == e.span));
                errors.extend(found);
            }
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}
