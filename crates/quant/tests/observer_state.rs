//! Saving, loading and merging observers.

use proptest::prelude::*;
use quantc_ir::text::parse;
use quantc_pattern::Library;
use quantc_quant::fake_quantize::FakeQuantize;
use quantc_quant::observer::{
    Observer, ObserverStateDict, StateData, StateError, Stateful, get_observer_state_dict, load_observer_state_dict,
};
use quantc_quant::qconfig::presets::{OBSERVERS, default_fused_wt_fake_quant};
use quantc_quant::qconfig::{ObserverDType, RangeSearch, named};
use quantc_quant::{Calibrator, ObserverKind, ObserverSpec, QConfigMapping, QuantError, prepare_fx};
use quantc_tensor::{DType, QScheme, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params};

const KEY: &str = "layer.activation_post_process";
const SHAPE: &[usize] = &[3, 4];

/// An observer of every class that computes parameters.
fn specs() -> Vec<ObserverSpec> {
    let spec = |kind, scheme| ObserverSpec::new(kind, ObserverDType::Quint8, scheme);
    let moving = ObserverKind::MovingAverageMinMax { averaging_constant: 0.3 };
    let mut specs = vec![
        spec(ObserverKind::MinMax, QScheme::PerTensorAffine),
        spec(ObserverKind::MinMax, QScheme::PerChannelSymmetric),
        spec(moving, QScheme::PerTensorSymmetric),
        spec(moving, QScheme::PerChannelAffine),
        spec(ObserverKind::Histogram, QScheme::PerTensorAffine),
        spec(ObserverKind::FixedQParams { scale: 0.25, zero_point: 3 }, QScheme::PerTensorAffine),
    ];
    specs.extend(
        [RangeSearch::L2, RangeSearch::Mse, RangeSearch::Percentile(99.9), RangeSearch::Entropy]
            .map(|search| spec(ObserverKind::AlignedHistogram { search }, QScheme::PerTensorAffine)),
    );
    specs
}

fn save(module: &dyn Stateful) -> String {
    get_observer_state_dict([(KEY, module)]).to_json().expect("JSON")
}

fn load(module: &mut dyn Stateful, json: &str) -> Result<(), StateError> {
    load_observer_state_dict([(KEY, module)], &ObserverStateDict::from_json(json)?)
}

/// Values with all the bits of an f32, an infinity among them.
fn values() -> impl Strategy<Value = Vec<f32>> {
    let any =
        any::<f32>().prop_filter("a width that is finite", |v| !v.is_nan() && (v.is_infinite() || v.abs() < 1e37));
    prop::collection::vec(prop_oneof![any, -4f32..4.0, Just(0.0)], 12)
}

proptest! {
    /// The same bytes, the same parameters, and the same when more is observed.
    #[test]
    fn a_loaded_observer_goes_on_where_the_saved_one_was(a in values(), b in values()) {
        for spec in specs() {
            let mut saved = spec.build().expect("a valid spec");
            let fresh = save(saved.as_ref());
            let mut loaded = spec.build().expect("a valid spec");
            load(loaded.as_mut(), &fresh).expect("the state of an observer that has seen nothing");
            saved.observe(&a, SHAPE).expect("no NaN");
            let json = save(saved.as_ref());
            load(loaded.as_mut(), &json).expect("a saved state");
            prop_assert_eq!(&save(loaded.as_ref()), &json);
            prop_assert_eq!(loaded.calculate_qparams(), saved.calculate_qparams());
            prop_assert_eq!(loaded.infinities(), saved.infinities());
            saved.observe(&b, SHAPE).expect("no NaN");
            loaded.observe(&b, SHAPE).expect("no NaN");
            prop_assert_eq!(save(loaded.as_ref()), save(saved.as_ref()));
        }
    }
}

#[test]
fn the_json_has_the_names_of_pytorch() {
    let mut observer = specs()[1].build().expect("a valid spec");
    observer.observe(&[1.0, -2.5, 0.1, f32::INFINITY], &[2, 2]).expect("no NaN");
    let json: serde_json::Value = serde_json::from_str(&save(observer.as_ref())).expect("JSON");
    assert_eq!(json["version"], 1);
    assert_eq!(json["classes"][KEY], "PerChannelMinMaxObserver");
    let min = serde_json::json!({"dtype": "float32", "shape": [2], "data": [-2.5, f64::from(0.1f32)]});
    assert_eq!(json["state"][format!("{KEY}.min_val")], min);
    assert_eq!(json["state"][format!("{KEY}.max_val")]["data"], serde_json::json!([1.0, f64::from(0.1f32)]));
    assert_eq!(json["state"][format!("{KEY}.infinities")]["data"], serde_json::json!([1]));
    let unseen = save(specs()[0].build().expect("a valid spec").as_ref());
    assert!(unseen.contains("\"inf\"") && unseen.contains("\"-inf\""), "{unseen}");
}

/// A state without the count of infinities, which PyTorch has not, is read.
#[test]
fn a_state_from_pytorch_is_read() {
    let json = r#"{"version": 1, "classes": {"act.activation_post_process": "MinMaxObserver"}, "state": {
        "act.activation_post_process.eps": {"dtype": "float32", "shape": [1], "data": [0.000244140625]},
        "act.activation_post_process.min_val": {"dtype": "float32", "shape": [], "data": [-1]},
        "act.activation_post_process.max_val": {"dtype": "float32", "shape": [], "data": [1.55]},
        "conv.weight": {"dtype": "float32", "shape": [], "data": [7]}}}"#;
    let dict = ObserverStateDict::from_json(json).expect("JSON");
    let mut observer = specs()[0].build().expect("a valid spec");
    load_observer_state_dict([("act.activation_post_process", observer.as_mut() as &mut dyn Stateful)], &dict)
        .expect("loads");
    assert_eq!(observer.spec().eps, 1.0 / 4096.0, "eps is a buffer");
    let qparams = observer.calculate_qparams().expect("finite").qparams;
    assert_eq!((qparams.scale[0], qparams.zero_point[0]), (2.55f32 / 255.0, 100));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let specs = specs();
    let mut observer = specs[0].build().expect("a valid spec");
    observer.observe(&[1.0, -2.0], &[2]).expect("no NaN");
    let before = save(observer.as_ref());
    let good = ObserverStateDict::from_json(&before).expect("JSON");
    let refuse = |observer: &mut Box<dyn Observer>, dict: &ObserverStateDict| {
        let error =
            load_observer_state_dict([(KEY, observer.as_mut() as &mut dyn Stateful)], dict).expect_err("does not fit");
        assert_eq!(save(observer.as_ref()), before, "{error}");
        error
    };
    let min_val = format!("{KEY}.min_val");

    let mut other = specs[4].build().expect("a valid spec");
    let histogram = ObserverStateDict::from_json(&save(other.as_ref())).expect("JSON");
    let wrong = StateError::WrongClass {
        prefix: KEY.to_owned(),
        expected: "MinMaxObserver",
        found: "HistogramObserver".to_owned(),
    };
    assert_eq!(refuse(&mut observer, &histogram), wrong);
    assert!(matches!(load(other.as_mut(), &before), Err(StateError::WrongClass { .. })));

    let mut missing = good.clone();
    missing.state.remove(&min_val);
    assert_eq!(refuse(&mut observer, &missing), StateError::MissingKey { key: min_val.clone() });
    assert!(matches!(refuse(&mut observer, &ObserverStateDict::default()), StateError::MissingKey { .. }));

    let mut more = good.clone();
    let stray = "b.activation_post_process.min_val".to_owned();
    more.state.insert(stray.clone(), good.state[&min_val].clone());
    assert_eq!(refuse(&mut observer, &more), StateError::UnexpectedKey { key: stray });

    for (data, says) in [
        (StateData::Int32(vec![0]), "dtype must be float32, not int32"),
        (StateData::Float32(vec![9.0]), "below min_val"),
        (StateData::Float32(vec![f32::NAN]), "NaN"),
        (StateData::Float32(vec![0.0, 0.0]), "one value, not 2"),
    ] {
        let mut dict = good.clone();
        dict.state.get_mut(&min_val).expect("there is one").data = data;
        let error = refuse(&mut observer, &dict);
        assert!(
            matches!(&error, StateError::Invalid { key, message } if *key == min_val || message.contains(says)),
            "{error}"
        );
        assert!(error.to_string().contains(says), "{error}");
    }

    let version = before.replace("\"version\": 1", "\"version\": 2");
    assert_eq!(load(observer.as_mut(), &version), Err(StateError::Version { found: 2 }));
    for text in ["", "{}", &before.replace("float32", "float64"), &before.replace("[]", "[5]")] {
        assert!(matches!(load(observer.as_mut(), text), Err(StateError::Json(_))), "{text}");
    }
}

#[test]
fn a_histogram_that_cannot_be_is_refused() {
    for spec in specs().into_iter().filter(|s| s.name().contains("Histogram")) {
        let mut observer = spec.build().expect("a valid spec");
        observer.observe(&[1.0, -2.0], &[2]).expect("no NaN");
        let good = ObserverStateDict::from_json(&save(observer.as_ref())).expect("JSON");
        let key = format!("{KEY}.histogram");
        let mut dict = good.clone();
        match &mut dict.state.get_mut(&key).expect("there is one").data {
            StateData::Float32(counts) => counts.push(1.0),
            StateData::Uint64(counts) => counts.resize(20_000, 1),
            other => panic!("{other:?} are no counts"),
        }
        let error =
            load_observer_state_dict([(KEY, observer.as_mut() as &mut dyn Stateful)], &dict).expect_err("too many");
        assert!(matches!(&error, StateError::Invalid { key: at, .. } if *at == key), "{error}");
    }
}

#[test]
fn fake_quantize_modules_are_saved_with_their_observer() {
    let mut module = FakeQuantize::new(&default_fused_wt_fake_quant()).expect("a preset");
    module.forward(&[0.5, -1.0, 0.25], &[3]).expect("no NaN");
    module.enable_observer(false);
    let mut loaded = FakeQuantize::new(&default_fused_wt_fake_quant()).expect("a preset");
    load(&mut loaded, &save(&module)).expect("a saved state");
    assert_eq!(loaded.state(), module.state());
    assert!(!loaded.observer_enabled() && loaded.fake_quant_enabled());

    // Under another name only the observer's keys are an observer's.
    let dict = get_observer_state_dict([("weight_fake_quant", &module as &dyn Stateful)]);
    assert!(dict.state.keys().all(|k| k.starts_with("weight_fake_quant.activation_post_process.")), "{dict:?}");
    let mut loaded = FakeQuantize::new(&default_fused_wt_fake_quant()).expect("a preset");
    load_observer_state_dict([("weight_fake_quant", &mut loaded as &mut dyn Stateful)], &dict).expect("a saved state");
    assert_eq!(loaded.activation_post_process().ranges(), module.activation_post_process().ranges());
    assert!(loaded.observer_enabled(), "not an observer's key");
}

#[test]
fn presets_that_compute_nothing_save_nothing_and_say_so() {
    let passive = ["PlaceholderObserver", "RecordingObserver", "ReuseInputObserver"];
    let mut seen = Vec::new();
    for spec in OBSERVERS.iter().map(|p| (p.1)()).filter(|s| passive.contains(&s.name())) {
        let mut observer = spec.build().expect("a preset");
        observer.observe(&[1.0, f32::NAN], &[2]).expect("values are not looked at");
        assert!(observer.state().is_empty());
        let error = observer.calculate_qparams().expect_err("nothing to compute from").to_string();
        assert!(error.contains(spec.name()), "{error}");
        let json = save(observer.as_ref());
        load(observer.as_mut(), &json).expect("nothing to load");
        observer.merge(spec.build().expect("a preset").as_ref()).expect("nothing to merge");
        seen.push(spec.name());
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// A calibration goes on in another process.
#[test]
fn a_calibrator_is_saved_and_loaded() {
    let text = "graph net(%x: f32[2,3,8,8]) {
      param @c.weight: f32[4,3,3,3]
      param @d.weight: f32[4,4,3,3]
      %c = conv2d(%x, @c.weight)  # c: Conv2d(Conv, 0)
      %r = relu(%c)  # r: ReLU(Relu, 0)
      %d = conv2d(%r, @d.weight)  # d: Conv2d(Conv, 1)
      return y=%d
    }";
    let graph = with_random_params(parse(text).expect("parses"), 3);
    let input = |seed| {
        let ty = TensorType::new(DType::F32, [2usize, 3, 8, 8].as_slice());
        vec![("x".to_owned(), random_tensor(&mut rng(seed), &ty))]
    };
    let library = Library::builtin().expect("the embedded patterns are valid");
    for name in ["x86", "histogram", "fbgemm", "moving_average"] {
        let mapping = QConfigMapping::default_for(named(name).expect("a preset"));
        let prepared = prepare_fx(&graph, &mapping, library.backend("x86").expect("exists")).expect("prepares");
        let mut whole = Calibrator::new(&prepared).expect("valid observers");
        whole.observe(&input(1)).expect("runs");
        let json = get_observer_state_dict(whole.observers()).to_json().expect("JSON");
        assert!(json.contains("activation_post_process_0.min_val"), "{json}");
        whole.observe(&input(2)).expect("runs");

        let dict = ObserverStateDict::from_json(&json).expect("JSON");
        let mut second = Calibrator::new(&prepared).expect("valid observers");
        load_observer_state_dict(second.observers_mut(), &dict).expect("loads");
        second.observe(&input(2)).expect("runs");
        assert_eq!(second.finish().expect("calibrated"), whole.finish().expect("calibrated"), "{name}");

        let mut none = Calibrator::new(&prepared).expect("valid observers");
        load_observer_state_dict(none.observers_mut(), &dict).expect("loads");
        none.finish().expect("what was loaded is enough");
        let empty = Calibrator::new(&prepared).expect("valid observers").finish();
        assert!(matches!(empty, Err(QuantError::NoCalibrationData)));
    }
}
