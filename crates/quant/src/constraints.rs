//! Whether a QConfig, and the parameters that calibration finds, satisfy a pattern's dtype configurations.

use std::collections::BTreeSet;

use quantc_ops::OpRef;
use quantc_pattern::{BackendPatternConfig, DTypeConfig, DTypeWithConstraints, FixedQParams, Mode, Role};
use quantc_tensor::{DType, QParams};

use crate::calibrate::ActivationQParams;
use crate::qconfig::{DEFAULT_EPS, ObserverSpec, QConfig};
use crate::weight_only::{mode_of, reads_rows, unfit_weight_only};

/// The first dtype configuration that the QConfig may satisfy. `weighted` is the operator that takes the pattern's weight. What
/// depends on the scales that calibration finds is left to [`unmet`].
///
/// # Errors
/// For each configuration, which field is violated and how.
pub(crate) fn choose_dtype_config(
    pattern: &BackendPatternConfig,
    qconfig: &QConfig,
    weighted: Option<OpRef>,
) -> Result<DTypeConfig, Vec<String>> {
    let mode = mode_of(qconfig);
    let modes: BTreeSet<Mode> = pattern.dtype_configs.iter().map(DTypeConfig::mode).collect();
    if !modes.contains(&mode) {
        let modes: Vec<String> = modes.iter().map(Mode::to_string).collect();
        return Err(vec![format!("it runs {}, the QConfig is {mode}", modes.join(" or "))]);
    }
    let mut violations = Vec::new();
    for config in pattern.dtype_configs.iter().filter(|c| c.mode() == mode) {
        match violation(config, pattern, qconfig, weighted) {
            None => return Ok(config.clone()),
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
    let activation = &qconfig.activation;
    let unfit_input = config.input.as_ref().and_then(|input| match mode {
        Mode::Static => unfit(input, activation),
        Mode::Dynamic => unfit_dynamic(input, activation),
        Mode::WeightOnly | Mode::Float16Dynamic | Mode::Float16Static => None,
    });
    if let Some(v) = unfit_input {
        return Some(format!("input: {v}"));
    }
    let has_weight = pattern.roles.iter().any(|r| r.1 == Role::Weight);
    if let (true, Some(weight)) = (has_weight, &config.weight)
        && let Some(v) = unfit(weight, &qconfig.weight)
    {
        return Some(format!("weight: {v}"));
    }
    if let (Mode::Static, Some(output)) = (mode, &config.output)
        && output.dtype != DType::F32
    {
        let v = match pattern.fixed_qparams_for(output.dtype) {
            // The parameters are these, whatever the observer would find.
            Some(fixed) => unfit_type(output, &qconfig.activation).or_else(|| unmet_fixed(output, fixed)),
            None => unfit(output, &qconfig.activation),
        };
        if let Some(v) = v {
            return Some(format!("output: {v}"));
        }
    }
    let op = weighted?;
    let unfit = match mode {
        Mode::WeightOnly => unfit_weight_only(op, &qconfig.weight),
        _ => unfit_weight(op, &qconfig.weight),
    };
    let several = op.signature().inputs.iter().any(|i| i.name == "r") || reads_rows(op);
    let unknown = || (several && asks_of_weight(config)).then(|| format!("the scales of {op} have no bounds"));
    unfit.or_else(unknown).map(|v| format!("weight: {v}"))
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

/// What an observer surely violates, whatever it sees.
fn unfit(constraints: &DTypeWithConstraints, observer: &ObserverSpec) -> Option<String> {
    unfit_type(constraints, observer).or_else(|| {
        let largest = constraints.scale_max.into_iter().chain(constraints.scale_exact).reduce(f32::min)?;
        (largest < observer.eps)
            .then(|| format!("the scale must be at most {largest:e}, the observer's is at least {:e}", observer.eps))
    })
}

/// The same of a range that is taken from each input when the model runs: nothing is known of its scale but the lower bound.
fn unfit_dynamic(constraints: &DTypeWithConstraints, observer: &ObserverSpec) -> Option<String> {
    let asked = match constraints {
        DTypeWithConstraints { scale_min: Some(bound), .. } if *bound > DEFAULT_EPS => format!("at least {bound:e}"),
        DTypeWithConstraints { scale_max: Some(bound), .. } => format!("at most {bound:e}"),
        DTypeWithConstraints { scale_exact: Some(exact), .. } => format!("{exact:e}"),
        DTypeWithConstraints { zero_point_exact: Some(exact), .. } => {
            return Some(format!("the zero point must be {exact}, it is found when the model runs"));
        }
        _ => return unfit_type(constraints, observer),
    };
    Some(format!("the scale must be {asked}, it is found when the model runs"))
}

/// The element type and the quantized range (PyTorch compares these with the observer too).
fn unfit_type(constraints: &DTypeWithConstraints, observer: &ObserverSpec) -> Option<String> {
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
    None
}

fn unmet_fixed(constraints: &DTypeWithConstraints, fixed: FixedQParams) -> Option<String> {
    unmet_scale(constraints, fixed.scale, fixed.zero_point).map(|v| format!("{v} is fixed"))
}

/// What a scale and a zero point violate: `the scale must be at most 5e-1, 7e-1`.
fn unmet_scale(constraints: &DTypeWithConstraints, scale: f32, zero_point: i32) -> Option<String> {
    if let Some(want) = constraints.scale_exact.filter(|want| scale != *want) {
        return Some(format!("the scale must be {want:e}, {scale:e}"));
    }
    if let Some(bound) = constraints.scale_min.filter(|bound| scale < *bound) {
        return Some(format!("the scale must be at least {bound:e}, {scale:e}"));
    }
    if let Some(bound) = constraints.scale_max.filter(|bound| scale > *bound) {
        return Some(format!("the scale must be at most {bound:e}, {scale:e}"));
    }
    let want = constraints.zero_point_exact.filter(|want| zero_point != *want)?;
    Some(format!("the zero point must be {want}, {zero_point}"))
}

/// The parameters of a group's values.
pub(crate) struct Found<'a> {
    /// Name and parameters of each activation that is quantized.
    pub(crate) inputs: Vec<(&'a str, &'a ActivationQParams)>,
    /// Those of its weight.
    pub(crate) weight: Option<(&'a str, &'a QParams)>,
    /// Those of its result, if that is quantized.
    pub(crate) output: Option<(&'a str, &'a ActivationQParams)>,
}

/// What the parameters that calibration found violate: PyTorch compares a lower bound of the scale with the observer's `eps` only, and
/// an upper one with nothing.
pub(crate) fn unmet(config: &DTypeConfig, found: &Found<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let mut check = |field: &str, constraints: &DTypeWithConstraints, name: &str, (scale, zero_point)| {
        if let Some(v) = unmet_scale(constraints, scale, zero_point) {
            out.push(format!("{}: {field}: {v} was found for `{name}`", config.name));
        }
    };
    if let Some(input) = &config.input {
        found.inputs.iter().for_each(|(name, q)| check("input", input, name, (q.scale, q.zero_point)));
    }
    if let (Some(constraints), Some((name, q))) = (&config.weight, found.weight) {
        for (channel, (scale, zero_point)) in q.scale.iter().zip(&q.zero_point).enumerate() {
            let name = if q.axis.is_some() { &format!("{name}[{channel}]") } else { name };
            check("weight", constraints, name, (*scale, *zero_point));
        }
    }
    if let (Some(output), Some((name, q))) = (&config.output, found.output) {
        check("output", output, name, (q.scale, q.zero_point));
    }
    out
}

/// Whether a configuration asks for anything of a weight that depends on its values.
pub(crate) fn asks_of_weight(config: &DTypeConfig) -> bool {
    config.weight.as_ref().is_some_and(|c| {
        c.scale_min.is_some() || c.scale_max.is_some() || c.scale_exact.is_some() || c.zero_point_exact.is_some()
    })
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
            .map(|config| config.name.to_string())
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
    fn fixed_parameters_are_compared_beforehand() {
        let (exact, fixed) = (":input u8 :output (u8 :scale 1/256 :zero-point 0)", ":fixed-qparams (u8 1/256 0)");
        assert!(choose(exact, fixed, "x86").is_ok());
        let other = choose(exact, ":fixed-qparams (u8 1/256 3)", "x86").expect_err("another zero point");
        assert_eq!(other, ["c: output: the zero point must be 0, 3 is fixed"]);
        let bounded = ":input u8 :output (u8 :scale-max 0.5)";
        assert!(choose(bounded, fixed, "x86").is_ok());
        let larger = choose(bounded, ":fixed-qparams (u8 1 0)", "x86").expect_err("too large");
        assert_eq!(larger, ["c: output: the scale must be at most 5e-1, 1e0 is fixed"]);
        let smaller = choose(":input u8 :output (u8 :scale-min 1/16)", fixed, "x86").expect_err("too small");
        assert_eq!(smaller, ["c: output: the scale must be at least 6.25e-2, 3.90625e-3 is fixed"]);
    }

    #[test]
    fn what_no_scale_can_satisfy_is_refused_beforehand() {
        for field in [":input (u8 :scale-max 2^-30) :output u8", ":input u8 :output (u8 :scale 2^-30)"] {
            let refused = choose(field, "", "x86").expect_err("smaller than eps");
            assert!(refused[0].contains("the observer's is at least 1.1920929e-7"), "{refused:?}");
        }
        // What data decide is left to them.
        for field in [":scale-min 1", ":scale-max 1", ":scale 1/256", ":zero-point 7"] {
            assert!(choose(&format!(":input (u8 {field}) :output (u8 {field})"), "", "x86").is_ok(), "{field}");
        }
    }

    #[test]
    fn a_scale_that_is_found_at_each_run_has_no_bounds() {
        let config = |input: &str| format!(":input {input} :output f32 :dynamic true");
        assert!(choose(&config("u8"), "", "dynamic").is_ok());
        assert!(choose(&config("(u8 :scale-min 2^-23)"), "", "dynamic").is_ok(), "every scale is at least this");
        for constraint in [":scale-min 2^-12", ":scale-max 1", ":scale 1/256", ":zero-point 0"] {
            let refused = choose(&config(&format!("(u8 {constraint})")), "", "dynamic").expect_err("unknown");
            assert!(refused[0].contains("when the model runs"), "{refused:?}");
        }
        let refused = choose(&config("i8"), "", "dynamic").expect_err("u8 is observed");
        assert_eq!(refused, ["c: input: dtype i8 is wanted, the observer gives u8"]);
    }
}
