//! What quantc's own histogram promises: no order and no division of the data changes a bit, and each search finds what it says.

use proptest::prelude::*;
use quantc_quant::observer::{AlignedHistogramObserver, Observer, Range, get_observer_state_dict};
use quantc_quant::qconfig::{ObserverDType, RangeSearch};
use quantc_quant::{ObserverKind, ObserverSpec};
use quantc_tensor::QScheme;

const SEARCHES: [RangeSearch; 4] =
    [RangeSearch::L2, RangeSearch::Mse, RangeSearch::Percentile(99.0), RangeSearch::Entropy];

fn spec(search: RangeSearch) -> ObserverSpec {
    ObserverSpec::new(ObserverKind::AlignedHistogram { search }, ObserverDType::Quint8, QScheme::PerTensorAffine)
}

fn symmetric(search: RangeSearch) -> ObserverSpec {
    ObserverSpec { dtype: ObserverDType::Qint8, qscheme: QScheme::PerTensorSymmetric, ..spec(search) }
}

fn new(spec: &ObserverSpec) -> AlignedHistogramObserver {
    let ObserverKind::AlignedHistogram { search } = spec.observer else { panic!("another observer") };
    AlignedHistogramObserver::new(spec, search).expect("valid arguments")
}

fn observed<'a>(spec: &ObserverSpec, tensors: impl IntoIterator<Item = &'a [f32]>) -> AlignedHistogramObserver {
    let mut observer = new(spec);
    for data in tensors {
        observer.observe(data, &[data.len()]).expect("no NaN");
    }
    observer
}

fn bytes(observer: &AlignedHistogramObserver) -> String {
    get_observer_state_dict([("activation_post_process", observer as &dyn quantc_quant::observer::Stateful)])
        .to_json()
        .expect("JSON")
}

/// Values of very different magnitudes, zeros of both signs, infinities, subnormal numbers.
fn values() -> impl Strategy<Value = Vec<f32>> {
    let finite = any::<f32>().prop_filter("a width that is finite", |v| v.is_infinite() || v.abs() < 1e38);
    let wide = (-4f32..4.0, -40i32..40).prop_map(|(v, e)| v * (e as f32).exp2());
    let value = prop_oneof![
        4 => -4f32..4.0,
        2 => wide,
        1 => finite,
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, f32::MIN_POSITIVE, f32::INFINITY]),
    ];
    prop::collection::vec(value, 1..200)
}

/// A sequence of numbers that looks random: 24 bits each.
fn noise(n: usize) -> impl Iterator<Item = f32> {
    let mut state = 1u64;
    (0..n).map(move |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    })
}

/// Bell-shaped, after ReLU, with heavy tails, uniform away from 0.
fn distributions() -> Vec<(&'static str, Vec<f32>)> {
    const N: usize = 40_000;
    let bell: Vec<f32> = noise(N * 8).collect::<Vec<_>>().chunks(8).map(|c| c.iter().sum::<f32>() - 4.0).collect();
    vec![
        ("relu", bell.iter().map(|v| v.max(0.0)).collect()),
        ("heavy", noise(N).map(|u| (2.0 * u - 1.0).powi(9) * 20.0).collect()),
        ("skewed", bell.iter().map(|v| if *v > 0.0 { 5.0 * v * v } else { *v }).collect()),
        ("uniform", noise(N).map(|u| 3.0 + u).collect()),
        ("bell", bell),
    ]
}

proptest! {
    /// The same bytes of the state and the same parameters for any order, and for 1 to 64 observers merged in any order.
    #[test]
    fn neither_order_nor_shards_change_a_bit(
        (data, shuffled) in values().prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..64),
        backwards in any::<bool>(),
        search in prop::sample::select(SEARCHES.to_vec()),
    ) {
        for spec in [spec(search), symmetric(search)] {
            let whole = observed(&spec, [data.as_slice()]);
            let one_by_one = observed(&spec, shuffled.chunks(1));
            prop_assert_eq!(bytes(&one_by_one), bytes(&whole));
            prop_assert_eq!(one_by_one.calculate_qparams(), whole.calculate_qparams());

            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(shuffled.len())).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([shuffled.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let mut shards: Vec<_> = starts.zip(ends).map(|(a, b)| observed(&spec, [&shuffled[a..b]])).collect();
            if backwards {
                shards.reverse();
            }
            let mut merged = new(&spec);
            for shard in &shards {
                merged.merge(shard).expect("the same kind");
            }
            prop_assert_eq!(bytes(&merged), bytes(&whole));
            prop_assert_eq!(merged.calculate_qparams(), whole.calculate_qparams());
        }
    }

    /// What is chosen lies within what was seen, and the parameters are those of a valid range.
    #[test]
    fn the_range_is_within_the_one_seen(data in values(), search in prop::sample::select(SEARCHES.to_vec())) {
        let observer = observed(&spec(search), [data.as_slice()]);
        let finite = || data.iter().copied().filter(|v| v.is_finite());
        let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        prop_assert_eq!(observer.observed_range(), Range { min, max });
        prop_assert_eq!(observer.infinities(), data.iter().filter(|v| v.is_infinite()).count() as u64);
        if let [range] = observer.ranges()[..] {
            prop_assert!(min <= range.min && range.min <= range.max, "{range:?} of {min}..{max}");
            // PyTorch's arithmetic for the upper end rounds three times.
            let slack = (max - min) * 1e-6;
            prop_assert!(range.max <= max + slack, "{range:?} of {min}..{max}");
            prop_assert!(observer.calculate_qparams().is_ok());
        } else {
            prop_assert_eq!(finite().count(), 0);
        }
    }
}

/// Long tensors are counted in another way than short ones.
#[test]
fn long_tensors_are_their_parts() {
    for (name, mut data) in distributions() {
        data.extend([f32::INFINITY, f32::NEG_INFINITY, -0.0]);
        let spec = spec(RangeSearch::L2);
        assert_eq!(bytes(&observed(&spec, [data.as_slice()])), bytes(&observed(&spec, data.chunks(1000))), "{name}");
    }
}

/// The squared error of quantizing the values with an observer's parameters.
fn squared_error(observer: &dyn Observer, data: &[f32]) -> f64 {
    let q = observer.calculate_qparams().expect("finite").qparams;
    data.iter().map(|v| f64::from(q.dequantize(q.quantize(*v, 0), 0) - v).powi(2)).sum()
}

#[test]
fn mse_has_the_smallest_error() {
    let mut better = 0;
    for (name, data) in distributions() {
        for bits in [8, 4] {
            let narrow = |mut spec: ObserverSpec| {
                let signed = spec.dtype == ObserverDType::Qint8;
                let (low, high) =
                    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
                (spec.quant_min, spec.quant_max) = (Some(low), Some(high));
                spec
            };
            for with in [spec, symmetric] {
                let error = |search| squared_error(&observed(&narrow(with(search)), [data.as_slice()]), &data);
                let mse = error(RangeSearch::Mse);
                let whole = error(RangeSearch::Percentile(100.0));
                for search in [RangeSearch::L2, RangeSearch::Entropy, RangeSearch::Percentile(99.9)] {
                    let other = error(search).min(whole);
                    // The estimate takes the values as evenly spread over a bin, and the scan has 128 steps.
                    assert!(mse <= other * 1.01, "{name}, {bits} bits, {search:?}: {mse} against {other}");
                }
                better += usize::from(mse < whole * 0.8);
            }
        }
    }
    assert!(better >= 6, "only {better} of 20 searches were worth it");
}

#[test]
fn percentiles_are_those_of_the_values() {
    for (name, mut data) in distributions() {
        data.sort_by(f32::total_cmp);
        for p in [90.0f32, 99.0, 99.9] {
            let [range] = observed(&spec(RangeSearch::Percentile(p)), [data.as_slice()]).ranges()[..] else { panic!() };
            let share = |count: usize| count as f32 * 100.0 / data.len() as f32;
            let (below, above) = (
                share(data.iter().filter(|v| **v < range.min).count()),
                share(data.iter().filter(|v| **v > range.max).count()),
            );
            // 20,000 bins and 40,000 values; all the zeros of ReLU are in one place.
            assert!(
                below <= 100.0 - p + 0.05 && (above - (100.0 - p)).abs() < 0.05,
                "{name}, {p}: {below} and {above}"
            );
            if name != "relu" {
                assert!((below - (100.0 - p)).abs() < 0.05, "{name}, {p}: {below}");
            }
        }
        let [whole] = observed(&spec(RangeSearch::Percentile(100.0)), [data.as_slice()]).ranges()[..] else { panic!() };
        assert_eq!((whole.min, whole.max), (data[0], data[data.len() - 1]), "{name}");
    }
}

/// The definition, step by step, over the bins that the observer has.
fn divergence(counts: &[f64], kept: usize, levels: usize) -> f64 {
    let mut p = counts[..kept].to_vec();
    p[kept - 1] += counts[kept..].iter().sum::<f64>();
    let mut q = vec![0.0; kept];
    for level in 0..levels {
        let part = level * kept / levels..(level + 1) * kept / levels;
        let occupied = counts[part.clone()].iter().filter(|c| **c > 0.0).count() as f64;
        let sum: f64 = counts[part.clone()].iter().sum();
        part.filter(|i| counts[*i] > 0.0).for_each(|i| q[i] = sum / occupied);
    }
    let (total_p, total_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
    let terms = p.iter().zip(&q).filter(|(p, _)| **p > 0.0);
    terms.map(|(p, q)| p / total_p * ((p / total_p) / (q / total_q)).ln()).sum()
}

#[test]
fn entropy_finds_the_smallest_divergence() {
    for (name, data) in distributions().into_iter().filter(|d| d.0 != "uniform") {
        let most = data.iter().fold(0f32, |m, v| m.max(v.abs()));
        // Bins of 8192 to the power of two above, joined until there are at most 2048.
        let mut width = 2.0f64.powf(f64::from(most).log2().floor() + 1.0) / 8192.0;
        while f64::from(most) / width >= 2048.0 {
            width *= 2.0;
        }
        let mut counts = vec![0.0; (f64::from(most) / width) as usize + 1];
        data.iter().filter(|v| **v != 0.0).for_each(|v| counts[(f64::from(v.abs()) / width) as usize] += 1.0);
        for with in [spec, symmetric] {
            let one_sided = name == "relu" && with(RangeSearch::Entropy).dtype == ObserverDType::Quint8;
            let levels = if one_sided { 255 } else { 127 };
            let candidates = (levels..=counts.len()).filter(|kept| counts[kept - 1] > 0.0);
            let best = candidates.map(|kept| divergence(&counts, kept, levels)).fold(f64::INFINITY, f64::min);
            let [range] = observed(&with(RangeSearch::Entropy), [data.as_slice()]).ranges()[..] else { panic!() };
            let chosen = (f64::from(range.max.max(-range.min)) / width).ceil() as usize;
            let got = divergence(&counts, chosen, levels);
            assert!(got <= best + 1e-9, "{name}: {chosen} bins, divergence {got}, the smallest is {best}");
            assert!(chosen < counts.len() || name == "bell" || name == "relu", "{name}: nothing was cut off");
        }
    }
}

#[test]
fn l2_is_torch_s_search() {
    let pytorch = ObserverSpec { observer: ObserverKind::Histogram, ..spec(RangeSearch::L2) };
    for (name, data) in distributions() {
        let mut theirs = pytorch.build().expect("valid arguments");
        theirs.observe(&data, &[data.len()]).expect("no NaN");
        let (a, b) = (observed(&spec(RangeSearch::L2), [data.as_slice()]).ranges()[0], theirs.ranges()[0]);
        let width = b.max - b.min;
        assert!((a.min - b.min).abs().max((a.max - b.max).abs()) < 0.01 * width, "{name}: {a:?} and {b:?}");
    }
}

#[test]
fn percentiles_that_are_none_are_refused() {
    for p in [50.0, 101.0, f32::NAN, -1.0] {
        assert!(spec(RangeSearch::Percentile(p)).build().is_err(), "{p}");
    }
}
