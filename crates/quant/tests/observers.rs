//! What the observers promise beyond PyTorch's arithmetic.

use proptest::prelude::*;
use quantc_quant::observer::{HistogramObserver, Observer, ObserverError, Range, RecordingObserver};
use quantc_quant::qconfig::{ObserverDType, RangeSearch};
use quantc_quant::{ObserverKind, ObserverSpec};
use quantc_tensor::QScheme;

const MOVING: ObserverKind = ObserverKind::MovingAverageMinMax { averaging_constant: 0.01 };

const MIN_MAX: ObserverSpec = ObserverSpec::new(ObserverKind::MinMax, ObserverDType::Quint8, QScheme::PerTensorAffine);
const PER_CHANNEL: ObserverSpec = ObserverSpec { qscheme: QScheme::PerChannelAffine, ..MIN_MAX };
const MOVING_AVERAGE: ObserverSpec = ObserverSpec { observer: MOVING, ..MIN_MAX };
const MOVING_AVERAGE_PER_CHANNEL: ObserverSpec = ObserverSpec { observer: MOVING, ..PER_CHANNEL };
const HISTOGRAM: ObserverSpec = ObserverSpec { observer: ObserverKind::Histogram, ..MIN_MAX };
const ALIGNED: ObserverSpec =
    ObserverSpec { observer: ObserverKind::AlignedHistogram { search: RangeSearch::L2 }, ..MIN_MAX };
const ALL: [ObserverSpec; 6] = [MIN_MAX, MOVING_AVERAGE, PER_CHANNEL, MOVING_AVERAGE_PER_CHANNEL, HISTOGRAM, ALIGNED];

fn build(spec: &ObserverSpec) -> Box<dyn Observer> {
    spec.build().expect("the arguments are valid")
}

fn observed(spec: &ObserverSpec, tensors: &[(&[f32], &[usize])]) -> Box<dyn Observer> {
    let mut observer = build(spec);
    for (data, shape) in tensors {
        observer.observe(data, shape).expect("valid tensors");
    }
    observer
}

#[test]
fn never_observed_is_one_and_zero_and_says_so() {
    for spec in &ALL {
        let got = observed(spec, &[(&[], &[0, 3])]).calculate_qparams().expect("no range to overflow");
        assert_eq!((got.qparams.scale, got.qparams.zero_point, got.observed), (vec![1.0], vec![0], false), "{spec:?}");
    }
}

#[test]
fn nan_is_an_error_that_names_the_observer_and_changes_nothing() {
    for spec in &ALL {
        let mut observer = observed(spec, &[(&[1.0, -2.0, 0.5, 3.0], &[2, 2])]);
        let before = observer.calculate_qparams();
        let error = observer.observe(&[9.0, 9.0, 9.0, f32::NAN], &[2, 2]).expect_err("NaN must be refused");
        assert_eq!(error, ObserverError::NaN { observer: observer.name(), index: 3 });
        assert!(error.to_string().starts_with(observer.name()), "{error}");
        assert_eq!(observer.calculate_qparams(), before, "{spec:?}");
    }
}

#[test]
fn infinities_are_left_out_and_counted() {
    for spec in &ALL {
        let finite = observed(spec, &[(&[1.0, -2.0, 0.5, 3.0], &[2, 2]), (&[0.25, 5.0, -1.0, 1.0], &[2, 2])]);
        let mut observer = observed(spec, &[(&[1.0, -2.0, 0.5, 3.0], &[2, 2])]);
        observer
            .observe(&[0.25, f32::INFINITY, 5.0, -1.0, f32::NEG_INFINITY, 1.0], &[2, 3])
            .expect("infinities are no error");
        assert_eq!(observer.infinities(), 2, "{spec:?}");
        assert_eq!(observer.calculate_qparams(), finite.calculate_qparams(), "{spec:?}");
        let only = observed(spec, &[(&[f32::INFINITY; 4], &[2, 2])]);
        assert!(!only.calculate_qparams().expect("no range").observed, "{spec:?}");
    }
}

#[test]
fn a_channel_without_finite_values_does_not_spoil_the_others() {
    let observer = observed(&PER_CHANNEL, &[(&[f32::INFINITY, -1.0, f32::INFINITY, 2.0], &[2, 2])]);
    let transposed = {
        let mut o = build(&ObserverSpec { ch_axis: 1, ..PER_CHANNEL });
        o.observe(&[f32::INFINITY, -1.0, f32::INFINITY, 2.0], &[2, 2]).expect("valid tensor");
        o.calculate_qparams().expect("finite")
    };
    assert!(observer.calculate_qparams().expect("finite").observed);
    assert!(!transposed.observed);
    assert_eq!((transposed.qparams.scale[0], transposed.qparams.zero_point[0]), (1.0, 0));
    assert_eq!(transposed.qparams.scale[1], 3.0 / 255.0);
}

#[test]
fn a_range_too_wide_for_f32_is_an_error() {
    for spec in &ALL {
        let observer = observed(spec, &[(&[f32::MAX, -f32::MAX], &[1, 2])]);
        let error = observer.calculate_qparams().expect_err("the width overflows");
        let whole = ObserverError::RangeTooWide { observer: observer.name(), min: -f32::MAX, max: f32::MAX };
        assert_eq!(error, whole, "{spec:?}");
    }
}

#[test]
fn a_wide_range_has_as_many_bins_as_any_other() {
    // Times the number of bins the values overflow, times a power of two they are the same.
    let scale = 2f32.powi(125);
    let values: Vec<f32> = (0..4096).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).chain([-1.0, 1.0]).collect();
    let huge: Vec<f32> = values.iter().map(|v| v * scale).collect();
    for spec in [HISTOGRAM, ALIGNED] {
        let of = |data: &[f32]| observed(&spec, &[(data, &[data.len()])]).ranges()[0];
        let (small, large) = (of(&values), of(&huge));
        assert_eq!(large, Range { min: small.min * scale, max: small.max * scale }, "{spec:?}");
    }
}

#[test]
fn shapes_must_fit() {
    for spec in &ALL {
        let error = build(spec).observe(&[1.0, 2.0], &[3]).expect_err("two values are no shape [3]");
        assert!(matches!(error, ObserverError::Shape { .. }), "{error}");
    }
    let mut observer = observed(&PER_CHANNEL, &[(&[1.0, 2.0], &[2, 1])]);
    let error = observer.observe(&[1.0, 2.0, 3.0], &[3, 1]).expect_err("the channels changed");
    assert_eq!(
        error,
        ObserverError::ChannelCount { observer: "PerChannelMinMaxObserver", ch_axis: 0, expected: 2, got: 3 }
    );
    let error = observer.observe(&[1.0], &[]).expect_err("a scalar has no channels");
    assert!(matches!(error, ObserverError::NoChannelAxis { .. }), "{error}");
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let moving_by = |averaging_constant| ObserverSpec {
        observer: ObserverKind::MovingAverageMinMax { averaging_constant },
        ..MIN_MAX
    };
    let cases = [
        ("a per-channel histogram", ObserverSpec { qscheme: QScheme::PerChannelAffine, ..HISTOGRAM }),
        ("a float dtype", ObserverSpec { dtype: ObserverDType::Float32, ..MIN_MAX }),
        ("a range without 0", ObserverSpec { quant_min: Some(1), quant_max: Some(9), ..MIN_MAX }),
        ("a range outside the dtype", ObserverSpec { quant_min: Some(-1), quant_max: Some(9), ..MIN_MAX }),
        ("an empty range", ObserverSpec { quant_min: Some(0), quant_max: Some(0), ..MIN_MAX }),
        ("eps 0", ObserverSpec { eps: 0.0, ..MIN_MAX }),
        (
            "symmetric reduced quint8 histogram",
            ObserverSpec { qscheme: QScheme::PerTensorSymmetric, reduce_range: true, ..HISTOGRAM },
        ),
        ("an averaging constant above 1", moving_by(1.5)),
        ("an averaging constant of 0", moving_by(0.0)),
        ("a per-channel aligned histogram", ObserverSpec { qscheme: QScheme::PerChannelAffine, ..ALIGNED }),
        ("a dynamic aligned histogram", ObserverSpec { is_dynamic: true, ..ALIGNED }),
        (
            "a fixed scale of 0",
            ObserverSpec { observer: ObserverKind::FixedQParams { scale: 0.0, zero_point: 0 }, ..MIN_MAX },
        ),
        (
            "a fixed zero point outside",
            ObserverSpec { observer: ObserverKind::FixedQParams { scale: 1.0, zero_point: 256 }, ..MIN_MAX },
        ),
        ("a dynamic histogram", ObserverSpec { is_dynamic: true, ..HISTOGRAM }),
        ("a dynamic per-channel observer", ObserverSpec { is_dynamic: true, ..PER_CHANNEL }),
        ("a dynamic moving average that remembers", ObserverSpec { is_dynamic: true, ..MOVING_AVERAGE }),
    ];
    for (what, spec) in cases {
        assert!(matches!(spec.build(), Err(ObserverError::Spec { .. })), "{what} was taken");
    }
}

/// Where the range needs all 32 bits the zero point is still exact; PyTorch's conversion overflows there.
#[test]
fn zero_points_of_32_bits_do_not_overflow() {
    let spec = ObserverSpec { dtype: ObserverDType::Qint32, ..MIN_MAX };
    let got = observed(&spec, &[(&[-40_000.0, -1.0], &[2])]).calculate_qparams().expect("finite").qparams;
    assert_eq!(got.zero_point, [i32::MAX]);
    let got = observed(&spec, &[(&[-30_000.0, 10_000.0], &[2])]).calculate_qparams().expect("finite").qparams;
    assert_eq!(got.zero_point, [1 << 30]);
}

#[test]
fn float_zero_points_are_asked_for_by_name() {
    let spec = ObserverSpec { qscheme: QScheme::PerChannelAffineFloatQParams, ..MIN_MAX };
    let observer = observed(&spec, &[(&[1.0, 3.0, -1.0, 4.0], &[2, 2])]);
    assert!(matches!(observer.calculate_qparams(), Err(ObserverError::FloatZeroPoints { .. })));
    let got = observer.calculate_float_qparams().expect("finite");
    // Exactly the range of each channel: 0 is not in the first one.
    assert_eq!((got.scale[0], got.axis, got.observed), (2.0 / 255.0, 0, true));
    assert_eq!(got.zero_point, [-1.0 / got.scale[0], 1.0 / got.scale[1]]);
    let integer = observed(&PER_CHANNEL, &[(&[1.0, 2.0], &[2, 1])]);
    assert!(matches!(integer.calculate_float_qparams(), Err(ObserverError::IntegerZeroPoints { .. })));
}

#[test]
fn a_recorder_keeps_what_it_saw_in_order() {
    let spec = ObserverSpec { observer: ObserverKind::Recording, ..MIN_MAX };
    let record = |values: &[f32]| {
        let mut observer = RecordingObserver::new(&spec).expect("valid arguments");
        observer.observe(values, &[values.len()]).expect("anything is kept");
        observer
    };
    let mut first = record(&[1.0, f32::INFINITY]);
    first.merge(&record(&[2.0])).expect("the same kind");
    let values: Vec<_> = first.get_tensor_value().iter().map(|t| (t.data.clone(), t.shape.clone())).collect();
    assert_eq!(values, [(vec![1.0, f32::INFINITY], vec![2]), (vec![2.0], vec![1])]);
}

#[test]
fn moving_averages_and_strangers_are_not_merged() {
    for spec in [MOVING_AVERAGE, MOVING_AVERAGE_PER_CHANNEL] {
        let error = build(&spec).merge(build(&spec).as_ref()).expect_err("order-dependent");
        assert!(matches!(error, ObserverError::NotMergeable { .. }), "{error}");
    }
    let mut min_max = build(&MIN_MAX);
    assert!(min_max.merge(build(&HISTOGRAM).as_ref()).is_err());
    assert!(min_max.merge(build(&ObserverSpec { dtype: ObserverDType::Qint8, ..MIN_MAX }).as_ref()).is_err());
}

#[test]
fn histograms_of_equal_ranges_merge_exactly_and_others_not() {
    let spec = &HISTOGRAM;
    let (a, b) = ([-1.0f32, 0.25, 0.3, 2.0], [2.0f32, -1.0, 1.5, 0.25]);
    let mut merged = observed(spec, &[(&a, &[4])]);
    merged.merge(observed(spec, &[(&b, &[4])]).as_ref()).expect("the ranges are equal");
    assert_eq!(merged.calculate_qparams(), observed(spec, &[(&a, &[4]), (&b, &[4])]).calculate_qparams());
    let mut fresh = build(spec);
    fresh.merge(merged.as_ref()).expect("nothing seen yet");
    assert_eq!(fresh.calculate_qparams(), merged.calculate_qparams());
    let before = merged.calculate_qparams();
    let error = merged.merge(observed(spec, &[(&[0.0, 5.0], &[2])]).as_ref()).expect_err("the ranges differ");
    assert!(error.to_string().contains("ranges"), "{error}");
    assert_eq!(merged.calculate_qparams(), before);
}

/// Clipping one value of 40 to 1 costs 39^2 = 1521; keeping it costs n * (40 / 256)^2 / 12, which is more from n = 747,500 on.
#[test]
fn the_histogram_search_weighs_an_outlier_against_the_rest() {
    for (n, dropped) in [(50_000u32, false), (2_000_000, true)] {
        let uniform = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32;
        let mut values: Vec<f32> = (0..n).map(uniform).collect();
        values.push(40.0);
        let mut observer = HistogramObserver::new(&HISTOGRAM).expect("default arguments");
        observer.observe(&values, &[values.len()]).expect("valid tensor");
        assert_eq!(observer.observed_range().max, 40.0);
        let chosen = observer.ranges()[0];
        assert_eq!(chosen.max < 1.1, dropped, "{n} values: {chosen:?}");
        assert!(chosen.max > 0.95, "{n} values: {chosen:?}");
    }
}

proptest! {
    #[test]
    fn merging_is_observing_both(
        a in prop::collection::vec(-1e3f32..1e3, 6),
        b in prop::collection::vec(-1e3f32..1e3, 6),
        spec in prop::sample::select(vec![MIN_MAX, PER_CHANNEL, ALIGNED]),
    ) {
        let shape: &[usize] = &[3, 2];
        let mut merged = observed(&spec, &[(&a, shape)]);
        merged.merge(observed(&spec, &[(&b, shape)]).as_ref()).expect("the same kind");
        let both = observed(&spec, &[(&a, shape), (&b, shape)]);
        prop_assert_eq!(merged.ranges(), both.ranges());
        prop_assert_eq!(merged.calculate_qparams(), both.calculate_qparams());
    }

    /// Quantizing anything within the observed range and back errs by at most half a step, and 0 is exact.
    #[test]
    fn the_parameters_cover_the_range(
        values in prop::collection::vec(-1e4f32..1e4, 1..40),
        symmetric in any::<bool>(),
        signed in any::<bool>(),
    ) {
        let spec = ObserverSpec {
            dtype: if signed { ObserverDType::Qint8 } else { ObserverDType::Quint8 },
            qscheme: if symmetric { QScheme::PerTensorSymmetric } else { QScheme::PerTensorAffine },
            ..MIN_MAX
        };
        let mut observer = build(&spec);
        observer.observe(&values, &[values.len()]).expect("finite values");
        let qparams = observer.calculate_qparams().expect("finite ranges").qparams;
        prop_assert_eq!(qparams.dequantize(qparams.quantize(0.0, 0), 0), 0.0);
        // A symmetric full range has 127 steps on one side of its zero point for a scale of 127.5.
        let steps = if symmetric { 1.01 } else { 0.51 };
        for &v in &values {
            let error = (qparams.dequantize(qparams.quantize(v, 0), 0) - v).abs();
            prop_assert!(error <= steps * qparams.scale[0], "{v} is off by {error}, scale {}", qparams.scale[0]);
        }
    }

    /// What the histogram chooses lies within what it saw, and batches that do not widen the range may come in any order.
    #[test]
    fn the_histogram_stays_within_the_range(
        values in prop::collection::vec(-50f32..50.0, 2..300),
    ) {
        let spec = &HISTOGRAM;
        let (lo, hi) = (-50.0f32, 50.0f32);
        let ends: (&[f32], &[usize]) = (&[lo, hi], &[2]);
        let half = values.len() / 2;
        let (a, b) = values.split_at(half);
        let ab = observed(spec, &[ends, (a, &[a.len()]), (b, &[b.len()])]);
        let ba = observed(spec, &[ends, (b, &[b.len()]), (a, &[a.len()])]);
        prop_assert_eq!(ab.ranges(), ba.ranges());
        let Range { min, max } = ab.ranges()[0];
        prop_assert!(min >= lo && max <= hi && min < max);
    }
}
