//! Whether a QConfig satisfies a pattern's dtype configurations.

use std::collections::BTreeSet;

use quantc_ops::OpRef;
use quantc_pattern::{BackendPatternConfig, DTypeConfig, DTypeWithConstraints, Mode, Role};
use quantc_tensor::DType;

use crate::qconfig::{ObserverSpec, QConfig};
use crate::weight_only::{mode_of, unfit_weight_only};

/// The first dtype configuration that the QConfig satisfies, by name. `weighted` is the operator that takes the pattern's weight.
///
/// # Errors
/// For each configuration, which field is violated and how.
pub(crate) fn choose_dtype_config(
    pattern: &BackendPatternConfig,
    qconfig: &QConfig,
    weighted: Option<OpRef>,
) -> Result<String, Vec<String>> {
    let mode = mode_of(qconfig);
    let modes: BTreeSet<Mode> = pattern.dtype_configs.iter().map(DTypeConfig::mode).collect();
    if !modes.contains(&mode) {
        let modes: Vec<String> = modes.iter().map(Mode::to_string).collect();
        return Err(vec![format!("it runs {}, the QConfig is {mode}", modes.join(" or "))]);
    }
    let mut violations = Vec::new();
    for config in pattern.dtype_configs.iter().filter(|c| c.mode() == mode) {
        match violation(config, pattern, qconfig, weighted) {
            None => return Ok(config.name.to_string()),
            Some(v) => violations.push(format!("{}: {v}", config.name)),
        }
    }
    Err(violations)
}

fn violation(
    config: &DTypeConfig,
    pattern: &BackendPatternConfig,
    qconfig: &QConfig,
    weighted: Option<OpRef>,
) -> Option<String> {
    let mode = config.mode();
    if matches!(mode, Mode::Float16Dynamic | Mode::Float16Static) {
        return None;
    }
    if qconfig.activation.qscheme.is_per_channel() {
        return Some(
            "an activation has one scale, its observer gives one for each channel (hint: a scheme per tensor)"
                .to_owned(),
        );
    }
    let observed = mode == Mode::Static;
    if let (true, Some(input)) = (observed, &config.input)
        && let Some(v) = unsatisfied(input, &qconfig.activation)
    {
        return Some(format!("input: {v}"));
    }
    let has_weight = pattern.roles.iter().any(|r| r.1 == Role::Weight);
    if let (true, Some(weight)) = (has_weight, &config.weight)
        && let Some(v) = unsatisfied(weight, &qconfig.weight)
    {
        return Some(format!("weight: {v}"));
    }
    if let (true, Some(output)) = (observed, &config.output)
        && output.dtype != DType::F32
        && let Some(v) = unsatisfied(output, &qconfig.activation).or_else(|| unsatisfied_output(output, pattern))
    {
        return Some(format!("output: {v}"));
    }
    let unfit = match (weighted, mode) {
        (None, _) => None,
        (Some(op), Mode::WeightOnly) => unfit_weight_only(op, &qconfig.weight),
        (Some(op), Mode::Static | Mode::Dynamic) => unfit_weight(op, &qconfig.weight),
        (Some(_), Mode::Float16Dynamic | Mode::Float16Static) => None,
    };
    unfit.map(|v| format!("weight: {v}"))
}

/// What only an output with fixed parameters can satisfy: an exact scale and zero point, a largest scale (PyTorch asks for a
/// `FixedQParamsObserver` there).
fn unsatisfied_output(constraints: &DTypeWithConstraints, pattern: &BackendPatternConfig) -> Option<String> {
    let fixed = pattern.fixed_qparams_for(constraints.dtype);
    if let Some(want) = constraints.scale_exact.filter(|s| fixed.is_none_or(|f| f.scale != *s)) {
        return Some(format!("the scale must be {want:e}, the pattern does not fix it"));
    }
    if let Some(want) = constraints.zero_point_exact.filter(|z| fixed.is_none_or(|f| f.zero_point != *z)) {
        return Some(format!("the zero point must be {want}, the pattern does not fix it"));
    }
    if let Some(bound) = constraints.scale_max.filter(|b| fixed.is_none_or(|f| f.scale > *b)) {
        return Some(format!("the scale must be at most {bound:e}, no observer bounds it"));
    }
    None
}

/// Integer products have weights with zero points 0 and, if any, a scale for each output channel.
pub(crate) fn unfit_weight(op: OpRef, observer: &ObserverSpec) -> Option<String> {
    if !observer.qscheme.is_symmetric() {
        return Some("its zero points must be 0, an affine scheme gives others (hint: a symmetric scheme)".to_owned());
    }
    let outputs = if op.name().starts_with("conv_transpose") { 1 } else { 0 };
    (observer.qscheme.is_per_channel() && observer.ch_axis != outputs).then(|| {
        let axis = observer.ch_axis;
        format!("it has scales along axis {axis}, the output channels of {op} are axis {outputs} (hint: ch_axis {outputs}, or a scheme per tensor)")
    })
}

/// PyTorch's `DTypeWithConstraints`: dtype, quant_min lower bound, quant_max upper bound, smallest scale.
fn unsatisfied(constraints: &DTypeWithConstraints, observer: &ObserverSpec) -> Option<String> {
    // Four bits are a part of the range of u8.
    if observer.dtype.storage() != Some(constraints.dtype) {
        return Some(format!("dtype {} is wanted, the observer gives {}", constraints.dtype, observer.dtype));
    }
    let full = observer.dtype.quantized_range().unwrap_or((0, 255));
    let (qmin, qmax) = (observer.quant_min.unwrap_or(full.0), observer.quant_max.unwrap_or(full.1));
    if let Some(bound) = constraints.quant_min.filter(|b| qmin < *b) {
        return Some(format!("quant_min must be at least {bound}, the observer has {qmin}"));
    }
    if let Some(bound) = constraints.quant_max.filter(|b| qmax > *b) {
        return Some(format!("quant_max must be at most {bound}, the observer has {qmax}"));
    }
    if let Some(bound) = constraints.scale_min.filter(|b| observer.eps < *b) {
        return Some(format!("the smallest scale must be at least {bound:e}, the observer has {:e}", observer.eps));
    }
    None
}

#[cfg(test)]
mod tests {
    use quantc_pattern::{Library, Source};
    use quantc_tensor::QScheme;

    use super::*;
    use crate::qconfig::named;

    /// What the pattern of a backend with this dtype configuration says to a QConfig.
    fn choose(config: &str, fixed: &str, qconfig: &str) -> Result<String, Vec<String>> {
        let text = format!(
            "(backend b :doc \"d\" (dtype-config c {config})
               (pattern p :doc \"d\" :match (sigmoid ?x) :observation different :dtypes (c) {fixed}))"
        );
        let library = Library::parse(&[Source::new("t.qpat", &text)]).unwrap_or_else(|e| panic!("{e}"));
        choose_dtype_config(&library.backends[0].patterns[0], &named(qconfig).expect("a preset"), None)
    }

    #[test]
    fn the_output_is_held_to_its_constraints_too() {
        assert!(choose(":input u8 :output u8", "", "x86").is_ok());
        assert!(choose(":input u8 :output f32", "", "x86").is_ok(), "a float output is not observed");
        let refused = choose(":input u8 :output i8", "", "x86").expect_err("u8 is observed");
        assert_eq!(refused, ["c: output: dtype i8 is wanted, the observer gives u8"]);
    }

    #[test]
    fn an_activation_has_one_scale() {
        let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
        let pattern = &library.backend("x86").expect("there is one").patterns[0];
        let mut qconfig = named("x86").expect("a preset");
        assert!(choose_dtype_config(pattern, &qconfig, None).is_ok());
        qconfig.activation.qscheme = QScheme::PerChannelAffine;
        let refused = choose_dtype_config(pattern, &qconfig, None).expect_err("one scale for each channel");
        assert!(refused[0].contains("an activation has one scale"), "{refused:?}");
    }

    #[test]
    fn exact_parameters_need_an_output_that_has_them() {
        let (exact, fixed) = (":input u8 :output (u8 :scale 1/256 :zero-point 0)", ":fixed-qparams (u8 1/256 0)");
        assert!(choose(exact, fixed, "x86").is_ok());
        assert!(choose(exact, "", "x86").expect_err("observed")[0].contains("the scale must be"));
        let other = choose(exact, ":fixed-qparams (u8 1/256 3)", "x86").expect_err("another zero point");
        assert!(other[0].contains("the zero point must be 0"), "{other:?}");
        let bounded = ":input u8 :output (u8 :scale-max 0.5)";
        assert!(choose(bounded, fixed, "x86").is_ok());
        assert!(choose(bounded, ":fixed-qparams (u8 1 0)", "x86").expect_err("too large")[0].contains("at most"));
        assert!(choose(bounded, "", "x86").expect_err("observed")[0].contains("no observer bounds it"));
    }
}
