//! The presets, field by field against torch 2.8.0's (`scripts/golden_presets.py` made the file), and what a QConfig's JSON may say.

mod described;
mod hex;

use std::collections::BTreeMap;

use described::{Built, BuiltQConfig, check, check_qconfig};
use quantc_quant::QConfig;
use quantc_quant::fake_quantize::FakeQuantize;
use quantc_quant::observer::Stateful;
use quantc_quant::qconfig::presets::{
    BACKENDS, FAKE_QUANTS, OBSERVERS, Preset, PresetError, QCONFIGS, get_default_qat_qconfig, get_default_qconfig,
};
use quantc_quant::qconfig::{NAMES, ObserverDType, ObserverSpec, named};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    observers: BTreeMap<String, Built>,
    fake_quants: BTreeMap<String, Built>,
    qconfigs: BTreeMap<String, BuiltQConfig>,
    /// function, backend, version, QConfig.
    backends: Vec<(String, String, u32, BuiltQConfig)>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/presets.json")).expect("the golden file is well-formed")
}

/// Every preset has its counterpart in PyTorch and the other way round.
#[track_caller]
fn pairs<'a, T, B>(presets: &[Preset<T>], built: &'a BTreeMap<String, B>) -> Vec<(&'static str, T, &'a B)> {
    assert_eq!(presets.len(), built.len());
    presets.iter().map(|(name, make)| (*name, make(), &built[*name])).collect()
}

/// The names of a module's buffers, those that only quantc has left out, are PyTorch's.
#[track_caller]
fn check_state(name: &str, module: &dyn Stateful, built: &Built) {
    let mut names: Vec<_> = module.state().into_iter().map(|b| b.0).filter(|n| !n.ends_with("infinities")).collect();
    names.sort_unstable();
    assert_eq!(names, built.state, "{name}");
}

#[test]
fn observers_and_fake_quantize_modules_are_torch_s() {
    let golden = golden();
    for (name, spec, built) in pairs(OBSERVERS, &golden.observers) {
        check(name, &spec, built);
        check_state(name, spec.build().expect("a valid spec").as_ref(), built);
    }
    for (name, spec, built) in pairs(FAKE_QUANTS, &golden.fake_quants) {
        assert!(built.observer.is_some(), "{name}");
        check(name, &spec, built);
        check_state(name, &FakeQuantize::new(&spec).expect("a valid spec"), built);
    }
}

#[test]
fn qconfigs_are_torch_s() {
    let golden = golden();
    for (name, qconfig, built) in pairs(QCONFIGS, &golden.qconfigs) {
        check_qconfig(name, &qconfig, built);
        assert_eq!(named(name), Some(qconfig), "{name}");
    }
}

#[test]
fn qconfigs_of_backends_are_torch_s() {
    let golden = golden();
    assert_eq!(golden.backends.len(), 3 * BACKENDS.len());
    for (function, backend, version, built) in &golden.backends {
        let get = if function == "get_default_qconfig" { get_default_qconfig } else { get_default_qat_qconfig };
        let qconfig = get(backend, *version).unwrap_or_else(|e| panic!("{function} {backend}: {e}"));
        check_qconfig(&format!("{function} {backend} {version}"), &qconfig, built);
        if function == "get_default_qconfig" && backend != "x86" {
            assert_eq!(named(backend), Some(qconfig), "{backend}");
        }
    }
    assert_eq!(get_default_qconfig("tpu", 0), Err(PresetError::Backend("tpu".to_owned())));
    assert!(matches!(get_default_qconfig("x86", 1), Err(PresetError::Version { version: 1, .. })));
    assert!(matches!(get_default_qat_qconfig("x86", 2), Err(PresetError::Version { version: 2, .. })));
}

#[test]
fn every_name_is_known_and_round_trips_through_json() {
    assert!(named("nope").is_none());
    for name in NAMES.iter().map(|n| n.0).chain(QCONFIGS.iter().map(|p| p.0)) {
        let q = named(name).unwrap_or_else(|| panic!("{name}"));
        let json = serde_json::to_string(&q).expect("serializes");
        assert_eq!(serde_json::from_str::<QConfig>(&json).expect("parses"), q, "{json}");
    }
}

/// What earlier versions wrote: no `is_dynamic` and no `fake_quantize`, and `dynamic` as an observer of its own.
#[test]
fn the_json_of_earlier_versions_is_read() {
    let old = r#"{
        "activation": {"observer": "dynamic", "dtype": "quint8", "qscheme": "per_tensor_affine", "reduce_range": false},
        "weight": {"observer": {"moving_average_min_max": {"averaging_constant": 0.5}}, "dtype": "i8", "qscheme": "per_channel_symmetric",
            "quant_min": -127, "quant_max": 127, "eps": 0.000244140625, "ch_axis": 1}
    }"#;
    let q: QConfig = serde_json::from_str(old).expect("parses");
    assert!(q.is_dynamic());
    assert_eq!(q.activation.name(), "PlaceholderObserver");
    assert_eq!((q.weight.dtype, q.weight.eps, q.weight.ch_axis), (ObserverDType::Qint8, 1.0 / 4096.0, 1));
    assert_eq!((q.weight.is_dynamic, q.weight.fake_quantize), (false, None));
    let histogram = r#"{"observer": "histogram", "dtype": "quint8", "qscheme": "per_tensor_affine"}"#;
    let spec: ObserverSpec = serde_json::from_str(histogram).expect("parses");
    assert_eq!(spec.name(), "HistogramObserver");
    for (wrong, says) in [
        (histogram.replace("histogram", "histogramm"), "unknown variant `histogramm`"),
        (histogram.replace("quint8", "quint7"), "dtype `quint7` is not one of"),
        (histogram.replace("qscheme", "scheme"), "unknown field `scheme`"),
    ] {
        let error = serde_json::from_str::<ObserverSpec>(&wrong).expect_err("a mistake").to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn reduced_range_floors() {
    let mut spec = named("x86").expect("exists").weight;
    spec.reduce_range = true;
    assert_eq!((spec.range().qmin, spec.range().qmax), (-64, 63));
    (spec.quant_min, spec.quant_max) = (None, None);
    assert_eq!((spec.range().qmin, spec.range().qmax), (-64, 63));
}

#[test]
fn what_a_qconfig_says_of_itself() {
    let q = |name: &str| named(name).expect("a preset");
    let reuse: Vec<_> = QCONFIGS.iter().filter(|p| (p.1)().is_reuse_input()).map(|p| p.0).collect();
    assert_eq!(reuse, ["default_reuse_input_qconfig"]);
    let memoryless: Vec<_> = QCONFIGS.iter().filter(|p| (p.1)().activation_is_memoryless()).map(|p| p.0).collect();
    assert_eq!(memoryless, ["default_dynamic_qat_qconfig"]);
    assert!(q("default_dynamic_qat_qconfig").is_dynamic() && q("dynamic").is_dynamic() && !q("x86").is_dynamic());
}
