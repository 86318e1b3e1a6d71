//! Backends.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use quantc_tensor::DType;

use crate::ast::VarKind;
use crate::backend::{
    BackendConfig, BackendPatternConfig, DTypeConfig, DTypeWithConstraints, FixedQParams, ObservationType, Role,
};
use crate::parse::expr::expr;
use crate::parse::form::{Form, rows};
use crate::parse::pattern::{Style, pattern};
use crate::parse::scope::{Scope, operator};
use crate::reader::{Kind, Sexp};
use crate::source::{QpatError, suggest};

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

/// Checks a backend, starting from the one it extends.
pub(super) fn backend(raw: &RawBackend<'_>, base: Option<&BackendConfig>) -> Result<BackendConfig, Vec<QpatError>> {
    let mut out = BackendConfig {
        name: raw.name.clone(),
        doc: raw.doc.clone(),
        dtype_configs: base.map(|b| b.dtype_configs.clone()).unwrap_or_default(),
        patterns: base.map(|b| b.patterns.clone()).unwrap_or_default(),
        unsupported: base.map(|b| b.unsupported.clone()).unwrap_or_default(),
    };
    let mut errors = Vec::new();
    let mut own = Own::default();
    for item in raw.body {
        if let Err(e) = entry(item, &mut out, &mut own) {
            errors.push(e);
        }
    }
    // Patterns taken over from the base use this backend's types of the same name.
    for pattern in &mut out.patterns {
        if !own.patterns.contains_key(&pattern.name) {
            let names: Vec<Arc<str>> = pattern.dtype_configs.iter().map(|c| c.name.clone()).collect();
            pattern.dtype_configs = out.dtype_configs.iter().filter(|c| names.contains(&c.name)).cloned().collect();
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// What the backend itself defines, as opposed to what it takes over.
#[derive(Default)]
struct Own {
    dtypes: Vec<Arc<str>>,
    patterns: HashMap<Arc<str>, ()>,
}

fn entry(item: &Sexp, out: &mut BackendConfig, own: &mut Own) -> Result<(), QpatError> {
    let hint = "(dtype-config ..), (pattern ..), (unsupported ..) or (remove ..)";
    let Some((head, args)) = item.list().and_then(|l| l.split_first()) else {
        return Err(item.expected("a form of a backend").hint(hint));
    };
    match head.symbol() {
        Some("dtype-config") => {
            let config = dtype_config(item, args)?;
            if !own.dtypes.contains(&config.name) {
                out.dtype_configs.retain(|c| c.name != config.name);
                own.dtypes.push(config.name.clone());
            }
            out.dtype_configs.push(config);
            Ok(())
        }
        Some("pattern") => {
            for pattern in patterns(item, args, &out.dtype_configs)? {
                if own.patterns.insert(pattern.name.clone(), ()).is_some() {
                    return Err(item.error(format!("there are two patterns `{}`", pattern.name)));
                }
                match out.patterns.iter_mut().find(|p| p.name == pattern.name) {
                    Some(old) => *old = pattern,
                    None => out.patterns.push(pattern),
                }
            }
            Ok(())
        }
        Some("unsupported") => {
            let form = Form::new(&item.span, args);
            form.check_keywords(&["reason"], &[])?;
            let reason = form.required("reason", ":reason \"there is no int8 kernel\"")?;
            let Kind::Str(reason) = &reason.kind else { return Err(reason.expected("a string")) };
            for op in form.positional {
                out.unsupported.insert(operator(op)?.name(), reason.clone());
            }
            Ok(())
        }
        Some("remove") => {
            for name in args {
                let text = name.symbol().unwrap_or_default();
                let before = out.patterns.len();
                out.patterns.retain(|p| &*p.name != text && p.name.split('/').next() != Some(text));
                if out.patterns.len() == before {
                    let error = name.error(format!("there is no pattern {} to remove", name.describe()));
                    return Err(match suggest(text, out.patterns.iter().map(|p| &*p.name)) {
                        Some(hint) => error.hint(hint),
                        None => error,
                    });
                }
            }
            Ok(())
        }
        _ => Err(head.error(format!("{} is no form of a backend", head.describe())).hint(hint)),
    }
}

fn dtype_config(at: &Sexp, args: &[Sexp]) -> Result<DTypeConfig, QpatError> {
    let form = Form::new(&at.span, args);
    form.check_keywords(&["input", "output", "weight", "bias", "dynamic"], &[])?;
    let [name] = form.positional else {
        return Err(at.error("a dtype-config has a name").hint("(dtype-config static :input u8 :output u8)"));
    };
    let name = name.symbol().ok_or_else(|| name.expected("a name"))?;
    let constraint = |key: &str| form.one(key)?.map(dtype_with_constraints).transpose();
    let bias = match form.one("bias")? {
        Some(b) => Some(b.symbol().and_then(|s| s.parse().ok()).ok_or_else(|| b.expected("a dtype"))?),
        None => None,
    };
    let dynamic = match form.one("dynamic")? {
        None => false,
        Some(d) => match d.symbol() {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(d.expected("true or false")),
        },
    };
    Ok(DTypeConfig {
        name: Arc::from(name),
        input: constraint("input")?,
        output: constraint("output")?,
        weight: constraint("weight")?,
        bias,
        dynamic,
    })
}

/// `u8` or `(i8 :qmin -127 :qmax 127 :scale-min 2^-12 :scale-max 1)`.
fn dtype_with_constraints(at: &Sexp) -> Result<DTypeWithConstraints, QpatError> {
    let hint = "u8, or (i8 :qmin -127 :qmax 127 :scale-min 2^-12)";
    let dtype = |s: &Sexp| -> Result<DType, QpatError> {
        s.symbol().and_then(|s| s.parse().ok()).ok_or_else(|| s.expected("a dtype").hint(hint))
    };
    let Some((head, args)) = at.list().and_then(|l| l.split_first()) else {
        return Ok(DTypeWithConstraints::new(dtype(at)?));
    };
    let form = Form::new(&at.span, args);
    form.check_keywords(&["qmin", "qmax", "scale-min", "scale-max"], &[])?;
    let mut out = DTypeWithConstraints::new(dtype(head)?);
    let int = |key: &str| match form.one(key)? {
        None => Ok(None),
        Some(Sexp { kind: Kind::Int(v), .. }) if i32::try_from(*v).is_ok() => Ok(Some(*v as i32)),
        Some(other) => Err(other.expected("an integer")),
    };
    let real = |key: &str| match form.one(key)? {
        None => Ok(None),
        Some(v) => Ok(Some(v.number().ok_or_else(|| v.expected("a number"))? as f32)),
    };
    out.quant_min = int("qmin")?;
    out.quant_max = int("qmax")?;
    out.scale_min = real("scale-min")?;
    out.scale_max = real("scale-max")?;
    Ok(out)
}

const KEYWORDS: &[&str] =
    &["for", "doc", "match", "when", "observation", "dtypes", "weight", "bias", "root", "fixed-qparams"];

fn patterns(at: &Sexp, args: &[Sexp], dtypes: &[DTypeConfig]) -> Result<Vec<BackendPatternConfig>, QpatError> {
    let form = Form::new(&at.span, args);
    form.check_keywords(KEYWORDS, &[])?;
    let name = match form.positional {
        [name] => name.symbol().ok_or_else(|| name.expected("the pattern's name"))?,
        _ => return Err(at.error("a pattern starts with its name").hint("(pattern conv2d-relu :match ..)")),
    };
    rows(&form)?
        .iter()
        .map(|row| {
            let suffix = row.first().map(|(_, v)| format!("/{}", v.symbol().unwrap_or("row"))).unwrap_or_default();
            let args = args.iter().map(|a| a.substitute(row)).collect::<Result<Vec<_>, _>>()?;
            one_pattern(at, &format!("{name}{suffix}"), &args, dtypes)
        })
        .collect()
}

fn one_pattern(
    at: &Sexp,
    name: &str,
    args: &[Sexp],
    dtypes: &[DTypeConfig],
) -> Result<BackendPatternConfig, QpatError> {
    let form = Form::new(&at.span, args);
    let doc = form.doc()?;
    let mut scope = Scope::default();
    let lhs = form.required("match", "the float operators: :match (relu (conv2d ?x ?w _))")?;
    let pattern = pattern(lhs, Style::Backend, &mut scope)?;
    let conditions = match form.get("when") {
        Some((_, items)) => items.iter().map(|c| expr(c, false, &mut scope)).collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let choices: IndexMap<&str, ObservationType> = ObservationType::ALL.iter().copied().collect();
    let observation = form.required("observation", "one of different, share-with-input, not-observed")?;
    let observation_type = *observation
        .symbol()
        .and_then(|s| choices.get(s))
        .ok_or_else(|| observation.expected("different, share-with-input or not-observed"))?;
    let mut special = HashMap::new();
    for (key, role) in [("weight", Role::Weight), ("bias", Role::Bias)] {
        if let Some(value) = form.one(key)? {
            let kinds = [VarKind::Value, VarKind::Optional];
            special.insert(scope.lookup_kind(value, &kinds, "a variable bound to a value")?, role);
        }
    }
    let root = form.one("root")?.map(|r| scope.lookup_kind(r, &[VarKind::Node], "a variable bound by `:as`"));
    let root = root.transpose()?;
    let roles = scope
        .vars
        .iter()
        .enumerate()
        .filter(|(_, v)| matches!(v.kind, VarKind::Value | VarKind::Optional))
        .map(|(id, _)| (id, special.get(&id).copied().unwrap_or(Role::Input)))
        .collect();
    Ok(BackendPatternConfig {
        name: Arc::from(name),
        doc,
        pattern,
        conditions,
        observation_type,
        dtype_configs: dtype_names(&form, dtypes)?,
        roles,
        root,
        fixed_qparams: fixed_qparams(&form)?,
        span: at.span.clone(),
    })
}

fn dtype_names(form: &Form<'_>, dtypes: &[DTypeConfig]) -> Result<Vec<DTypeConfig>, QpatError> {
    let listed = form.required("dtypes", ":dtypes (static dynamic), names of dtype-configs")?;
    let names = listed.list().ok_or_else(|| listed.expected("a list of names of dtype-configs"))?;
    let mut out = Vec::new();
    for name in names {
        let text = name.symbol().ok_or_else(|| name.expected("the name of a dtype-config"))?;
        let before = out.len();
        out.extend(dtypes.iter().filter(|c| &*c.name == text).cloned());
        if out.len() == before {
            let error = name.error(format!("there is no dtype-config `{text}` above"));
            return Err(match suggest(text, dtypes.iter().map(|c| &*c.name)) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
    }
    Ok(out)
}

/// `(u8 1/256 0) (i8 1/256 -128)`.
fn fixed_qparams(form: &Form<'_>) -> Result<Vec<FixedQParams>, QpatError> {
    let Some((_, items)) = form.get("fixed-qparams") else { return Ok(Vec::new()) };
    items
        .iter()
        .map(|item| {
            let bad = || item.expected("(DTYPE SCALE ZERO-POINT)").hint("(u8 1/256 0)");
            let [dtype, scale, zero_point] = item.list().ok_or_else(bad)? else { return Err(bad()) };
            let dtype = dtype.symbol().and_then(|s| s.parse::<DType>().ok()).ok_or_else(bad)?;
            let scale = scale.number().filter(|s| *s > 0.0).ok_or_else(bad)? as f32;
            let Kind::Int(zero_point) = zero_point.kind else { return Err(bad()) };
            Ok(FixedQParams { dtype, scale, zero_point: zero_point as i32 })
        })
        .collect()
}
