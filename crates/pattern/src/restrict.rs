//! The rules that make sense for a backend.

use quantc_ops::{OpClass, OpRef};

use crate::ast::{Pat, Phase, Rule, Template};
use crate::backend::{BackendConfig, BackendPatternConfig};
use crate::library::RuleSet;

impl RuleSet {
    /// The rules without those canonical ones that put a heavy operator into a graph for which the backend has no pattern: fusing
    /// attention would hide its two products from a backend that runs each of them on integers.
    pub(crate) fn restricted(mut self, backend: &BackendConfig) -> RuleSet {
        let known = backend.ops();
        let fits = |rule: &Rule| {
            if rule.phase != Phase::Canonical {
                return true;
            }
            let (mut had, mut made) = (Vec::new(), Vec::new());
            matched_ops(&rule.pattern.root, &mut had);
            made_ops(&rule.template, &mut made);
            made.iter().all(|op| op.class() != OpClass::Heavy || had.contains(op) || known.contains(op))
        };
        self.rules.retain(fits);
        self
    }

    /// The rules without those canonical ones that do more than PyTorch's `fuse_fx`: batch norms are folded, and what does nothing
    /// outside training is removed. Observers are then placed on the operators that PyTorch sees.
    pub fn fusing_only(mut self) -> RuleSet {
        let fuses = |rule: &Rule| {
            let mut had = Vec::new();
            matched_ops(&rule.pattern.root, &mut had);
            had.iter().any(|op| ["batch_norm", "dropout", "identity"].contains(&op.name()))
        };
        self.rules.retain(|rule| rule.phase != Phase::Canonical || fuses(rule));
        self
    }
}

impl BackendConfig {
    /// Every operator that a pattern of the backend mentions.
    pub fn ops(&self) -> Vec<OpRef> {
        let mut ops: Vec<OpRef> = self.patterns.iter().flat_map(BackendPatternConfig::ops).collect();
        ops.sort();
        ops.dedup();
        ops
    }
}

impl BackendPatternConfig {
    /// Every operator that it mentions.
    pub(crate) fn ops(&self) -> Vec<OpRef> {
        let mut ops = Vec::new();
        matched_ops(&self.pattern.root, &mut ops);
        ops
    }
}

fn matched_ops(pat: &Pat, out: &mut Vec<OpRef>) {
    match pat {
        Pat::Call(call) => {
            out.extend(&call.ops);
            call.inputs.iter().chain(&call.rest).for_each(|p| matched_ops(p, out));
        }
        Pat::Either(pats) => pats.iter().for_each(|p| matched_ops(p, out)),
        Pat::Output { of, .. } => matched_ops(of, out),
        Pat::Any | Pat::Var(_) | Pat::Optional(_) | Pat::None | Pat::Scalar(_) | Pat::Near(_) => {}
    }
}

fn made_ops(template: &Template, out: &mut Vec<OpRef>) {
    match template {
        Template::Call(call) => {
            out.push(call.op);
            call.inputs.iter().chain(&call.rest).for_each(|t| made_ops(t, out));
        }
        Template::Output { of, .. } => made_ops(of, out),
        Template::Var(_) | Template::None | Template::Const(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::library::Library;

    #[test]
    fn what_a_backend_runs_apart_is_not_fused() {
        let library = Library::builtin().expect("sound");
        let x86 = library.backend("x86").expect("there is one");
        let rules = library.rules_for(x86);
        let dropped: Vec<&str> =
            library.rules.rules.iter().map(|r| &*r.name).filter(|name| rules.find(name).is_none()).collect();
        assert!(dropped.contains(&"attention/plain4"), "{dropped:?}");
        assert!(dropped.iter().all(|name| name.starts_with("attention")), "{dropped:?}");
    }
}
