//! What fake quantization promises beyond PyTorch's arithmetic.

use quantc_quant::fake_quantize::{
    FakeQuantize, FakeQuantizeError, ZeroPoints, disable_fake_quant, disable_observer, enable_fake_quant,
    enable_observer, fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine,
};
use quantc_quant::observer::ObserverError;
use quantc_quant::qconfig::presets::{FAKE_QUANTS, default_fake_quant, default_per_channel_weight_fake_quant};
use quantc_quant::qconfig::{FakeQuantizeKind, ObserverDType};
use quantc_quant::{ObserverKind, ObserverSpec};
use quantc_tensor::QScheme;

/// PyTorch's conversion makes `quant_min` of what does not fit into an i64, infinity among it.
#[test]
fn what_is_too_large_saturates() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 127.0, f32::NAN];
    let got = fake_quantize_per_tensor_affine(&x, 0.5, 3, 0, 255).expect("valid arguments");
    assert_eq!(got.values, [126.0, -1.5, 126.0, -1.5, 126.0, -1.5]);
    assert_eq!(got.mask, [false; 6]);
    let scales = [0.5; 6];
    for zeros in [ZeroPoints::Int(&[3; 6]), ZeroPoints::Float(&[3.0; 6])] {
        let channels = fake_quantize_per_channel_affine(&x, &[6], &scales, zeros, 0, 0, 255).expect("valid arguments");
        assert_eq!(channels, got);
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let tensor = |scale, low, high| fake_quantize_per_tensor_affine(&[1.0], scale, 0, low, high);
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(tensor(scale, 0, 255), Err(FakeQuantizeError::Scale { .. })), "{scale}");
    }
    assert!(matches!(tensor(1.0, 5, 4), Err(FakeQuantizeError::Range { .. })));
    let channels = |shape: &[usize], axis| {
        fake_quantize_per_channel_affine(&[1.0; 6], shape, &[1.0; 3], ZeroPoints::Int(&[0; 3]), axis, 0, 255)
    };
    assert!(channels(&[3, 2], 0).is_ok() && channels(&[2, 3], 1).is_ok());
    for (shape, axis) in [(&[3, 2][..], 1), (&[3, 2], 2), (&[3, 3], 0), (&[], 0)] {
        assert!(matches!(channels(shape, axis), Err(FakeQuantizeError::Channels { .. })), "{shape:?}, axis {axis}");
    }
    let got = tensor(1.0, 0, 255).expect("valid arguments");
    assert_eq!(got.backward(&[1.0, 2.0]), Err(FakeQuantizeError::Gradient { values: 1, got: 2 }));
}

#[test]
fn a_set_of_modules_is_turned_on_and_off() {
    let make = |p: &(_, fn() -> ObserverSpec)| FakeQuantize::new(&(p.1)()).expect("a preset");
    let mut modules: Vec<FakeQuantize> = FAKE_QUANTS.iter().map(make).collect();
    let on = |modules: &[FakeQuantize]| {
        let both = |m: &FakeQuantize| (m.fake_quant_enabled(), m.observer_enabled());
        let first = both(&modules[0]);
        assert!(modules.iter().all(|m| both(m) == first));
        first
    };
    assert_eq!(on(&modules), (true, true));
    disable_observer(&mut modules);
    assert_eq!(on(&modules), (true, false));
    disable_fake_quant(&mut modules);
    assert_eq!(on(&modules), (false, false));
    enable_observer(&mut modules);
    assert_eq!(on(&modules), (false, true));
    enable_fake_quant(&mut modules);
    assert_eq!(on(&modules), (true, true));
}

#[test]
fn a_refused_tensor_and_an_empty_one_change_nothing() {
    for spec in [default_fake_quant(), default_per_channel_weight_fake_quant()] {
        let mut module = FakeQuantize::new(&spec).expect("a preset");
        let empty = module.forward(&[], &[0, 2]).expect("nothing to do");
        assert!(empty.values.is_empty() && empty.mask.is_empty());
        module.forward(&[1.0, -2.0, 0.5, 4.0], &[2, 2]).expect("no NaN");
        let before = module.scale().to_vec();
        let error = module.forward(&[100.0, f32::NAN], &[2, 1]).expect_err("a NaN");
        assert!(matches!(error, FakeQuantizeError::Observer(ObserverError::NaN { index: 1, .. })), "{error}");
        assert_eq!(module.scale(), before);
        module.enable_observer(false);
        module.forward(&[100.0, 7.0], &[2, 1]).expect("no NaN");
        assert_eq!(module.scale(), before);
    }
}

#[test]
fn a_module_refuses_an_observer_that_is_not_for_it() {
    let fixed = ObserverKind::FixedQParams { scale: 0.5, zero_point: 0 };
    let moving = ObserverKind::MovingAverageMinMax { averaging_constant: 0.01 };
    let with = |kind, scheme, module, ch_axis| ObserverSpec {
        fake_quantize: module,
        ch_axis,
        ..ObserverSpec::new(kind, ObserverDType::Qint8, scheme)
    };
    let fused = Some(FakeQuantizeKind::FusedMovingAvgObsFakeQuantize);
    for spec in [
        with(ObserverKind::MinMax, QScheme::PerTensorAffine, None, 0),
        with(ObserverKind::MinMax, QScheme::PerTensorAffine, fused, 0),
        with(fixed, QScheme::PerTensorAffine, fused, 0),
        with(moving, QScheme::PerChannelSymmetric, fused, 1),
        with(moving, QScheme::PerTensorAffine, Some(FakeQuantizeKind::FixedQParamsFakeQuantize), 0),
        with(ObserverKind::Placeholder, QScheme::PerTensorAffine, Some(FakeQuantizeKind::FakeQuantize), 0),
        with(ObserverKind::Recording, QScheme::PerTensorAffine, Some(FakeQuantizeKind::FakeQuantize), 0),
    ] {
        assert!(FakeQuantize::new(&spec).is_err(), "{spec:?}");
    }
    let mut unseen = FakeQuantize::new(&with(moving, QScheme::PerTensorAffine, fused, 0)).expect("a valid spec");
    unseen.enable_observer(false);
    let error = unseen.forward(&[1.0], &[1]).expect_err("nothing to compute from");
    assert!(error.to_string().contains("nothing was observed"), "{error}");
}
