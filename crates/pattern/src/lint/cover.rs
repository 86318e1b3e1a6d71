//! Whether one pattern matches wherever another does. "No" may also mean that it could not be shown.

use quantc_ops::{Attr, AttrSpec};

use crate::ast::{CallPat, FieldPat, IndexPat, Pat, Pattern, VarId};
use crate::expr::Expr;
use crate::print;

/// What a variable of the general pattern stands for in the special one.
#[derive(Clone, Debug, PartialEq)]
enum Image<'p> {
    /// A part of the pattern.
    Part(&'p Pat),
    /// A variable bound to attributes or a call.
    Var(VarId),
    /// An attribute that must have this value.
    Value(Attr),
    /// Something that is not known.
    Unknown,
}

/// The variables of the general pattern.
pub(super) struct Cover<'p> {
    images: Vec<Option<Image<'p>>>,
}

/// A pattern with its conditions.
#[derive(Clone, Copy)]
pub(super) struct Guarded<'p> {
    pub(super) pattern: &'p Pattern,
    pub(super) conditions: &'p [Expr],
}

/// Shows that `general` matches, and its conditions hold, wherever `special` does: at the part `at` of the special pattern.
pub(super) fn cover<'p>(general: Guarded<'_>, special: Guarded<'p>, at: &'p Pat) -> Option<Cover<'p>> {
    let mut cover = Cover { images: vec![None; general.pattern.vars.len()] };
    if !cover.pat(&general.pattern.root, at) {
        return None;
    }
    let known = print::conditions(special.conditions, &special.pattern.vars);
    let names = |v: VarId| format!("?{}", special.pattern.vars[v].name);
    let implied = |c: &Expr| cover.expr(c, &names).is_some_and(|text| known.contains(&text));
    general.conditions.iter().all(implied).then_some(cover)
}

static ABSENT: Pat = Pat::None;

impl<'p> Cover<'p> {
    /// An expression over the general pattern's variables as text over the special one's; none if a variable stands for
    /// something that is not known.
    fn expr(&self, expr: &Expr, names: &dyn Fn(VarId) -> String) -> Option<String> {
        let mut known = true;
        expr.variables(&mut |v| known &= self.name(v, names).is_some());
        known.then(|| print::expr(expr, &|v| self.name(v, names).unwrap_or_default()))
    }

    /// How the special pattern writes what a variable stands for.
    pub(super) fn name(&self, var: VarId, names: &dyn Fn(VarId) -> String) -> Option<String> {
        match self.images[var].as_ref()? {
            // In a condition or template, an optional value is written as any other.
            Image::Part(Pat::Var(v) | Pat::Optional(v)) | Image::Var(v) => Some(names(*v)),
            Image::Part(part) => Some(print::pat(part, names)),
            Image::Value(value) => Some(value.to_string()),
            Image::Unknown => None,
        }
    }

    fn bind(&mut self, var: VarId, image: Image<'p>) -> bool {
        match &self.images[var] {
            None => {
                self.images[var] = Some(image);
                true
            }
            // Twice the same variable is twice the same value: of parts, only variables are surely equal.
            Some(before) => *before == image && !matches!(image, Image::Unknown | Image::Part(Pat::Call(_))),
        }
    }

    /// Tries something that may bind variables; nothing is bound if it fails.
    fn attempt(&mut self, f: impl FnOnce(&mut Self) -> bool) -> bool {
        let before = self.images.clone();
        let ok = f(self);
        if !ok {
            self.images = before;
        }
        ok
    }

    fn pat(&mut self, general: &Pat, special: &'p Pat) -> bool {
        if let Pat::Either(pats) = special {
            // The variables may stand for something else in every alternative: each must be covered on its own, and only
            // the first one's bindings are kept, so none may be used afterwards unless they agree.
            let before = self.images.clone();
            let mut results = Vec::new();
            for p in pats {
                self.images.clone_from(&before);
                if !self.pat(general, p) {
                    self.images = before;
                    return false;
                }
                results.push(std::mem::take(&mut self.images));
            }
            self.images = results[0].clone();
            for (var, image) in self.images.iter_mut().enumerate() {
                if results.iter().any(|r| r[var] != *image) {
                    *image = Some(Image::Unknown);
                }
            }
            return true;
        }
        match (general, special) {
            (Pat::Any, _) | (Pat::None, Pat::None) => true,
            (Pat::Var(_), Pat::None | Pat::Any | Pat::Optional(_)) => false,
            (Pat::Var(v) | Pat::Optional(v), part) => self.bind(*v, Image::Part(part)),
            (Pat::Scalar(a), Pat::Scalar(b)) | (Pat::Near(a), Pat::Scalar(b) | Pat::Near(b)) => a == b,
            (Pat::Either(pats), part) => pats.iter().any(|p| self.attempt(|c| c.pat(p, part))),
            (Pat::Output { index, of }, Pat::Output { index: special_index, of: special_of }) => {
                let same = match (index, special_index) {
                    (IndexPat::Exactly(a), IndexPat::Exactly(b)) => a == b,
                    (IndexPat::Exactly(_), IndexPat::Bind(_)) => false,
                    (IndexPat::Bind(v), IndexPat::Exactly(b)) => self.bind(*v, Image::Value(Attr::Int(i64::from(*b)))),
                    (IndexPat::Bind(v), IndexPat::Bind(b)) => self.bind(*v, Image::Var(*b)),
                };
                same && self.pat(of, special_of)
            }
            (Pat::Call(general), Pat::Call(special)) => self.call(general, special),
            _ => false,
        }
    }

    fn call(&mut self, general: &CallPat, special: &'p CallPat) -> bool {
        if !special.ops.iter().all(|op| general.ops.contains(op)) {
            return false;
        }
        let inputs = general.inputs.len().max(special.inputs.len());
        for i in 0..inputs {
            let part = special.inputs.get(i).or(special.rest.as_ref()).unwrap_or(&ABSENT);
            let ok = match general.inputs.get(i).or(general.rest.as_ref()) {
                Some(general) => self.pat(general, part),
                None => matches!(part, Pat::None),
            };
            if !ok {
                return false;
            }
        }
        match (&general.rest, &special.rest) {
            (None, Some(_)) => return false,
            (Some(g), Some(s)) if !self.pat(g, s) => return false,
            _ => {}
        }
        self.attributes(general, special)
    }

    fn attributes(&mut self, general: &CallPat, special: &CallPat) -> bool {
        // What the special pattern knows about an attribute.
        let known = |spec: &AttrSpec| match special.fields.iter().find(|(f, _)| *f == spec.name) {
            Some((_, FieldPat::Equals(value))) => Image::Value(value.clone()),
            Some((_, FieldPat::Bind(v))) => Image::Var(*v),
            None if special.others_default => spec.default.value().map_or(Image::Unknown, Image::Value),
            None => Image::Unknown,
        };
        for spec in special.ops.iter().flat_map(|op| op.signature().attrs) {
            let image = known(spec);
            let ok = match general.fields.iter().find(|(f, _)| *f == spec.name) {
                Some((_, FieldPat::Equals(value))) => image == Image::Value(value.clone()),
                Some((_, FieldPat::Bind(v))) => self.bind(*v, image),
                None if general.others_default => {
                    let absent = special.others_default && !special.fields.iter().any(|(f, _)| *f == spec.name);
                    absent || spec.default.value().is_some_and(|d| image == Image::Value(d))
                }
                None => true,
            };
            if !ok {
                return false;
            }
        }
        let var = |v: Option<VarId>| v.map_or(Image::Unknown, Image::Var);
        general.attrs.is_none_or(|v| self.bind(v, var(special.attrs)))
            && general.label.is_none_or(|v| self.bind(v, var(special.label)))
    }
}
