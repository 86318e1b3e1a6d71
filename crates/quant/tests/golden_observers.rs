//! The observers against torch 2.8.0's, bit for bit where PyTorch's own arithmetic is (`scripts/golden_observers.py` made the file).

mod hex;

use std::collections::BTreeMap;

use hex::{bits, floats};
use quantc_quant::observer::{Observer, ObserverError};
use quantc_quant::qconfig::ObserverDType;
use quantc_quant::{ObserverKind, ObserverSpec};
use quantc_tensor::QScheme;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    inputs: BTreeMap<String, Input>,
    configs: Vec<Config>,
    results: Vec<Expected>,
    /// observer, averaging constant, is_dynamic, configuration.
    errors: Vec<(String, Option<f64>, bool, Config)>,
    quantized: Vec<Quantized>,
}

#[derive(Deserialize)]
struct Input {
    ch_axis: usize,
    batches: Vec<Batch>,
}

#[derive(Deserialize)]
struct Batch {
    shape: Vec<usize>,
    bits: Option<String>,
    generator: Option<String>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    scale_log2: i32,
    #[serde(default)]
    checksum: u32,
}

#[derive(Deserialize)]
struct Config {
    dtype: String,
    qscheme: String,
    reduce_range: bool,
    quant_min: Option<i32>,
    quant_max: Option<i32>,
    eps: String,
}

/// observer, averaging constant or bins, config, input, min, max, scale, zero points. No min and max where PyTorch's search
/// underflows; empty ones where nothing was observed.
#[derive(Deserialize)]
struct Expected(String, Option<f64>, usize, String, Option<String>, Option<String>, String, Zeros);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Zeros {
    Int(Vec<i32>),
    /// As bits.
    Float(String),
}

/// config, input, per channel, integers, dequantized.
#[derive(Deserialize)]
struct Quantized(usize, String, bool, Vec<i32>, String);

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/observers.json")).expect("the golden file is well-formed")
}

/// The generators of the script: integer arithmetic and correctly rounded f32 operations only.
fn generate(kind: &str, seed: u64, n: usize, scale_log2: i32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as i64 - (1 << 23)
    };
    let unit = (-23f32).exp2();
    let scale = (scale_log2 as f32).exp2();
    let value = |next: &mut dyn FnMut() -> i64| match kind {
        "uniform" => next() as f32 * unit,
        "bell" => (0..8).map(|_| next()).sum::<i64>() as f32 * unit,
        "relu" => ((0..8).map(|_| next()).sum::<i64>() as f32 * unit).max(0.0),
        "heavy" => {
            let u = next() as f32 * unit;
            u * u * u * u * u
        }
        "above" => (next() as f32 * unit).abs() + 0.75,
        "below" => -((next() as f32 * unit).abs() + 0.75),
        other => panic!("unknown generator {other}"),
    };
    (0..n).map(|_| value(&mut next) * scale).collect()
}

impl Batch {
    fn values(&self) -> Vec<f32> {
        if let Some(bits) = &self.bits {
            return floats(bits);
        }
        let kind = self.generator.as_deref().expect("a batch has bits or a generator");
        let values = generate(kind, self.seed, self.shape.iter().product(), self.scale_log2);
        let checksum = values.iter().fold(0u32, |sum, v| sum.wrapping_add(v.to_bits()));
        assert_eq!(checksum, self.checksum, "the generator `{kind}` differs from the script's");
        values
    }
}

impl Config {
    fn build(&self, class: &str, variant: Option<f64>, ch_axis: usize) -> Result<Box<dyn Observer>, ObserverError> {
        let built = self.spec(class, variant, ch_axis).build()?;
        assert_eq!(built.name(), class);
        Ok(built)
    }

    fn spec(&self, class: &str, variant: Option<f64>, ch_axis: usize) -> ObserverSpec {
        let averaging_constant = variant.unwrap_or(0.01) as f32;
        let (observer, per_channel) = match class {
            "MinMaxObserver" => (ObserverKind::MinMax, false),
            "PerChannelMinMaxObserver" => (ObserverKind::MinMax, true),
            "MovingAverageMinMaxObserver" => (ObserverKind::MovingAverageMinMax { averaging_constant }, false),
            "MovingAveragePerChannelMinMaxObserver" => (ObserverKind::MovingAverageMinMax { averaging_constant }, true),
            "HistogramObserver" => (ObserverKind::Histogram, false),
            other => panic!("unknown observer {other}"),
        };
        let qscheme = match (self.qscheme.as_str(), per_channel) {
            ("affine", false) => QScheme::PerTensorAffine,
            ("affine", true) => QScheme::PerChannelAffine,
            ("symmetric", false) => QScheme::PerTensorSymmetric,
            ("symmetric", true) => QScheme::PerChannelSymmetric,
            ("affine_float_qparams", true) => QScheme::PerChannelAffineFloatQParams,
            (other, _) => panic!("unknown scheme {other}"),
        };
        let dtype: ObserverDType = self.dtype.parse().unwrap_or_else(|e| panic!("{e}"));
        ObserverSpec {
            reduce_range: self.reduce_range,
            quant_min: self.quant_min,
            quant_max: self.quant_max,
            eps: floats(&self.eps)[0],
            ch_axis,
            ..ObserverSpec::new(observer, dtype, qscheme)
        }
    }
}

fn observe(observer: &mut dyn Observer, input: &Input) {
    for batch in &input.batches {
        observer.observe(&batch.values(), &batch.shape).expect("the golden inputs have no NaN");
    }
}

fn check(wanted: impl Fn(&str) -> bool, same: impl Fn(f32, f32) -> bool) {
    let golden = golden();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for Expected(class, variant, ci, name, min, max, scale, zero_points) in &golden.results {
        if !wanted(class) {
            continue;
        }
        let input = &golden.inputs[name];
        let mut observer = golden.configs[*ci].build(class, *variant, input.ch_axis).expect("a valid configuration");
        observe(observer.as_mut(), input);
        let all_same = |got: &[f32], expected: &[f32]| {
            got.len() == expected.len() && got.iter().zip(expected).all(|(&g, &e)| same(g, e))
        };
        let (scales, same_zeros, observed) = match zero_points {
            Zeros::Int(expected) => {
                let got = observer.calculate_qparams().expect("finite ranges");
                (got.qparams.scale, got.qparams.zero_point == *expected, got.observed)
            }
            Zeros::Float(expected) => {
                let got = observer.calculate_float_qparams().expect("finite ranges");
                // Where PyTorch observed nothing it has one channel, of scale 1.
                let scale = if got.scale.is_empty() { vec![1.0] } else { got.scale };
                let zeros = if got.zero_point.is_empty() { vec![0.0] } else { got.zero_point };
                (scale, bits(&zeros) == bits(&floats(expected)), got.observed)
            }
        };
        let ranges = observer.ranges();
        let (mins, maxs): (Vec<f32>, Vec<f32>) = ranges.iter().map(|r| (r.min, r.max)).unzip();
        let range_fits = match (min, max) {
            (Some(min), Some(max)) => all_same(&mins, &floats(min)) && all_same(&maxs, &floats(max)),
            _ => observed,
        };
        let fine =
            all_same(&scales, &floats(scale)) && same_zeros && observed != (min.as_deref() == Some("")) && range_fits;
        if !fine {
            wrong.push(format!(
                "{class}({variant:?}) config {ci} on `{name}`: got {scales:?} from {ranges:?}, expected {:?} {zero_points:?} from {:?}..{:?}",
                floats(scale),
                min.as_deref().map(floats),
                max.as_deref().map(floats),
            ));
        }
        compared += 1;
    }
    assert!(compared > 0, "no golden results for these observers");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn range_observers_are_bit_identical_to_torch() {
    check(|class| class != "HistogramObserver", |got, expected| got == expected);
}

#[test]
fn histogram_observer_agrees_with_torch() {
    let close = |got: f32, expected: f32| got == expected || (got - expected).abs() <= 1e-6 * expected.abs();
    check(|class| class == "HistogramObserver", close);
}

#[test]
fn torch_refuses_what_we_refuse() {
    let golden = golden();
    assert!(!golden.errors.is_empty());
    for (class, constant, is_dynamic, config) in &golden.errors {
        let spec = ObserverSpec { is_dynamic: *is_dynamic, ..config.spec(class, *constant, 0) };
        assert!(matches!(spec.build(), Err(ObserverError::Spec { .. })), "{class} took it");
    }
    let memoryless = golden.configs[0].spec("MovingAverageMinMaxObserver", Some(1.0), 0);
    assert!(ObserverSpec { is_dynamic: true, ..memoryless }.build().is_ok());
}

#[test]
fn quantize_and_dequantize_are_bit_identical_to_torch() {
    let golden = golden();
    for Quantized(ci, name, per_channel, integers, real) in &golden.quantized {
        let class = if *per_channel { "PerChannelMinMaxObserver" } else { "MinMaxObserver" };
        let input = &golden.inputs[name];
        let mut observer = golden.configs[*ci].build(class, None, input.ch_axis).expect("a valid configuration");
        observe(observer.as_mut(), input);
        let qparams = observer.calculate_qparams().expect("finite ranges").qparams;
        let last = input.batches.last().expect("a batch");
        let inner: usize = last.shape[input.ch_axis + 1..].iter().product();
        let channels = if *per_channel { last.shape[input.ch_axis] } else { 1 };
        let channel = |i: usize| (i / inner) % channels;
        let got: Vec<i32> =
            last.values().iter().take(64).enumerate().map(|(i, &v)| qparams.quantize(v, channel(i))).collect();
        assert_eq!(&got, integers, "config {ci} on `{name}`");
        let back: Vec<f32> = got.iter().enumerate().map(|(i, &q)| qparams.dequantize(q, channel(i))).collect();
        assert_eq!(bits(&back), bits(&floats(real)), "config {ci} on `{name}`");
    }
}
