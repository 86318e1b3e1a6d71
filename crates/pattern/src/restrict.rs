//! The rules that make sense for a backend.

use quantc_ops::{OpClass, OpRef};

use crate::ast::{Pat, Phase, Rule, Template};
use crate::backend::{BackendConfig, BackendPatternConfig};
use crate::library::RuleSet;

impl RuleSet {
    /// The rules that make sense for a backend, of those for every backend.
    ///
    /// Canonical ones that put a heavy operator into a graph for which the backend has no pattern are left out: fusing attention would hide
    /// its two products from a backend that runs each of them on integers. So are lowering ones of an operator that no pattern of the
    /// backend has: what it does not run on integers stays float, though integers come in and go out.
    pub(crate) fn restricted(mut self, backend: &BackendConfig) -> RuleSet {
        let known = backend.ops();
        let fits = |rule: &Rule| {
            let (mut had, mut made) = (Vec::new(), Vec::new());
            matched_ops(&rule.pattern.root, &mut had);
            made_ops(&rule.template, &mut made);
            match rule.phase {
                Phase::Canonical => {
                    made.iter().all(|op| op.class() != OpClass::Heavy || had.contains(op) || known.contains(op))
                }
                Phase::Lower => had.iter().all(|op| is_quantized(*op) || known.contains(op)),
            }
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

/// Whether an operator is about integers in the first place, and no float one that a backend may run on them.
fn is_quantized(op: OpRef) -> bool {
    op.class() == OpClass::Quantization || op.name().starts_with("quantized.")
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
    use std::collections::BTreeSet;

    use crate::ast::{Phase, family};
    use crate::library::{Library, builtin_sources};
    use crate::source::Source;

    #[test]
    fn what_a_backend_runs_apart_is_not_fused() {
        let library = Library::builtin().expect("sound");
        let x86 = library.backend("x86").expect("there is one");
        let rules = library.rules_for(x86);
        let dropped: Vec<&str> =
            library.rules.rules.iter().map(|r| &*r.name).filter(|name| rules.find(name).is_none()).collect();
        assert!(dropped.contains(&"attention/plain4"), "{dropped:?}");
        let unlisted = "lookup/abs lookup/cos lookup/erf lookup/exp lookup/log lookup/neg lookup/reciprocal lookup/rsqrt lookup/sin \
             lookup/softplus lookup/sqrt norm/layer_norm";
        let others: Vec<&str> = dropped.into_iter().filter(|name| !name.starts_with("attention")).collect();
        assert_eq!(others.join(" "), unlisted, "x86 has no patterns for these");
    }

    #[test]
    fn what_a_backend_does_not_run_is_not_lowered() {
        let text = "(backend own :doc \"d\" (dtype-config c :input u8 :output u8 :weight i8)
           (pattern linear :doc \"d\" :match (linear ?x ?w _) :weight ?w :observation different :dtypes (c)))";
        let mut sources = builtin_sources();
        sources.push(Source::new("own.qpat", text));
        let library = Library::parse(&sources).unwrap_or_else(|e| panic!("{e}"));
        let own = library.rules_for(library.backend("own").expect("there is one"));
        let lowering: BTreeSet<&str> = own.phase(Phase::Lower).map(|r| family(&r.name)).collect();
        let expected = [
            "linear-dynamic-per-channel",
            "linear-dynamic-per-tensor",
            "linear-per-channel",
            "linear-per-channel-float",
            "linear-per-tensor",
            "linear-per-tensor-float",
            "quantize-of-dequantize",
            "requantize",
        ];
        assert_eq!(lowering, BTreeSet::from(expected));
    }
}
