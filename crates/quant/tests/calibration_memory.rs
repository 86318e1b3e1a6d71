//! The memory that calibration holds does not grow with the number of samples. One test: the counting allocator sees all threads.

use std::alloc::System;

use quantc_ir::text::parse;
use quantc_pattern::Library;
use quantc_quant::qconfig::{ObserverDType, RangeSearch, named};
use quantc_quant::{Calibrator, ObserverKind, ObserverSpec, QConfig, QConfigMapping, prepare_fx};
use quantc_tensor::{DType, QScheme, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BATCH: usize = 10;
const NET: &str = "graph net(%x: f32[10,8]) {
  param @a.weight: f32[16,8]
  param @b.weight: f32[4,16]
  %a = linear(%x, @a.weight)  # a: Linear(Gemm, 0)
  %r = relu(%a)  # r: ReLU(Relu, 0)
  %b = linear(%r, @b.weight)  # b: Linear(Gemm, 1)
  return y=%b
}";

/// The bytes that a calibrator holds after 10 samples and after 10,000, and the most after any batch.
fn held(observer: ObserverKind) -> (usize, usize, usize) {
    let activation = ObserverSpec::new(observer, ObserverDType::Quint8, QScheme::PerTensorAffine);
    let qconfig = QConfig { activation, ..named("x86").expect("the default") };
    let graph = with_random_params(parse(NET).expect("parses"), 3);
    let library = Library::builtin().expect("the embedded patterns are valid");
    let backend = library.backend("x86").expect("exists");
    let prepared = prepare_fx(&graph, &QConfigMapping::default_for(qconfig), backend).expect("prepares");
    assert!(prepared.observers.len() >= 2, "{:?}", prepared.observers);
    let ty = TensorType::new(DType::F32, [BATCH, 8].as_slice());
    let mut random = rng(5);

    let region = Region::new(ALLOCATOR);
    let bytes = || region.change().bytes_allocated - region.change().bytes_deallocated;
    let mut calibrator = Calibrator::new(&prepared).expect("valid observers");
    let (mut first, mut most) = (0, 0);
    for batch in 0..1000 {
        calibrator.observe(&[("x".to_owned(), random_tensor(&mut random, &ty))]).expect("runs");
        most = most.max(bytes());
        if batch == 0 {
            first = bytes();
        }
    }
    let last = bytes();
    (first, last, most)
}

#[test]
fn ten_thousand_samples_hold_what_ten_do() {
    let searches = [RangeSearch::L2, RangeSearch::Mse, RangeSearch::Percentile(99.9), RangeSearch::Entropy];
    let histograms = searches.map(|search| ObserverKind::AlignedHistogram { search });
    let moving = ObserverKind::MovingAverageMinMax { averaging_constant: 0.01 };
    for observer in [ObserverKind::MinMax, moving, ObserverKind::Histogram].into_iter().chain(histograms) {
        let (first, last, most) = held(observer);
        assert!(first > 100, "{observer:?}: {first} bytes cannot be all");
        assert!(
            last.max(most) * 20 <= first * 21,
            "{observer:?}: {first} bytes after 10 samples, {last} after 10,000, {most} at most"
        );
    }
    // The measurement sees the one observer that is meant to keep everything.
    let (first, last, _) = held(ObserverKind::Recording);
    assert!(last > 100 * first, "{first} bytes after 10 samples, {last} after 10,000");
}
