//! Backends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_ops::OpRef;
use quantc_ops::names::suggest;

use crate::ast::{Phase, Rule, VarId, VarKind, family};
use crate::backend::{BackendConfig, BackendPatternConfig, DTypeConfig, ObservationType, Role, Unsupported};
use crate::parse::dtypes::{dtype_config, fixed_qparams};
use crate::parse::expr::condition;
use crate::parse::form::{DOC_HINT, Form, Kernels, for_each_row, keep, keep_all};
use crate::parse::pattern::{Style, pattern};
use crate::parse::scope::{Scope, operator};
use crate::parse::{phase, rule};
use crate::reader::{Kind, Sexp};
use crate::source::QpatError;

/// A `(backend ...)` form before the backend it extends is known.
pub(super) struct RawBackend<'a> {
    pub(super) name: Arc<str>,
    pub(super) at: &'a Sexp,
    pub(super) extends: Option<&'a Sexp>,
    doc: String,
    body: &'a [Sexp],
}

/// Reads the head of a backend form.
pub(super) fn raw<'a>(at: &'a Sexp, args: &'a [Sexp]) -> Result<RawBackend<'a>, QpatError> {
    let hint = "(backend NAME [:extends OTHER] :doc \"..\" (dtype-config ..) .. (pattern ..) ..)";
    let Some((name, rest)) = args.split_first() else { return Err(at.error("a backend has a name").hint(hint)) };
    let name = name.symbol().ok_or_else(|| name.expected("the backend's name").hint(hint))?;
    // Keywords come first; the body starts at the first form.
    let body = rest.iter().position(|s| s.list().is_some()).unwrap_or(rest.len());
    let form = Form::new(&at.span, &rest[..body]);
    form.check_keywords(&["extends", "doc"], &[])?;
    Ok(RawBackend { name: Arc::from(name), at, extends: form.one("extends")?, doc: form.doc()?, body: &rest[body..] })
}

/// Checks a backend: `chain` holds what it extends, the furthest first, and itself last. Patterns and rules taken over are
/// read again, over this backend's kernels and types. `rules` are those outside any backend.
pub(super) fn backend(chain: &[&RawBackend<'_>], rules: &[Rule]) -> Result<BackendConfig, Vec<QpatError>> {
    let Some(own) = chain.last() else { return Err(Vec::new()) };
    let mut errors = Vec::new();
    let kernels = kernels(chain, &mut errors);
    let mut out = BackendConfig {
        name: own.name.clone(),
        doc: own.doc.clone(),
        dtype_configs: dtype_configs(chain, &mut errors),
        patterns: Vec::new(),
        unsupported: IndexMap::new(),
        rules: Vec::new(),
        without_rules: Vec::new(),
        span: own.at.span.clone(),
    };
    for raw in chain {
        let mut level = Level {
            out: &mut out,
            kernels: &kernels,
            global: rules,
            phase: None,
            seen: HashSet::new(),
            unsupported: HashSet::new(),
        };
        for item in raw.body {
            keep_all(level.entry(item), &mut errors);
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// The lists of operators along the chain; a later backend's replaces one of the same name.
fn kernels<'a>(chain: &[&RawBackend<'a>], errors: &mut Vec<QpatError>) -> Kernels<'a> {
    let hint = "(kernels conv conv1d conv2d)";
    let mut all = Kernels::new();
    for raw in chain {
        let mut own = HashSet::new();
        for (item, args) in forms(raw.body, "kernels") {
            let Some((name, ops)) = args.split_first().and_then(|(n, ops)| Some((n.symbol()?, ops))) else {
                errors.push(item.error("kernels have a name").hint(hint));
                continue;
            };
            if ops.is_empty() {
                errors.push(item.error(format!("kernels `{name}` without operators")).hint(hint));
            }
            for (i, op) in ops.iter().enumerate() {
                errors.extend(operator(op).err());
                if ops[..i].contains(op) {
                    errors.push(op.error(format!("{} is in this list twice", op.describe())));
                }
            }
            if !own.insert(name) {
                errors.push(item.error(format!("there are two lists of kernels `{name}`")));
            }
            all.insert(name, ops);
        }
    }
    all
}

/// The dtype configurations along the chain; a later backend's replace those of the same name.
fn dtype_configs(chain: &[&RawBackend<'_>], errors: &mut Vec<QpatError>) -> Vec<DTypeConfig> {
    let mut all: Vec<DTypeConfig> = Vec::new();
    for raw in chain {
        let mut own = Vec::new();
        for (item, args) in forms(raw.body, "dtype-config") {
            let read = keep(dtype_config(item, args), errors);
            // The name of one that is wrong is known all the same: patterns that have it are not wrong too.
            let named = || args.first().and_then(Sexp::symbol).map(|name| DTypeConfig::new(Arc::from(name)));
            own.extend(read.or_else(named));
        }
        all.retain(|c| own.iter().all(|o| o.name != c.name));
        all.extend(own);
    }
    all
}

/// The forms of a body with that head.
fn forms<'a>(body: &'a [Sexp], head: &'a str) -> impl Iterator<Item = (&'a Sexp, &'a [Sexp])> {
    body.iter().filter_map(move |item| match item.list()?.split_first()? {
        (h, args) if h.symbol() == Some(head) => Some((item, args)),
        _ => None,
    })
}

/// One backend of a chain while its forms are read.
struct Level<'a, 'k> {
    out: &'a mut BackendConfig,
    kernels: &'a Kernels<'k>,
    /// Rules outside any backend.
    global: &'a [Rule],
    /// Of the rules that follow.
    phase: Option<Phase>,
    /// The names this level defines, as opposed to what it takes over.
    seen: HashSet<String>,
    /// The operators that this level says are unsupported.
    unsupported: HashSet<&'static str>,
}

impl Level<'_, '_> {
    fn entry(&mut self, item: &Sexp) -> Result<(), Vec<QpatError>> {
        let hint =
            "(dtype-config ..), (kernels ..), (pattern ..), (unsupported ..), (phase ..), (rule ..) or (remove ..)";
        let Some((head, args)) = item.list().and_then(|l| l.split_first()) else {
            return Err(vec![item.expected("a form of a backend").hint(hint)]);
        };
        match head.symbol() {
            // Read before everything else.
            Some("dtype-config" | "kernels") => Ok(()),
            Some("pattern") => {
                let new = patterns(item, args, &self.out.dtype_configs, self.kernels)?;
                self.define(item, "pattern", family(&new[0].name))?;
                // What an extended backend never ran, this one does.
                let ops: Vec<OpRef> = new.iter().flat_map(BackendPatternConfig::ops).collect();
                let own = &self.unsupported;
                self.out.unsupported.retain(|op, _| own.contains(op) || !ops.iter().any(|o| o.name() == *op));
                replace(&mut self.out.patterns, new, |p| &p.name);
                Ok(())
            }
            Some("phase") => {
                self.phase = Some(phase(item, args).map_err(|e| vec![e])?);
                Ok(())
            }
            Some("rule") => {
                let phase = self.phase.ok_or_else(|| {
                    let error = item.error("which phase does this rule belong to?");
                    vec![error.hint("put (phase lower) before it")]
                })?;
                let new = rule::rules(item, args, phase, self.kernels)?;
                self.define(item, "rule", family(&new[0].name))?;
                replace(&mut self.out.rules, new, |r| &r.name);
                Ok(())
            }
            Some("unsupported") => self.unsupported(item, args),
            Some("remove") => {
                let errors: Vec<QpatError> = args.iter().filter_map(|name| self.remove(name).err()).collect();
                if errors.is_empty() { Ok(()) } else { Err(errors) }
            }
            _ => Err(vec![head.error(format!("{} is no form of a backend", head.describe())).hint(hint)]),
        }
    }

    /// Fails if this level already defines it.
    fn define(&mut self, item: &Sexp, what: &str, name: &str) -> Result<(), Vec<QpatError>> {
        if self.seen.insert(format!("{what} {name}")) {
            return Ok(());
        }
        Err(vec![item.error(format!("there are two {what}s `{name}`"))])
    }

    fn unsupported(&mut self, item: &Sexp, args: &[Sexp]) -> Result<(), Vec<QpatError>> {
        let form = Form::new(&item.span, args);
        let mut errors = form.keyword_errors(&["reason"], &[]);
        let reason = keep(form.required("reason", ":reason \"there is no int8 kernel\""), &mut errors);
        let text = reason.and_then(|r| match &r.kind {
            Kind::Str(text) => Some(text.clone()),
            _ => {
                errors.push(r.expected("a string"));
                None
            }
        });
        for name in form.positional {
            if let (Some(op), Some(text)) = (keep(operator(name), &mut errors), &text) {
                let entry = Unsupported { reason: text.clone(), span: name.span.clone() };
                self.out.unsupported.insert(op.name(), entry);
                self.unsupported.insert(op.name());
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Removes a pattern or a rule, with every row of it if the name is that of the whole definition; or a dtype configuration, which
    /// every pattern then does without.
    fn remove(&mut self, name: &Sexp) -> Result<(), QpatError> {
        let text = name.symbol().ok_or_else(|| name.expected("the name of a pattern, rule or dtype-config"))?;
        if self.out.dtype_configs.iter().any(|c| &*c.name == text) {
            return self.remove_types(name, text);
        }
        let named = |candidate: &str| candidate == text || family(candidate) == text;
        let (patterns, rules) = (self.out.patterns.len(), self.out.rules.len());
        self.out.patterns.retain(|p| !named(&p.name));
        self.out.rules.retain(|r| !named(&r.name));
        let global: Vec<Arc<str>> = self.global.iter().filter(|r| named(&r.name)).map(|r| r.name.clone()).collect();
        if self.out.patterns.len() < patterns || self.out.rules.len() < rules || !global.is_empty() {
            self.out.without_rules.extend(global);
            return Ok(());
        }
        let error = name.error(format!("there is no pattern, rule or dtype-config `{text}` to remove"));
        let (patterns, own) = (self.out.patterns.iter().map(|p| &*p.name), self.out.rules.iter().map(|r| &*r.name));
        let known = patterns.chain(own).chain(self.global.iter().map(|r| &*r.name));
        Err(match suggest(text, known) {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }
}

impl Level<'_, '_> {
    fn remove_types(&mut self, at: &Sexp, name: &str) -> Result<(), QpatError> {
        self.out.dtype_configs.retain(|c| &*c.name != name);
        for pattern in &mut self.out.patterns {
            pattern.dtype_configs.retain(|c| &*c.name != name);
            if pattern.dtype_configs.is_empty() {
                let error = at.error(format!("the pattern `{}` has no other types than `{name}`", pattern.name));
                return Err(error.hint(format!("(remove {}) before it", family(&pattern.name))));
            }
        }
        Ok(())
    }
}

/// Puts new rows in the place of those of the same definition, or at the end.
fn replace<T>(all: &mut Vec<T>, new: Vec<T>, name: impl Fn(&T) -> &Arc<str>) {
    let same = |t: &T| new.first().is_some_and(|n| family(name(n)) == family(name(t)));
    let at = all.iter().position(same).unwrap_or(all.len());
    all.retain(|t| !same(t));
    all.splice(at..at, new);
}

pub(super) const KEYWORDS: &[&str] =
    &["for", "doc", "match", "when", "observation", "dtypes", "weight", "bias", "root", "fixed-qparams"];

const REQUIRED: &[(&str, &str)] = &[
    ("doc", DOC_HINT),
    ("match", "the float operators: :match (relu (conv2d ?x ?w _))"),
    ("observation", "one of different, share-with-input, not-observed"),
    ("dtypes", ":dtypes (static dynamic), names of dtype-configs"),
];

fn patterns(
    at: &Sexp,
    args: &[Sexp],
    dtypes: &[DTypeConfig],
    kernels: &Kernels<'_>,
) -> Result<Vec<BackendPatternConfig>, Vec<QpatError>> {
    let form = Form::new(&at.span, args);
    let name = match form.positional {
        [name] => name.symbol().ok_or_else(|| vec![name.expected("the pattern's name")])?,
        _ => return Err(vec![at.error("a pattern starts with its name").hint("(pattern conv2d-relu :match ..)")]),
    };
    let mut errors = form.keyword_errors(KEYWORDS, &[]);
    if errors.is_empty() {
        errors.extend(form.missing(REQUIRED));
    }
    let found = for_each_row(&form, name, args, kernels, |name, args| one_pattern(at, name, args, dtypes));
    match keep_all(found, &mut errors) {
        Some(patterns) if errors.is_empty() => Ok(patterns),
        _ => Err(errors),
    }
}

/// One pattern. Keywords that are missing were reported already: here they only end the check.
fn one_pattern(
    at: &Sexp,
    name: &str,
    args: &[Sexp],
    dtypes: &[DTypeConfig],
) -> Result<BackendPatternConfig, Vec<QpatError>> {
    let form = Form::new(&at.span, args);
    let mut errors = Vec::new();
    let doc = form.get("doc").and_then(|_| keep(form.doc(), &mut errors));
    let observation = keep(form.one("observation"), &mut errors).flatten();
    let observation_type = observation.and_then(|o| keep(observation_of(o), &mut errors));
    let dtype_configs = keep(form.one("dtypes"), &mut errors).flatten().map(|d| dtype_names(d, dtypes, &mut errors));
    let fixed_qparams = keep(fixed_qparams(&form), &mut errors);
    let mut scope = Scope::default();
    let lhs = keep(form.one("match"), &mut errors).flatten();
    let pattern = lhs.and_then(|m| keep(pattern(m, Style::Backend, &mut scope), &mut errors));
    let body = pattern.map(|pattern| {
        let conditions = form.get("when").map(|w| w.1).unwrap_or_default();
        let conditions = conditions.iter().filter_map(|c| keep(condition(c, &mut scope), &mut errors)).collect();
        let roles = roles(&form, &mut scope, &mut errors);
        let root = keep(form.one("root"), &mut errors).flatten();
        let root =
            root.and_then(|r| keep(scope.lookup_kind(r, &[VarKind::Node], "a variable bound by `:as`"), &mut errors));
        // Every value is used: it is an input, weight or bias. What binds something else must be used by name.
        for (id, var) in scope.vars.iter().enumerate() {
            if errors.is_empty() && !scope.used[id] && !matches!(var.kind, VarKind::Value | VarKind::Optional) {
                errors.push(QpatError::new(&scope.spans[id], format!("`?{}` is never used", var.name)));
            }
        }
        (pattern, conditions, roles, root)
    });
    match (doc, observation_type, dtype_configs, fixed_qparams, body) {
        (Some(doc), Some(observation_type), Some(dtype_configs), Some(fixed_qparams), Some(body))
            if errors.is_empty() =>
        {
            let (pattern, conditions, roles, root) = body;
            Ok(BackendPatternConfig {
                name: Arc::from(name),
                doc,
                pattern,
                conditions,
                observation_type,
                dtype_configs,
                roles,
                root,
                fixed_qparams,
                span: at.span.clone(),
            })
        }
        _ => Err(errors),
    }
}

fn observation_of(at: &Sexp) -> Result<ObservationType, QpatError> {
    let found = ObservationType::ALL.iter().find(|(name, _)| Some(*name) == at.symbol());
    found.map(|f| f.1).ok_or_else(|| at.expected("different, share-with-input or not-observed"))
}

/// What each value variable is: `:weight ?w ..`, `:bias ?b`, an input otherwise.
fn roles(form: &Form<'_>, scope: &mut Scope, errors: &mut Vec<QpatError>) -> Vec<(VarId, Role)> {
    let mut special = HashMap::new();
    for (key, role) in [("weight", Role::Weight), ("bias", Role::Bias)] {
        // A recurrent layer has several weights.
        let values: Result<&[Sexp], QpatError> = match (role, form.get(key)) {
            (_, None) => Ok(&[]),
            (_, Some((at, []))) => Err(at.error(format!("`:{key}` names no variable"))),
            (Role::Weight, Some((_, values))) => Ok(values),
            _ => form.one(key).map(|v| v.map_or(&[][..], std::slice::from_ref)),
        };
        for value in keep(values, errors).unwrap_or_default() {
            let kinds = [VarKind::Value, VarKind::Optional];
            let Some(id) = keep(scope.lookup_kind(value, &kinds, "a variable bound to a value"), errors) else {
                continue;
            };
            match special.insert(id, role) {
                Some(Role::Weight) if role == Role::Bias => {
                    let error = value.error(format!("{} is the weight and can't be the bias too", value.describe()));
                    errors.push(error.hint("they are quantized differently: bind each to a variable of its own"));
                }
                Some(_) => errors.push(value.error(format!("{} is named twice", value.describe()))),
                None => {}
            }
        }
    }
    let values = scope.vars.iter().enumerate().filter(|(_, v)| matches!(v.kind, VarKind::Value | VarKind::Optional));
    values.map(|(id, _)| (id, special.get(&id).copied().unwrap_or(Role::Input))).collect()
}

fn dtype_names(listed: &Sexp, dtypes: &[DTypeConfig], errors: &mut Vec<QpatError>) -> Vec<DTypeConfig> {
    let mut out: Vec<DTypeConfig> = Vec::new();
    let known = || {
        let mut names: Vec<&str> = dtypes.iter().map(|c| &*c.name).collect();
        names.dedup();
        format!(":dtypes ({})", names.join(" "))
    };
    let Some(names) = listed.list() else {
        errors.push(listed.expected("a list of names of dtype-configs").hint(known()));
        return out;
    };
    if names.is_empty() {
        errors.push(listed.error("`:dtypes` names no dtype-config").hint(known()));
    }
    for name in names {
        let Some(text) = name.symbol() else {
            errors.push(name.expected("the name of a dtype-config"));
            continue;
        };
        let before = out.len();
        out.extend(dtypes.iter().filter(|c| &*c.name == text).cloned());
        if out.len() == before {
            let error = name.error(format!("there is no dtype-config `{text}`"));
            errors.push(match suggest(text, dtypes.iter().map(|c| &*c.name)) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
    }
    out
}
