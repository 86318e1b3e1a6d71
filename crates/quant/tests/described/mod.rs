//! What PyTorch's constructors made, as `scripts/golden_presets.py` describes it, and our specs compared with it.
#![allow(dead_code, reason = "each test file uses a part")]

use quantc_quant::qconfig::{FakeQuantizeKind, ObserverSpec};
use quantc_quant::{ObserverKind, QConfig};
use serde::Deserialize;

use crate::hex::{bits, floats};

/// A QConfig.
#[derive(Deserialize)]
pub struct BuiltQConfig {
    pub activation: Built,
    pub weight: Built,
}

/// What PyTorch's constructor made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    pub class: String,
    pub state: Vec<String>,
    pub observer: Option<Box<Built>>,
    dtype: Option<String>,
    is_dynamic: Option<bool>,
    qscheme: Option<String>,
    quant_min: Option<i32>,
    quant_max: Option<i32>,
    reduce_range: Option<bool>,
    has_customized_qrange: Option<bool>,
    ch_axis: Option<usize>,
    eps: Option<String>,
    averaging_constant: Option<String>,
    scale: Option<String>,
    zero_point: Option<i32>,
}

#[track_caller]
pub fn check(name: &str, spec: &ObserverSpec, built: &Built) {
    let Some(inner) = &built.observer else {
        assert_eq!(spec.fake_quantize, None, "{name}");
        return check_observer(name, spec, built);
    };
    assert_eq!(spec.fake_quantize.map(FakeQuantizeKind::name), Some(built.class.as_str()), "{name}");
    check_observer(name, spec, inner);
}

#[track_caller]
fn check_observer(name: &str, spec: &ObserverSpec, built: &Built) {
    assert_eq!(spec.name(), built.class, "{name}");
    let Some(dtype) = &built.dtype else {
        assert_eq!(spec.observer, ObserverKind::Identity, "{name}");
        return;
    };
    assert_eq!(spec.dtype.name(), dtype, "{name}");
    assert_eq!(Some(spec.is_dynamic), built.is_dynamic, "{name}");
    if let Some(qscheme) = &built.qscheme {
        assert_eq!(serde_json::to_value(spec.qscheme).expect("a string"), *qscheme.as_str(), "{name}");
    }
    match (built.quant_min, built.quant_max) {
        (Some(min), Some(max)) => assert_eq!((spec.range().qmin, spec.range().qmax), (min, max), "{name}"),
        _ => assert_eq!((spec.quant_min, spec.quant_max), (None, None), "{name}"),
    }
    assert_eq!(spec.reduce_range, built.reduce_range.unwrap_or(false), "{name}");
    if let Some(custom) = built.has_customized_qrange {
        assert_eq!(spec.quant_min.is_some() && spec.quant_max.is_some(), custom, "{name}");
    }
    assert_eq!(spec.ch_axis, built.ch_axis.unwrap_or(0), "{name}");
    let same = |got: f32, expected: &Option<String>| {
        let expected = floats(expected.as_deref().unwrap_or_else(|| panic!("{name}: PyTorch's has no such argument")));
        assert_eq!(bits(&[got]), bits(&expected), "{name}");
    };
    if built.eps.is_some() {
        same(spec.eps, &built.eps);
    }
    match spec.observer {
        ObserverKind::MovingAverageMinMax { averaging_constant } => {
            same(averaging_constant, &built.averaging_constant);
        }
        ObserverKind::FixedQParams { scale, zero_point } => {
            same(scale, &built.scale);
            assert_eq!(Some(zero_point), built.zero_point, "{name}");
        }
        _ => assert!(built.averaging_constant.is_none() && built.scale.is_none(), "{name}"),
    }
}

#[track_caller]
pub fn check_qconfig(name: &str, qconfig: &QConfig, built: &BuiltQConfig) {
    check(&format!("{name}, activation"), &qconfig.activation, &built.activation);
    check(&format!("{name}, weight"), &qconfig.weight, &built.weight);
}
