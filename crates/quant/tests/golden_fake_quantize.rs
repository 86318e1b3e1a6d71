//! Fake quantization and its gradient against torch 2.8.0's, bit for bit (`scripts/golden_fake_quantize.py` made the file).

mod hex;

use hex::{bits, floats};
use quantc_quant::fake_quantize::{
    FakeQuantize, FakeQuantized, ZeroPoints, fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine,
};
use quantc_quant::qconfig::ObserverSpec;
use quantc_quant::qconfig::presets::FAKE_QUANTS;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    functions: Vec<Function>,
    modules: Vec<Module>,
}

/// A tensor, what became of it, and gradients.
#[derive(Deserialize)]
struct Pass {
    x: String,
    shape: Vec<usize>,
    out: String,
    gradient: String,
    x_gradient: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Zeros {
    Int(Vec<i32>),
    Float(String),
}

#[derive(Deserialize)]
struct Function {
    #[serde(flatten)]
    pass: Pass,
    scale: String,
    zero_point: Zeros,
    axis: Option<usize>,
    quant_min: i32,
    quant_max: i32,
}

#[derive(Deserialize)]
struct Module {
    preset: Option<String>,
    spec: Option<ObserverSpec>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    fake_quant: bool,
    observer: bool,
    #[serde(flatten)]
    pass: Pass,
    scale: Option<String>,
    zero_point: Option<Zeros>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/fake_quantize.json")).expect("the golden file is well-formed")
}

impl Pass {
    #[track_caller]
    fn check(&self, got: &FakeQuantized, what: &str) {
        assert_eq!(bits(&got.values), bits(&floats(&self.out)), "{what}: values");
        let gradient = got.backward(&floats(&self.gradient)).expect("a gradient for each value");
        assert_eq!(bits(&gradient), bits(&floats(&self.x_gradient)), "{what}: gradient");
    }
}

#[test]
fn functions_are_bit_identical_to_torch() {
    let golden = golden();
    let mut inside = 0;
    for (i, f) in golden.functions.iter().enumerate() {
        let (x, scale) = (floats(&f.pass.x), floats(&f.scale));
        let got = match (f.axis, &f.zero_point) {
            (None, Zeros::Int(z)) => fake_quantize_per_tensor_affine(&x, scale[0], z[0], f.quant_min, f.quant_max),
            (Some(axis), z) => {
                let floats = if let Zeros::Float(z) = z { floats(z) } else { Vec::new() };
                let zeros = if let Zeros::Int(z) = z { ZeroPoints::Int(z) } else { ZeroPoints::Float(&floats) };
                fake_quantize_per_channel_affine(&x, &f.pass.shape, &scale, zeros, axis, f.quant_min, f.quant_max)
            }
            (None, Zeros::Float(_)) => panic!("float zero points are per channel"),
        };
        let got = got.expect("valid arguments");
        f.pass.check(&got, &format!("call {i}"));
        inside += got.mask.iter().filter(|m| **m).count();
    }
    let all: usize = golden.functions.iter().map(|f| f.pass.x.len() / 8).sum();
    assert!(inside * 4 > all && inside * 10 < all * 9, "{inside} of {all} values are within the range");
}

#[test]
fn modules_are_bit_identical_to_torch() {
    let golden = golden();
    let presets = golden.modules.iter().filter(|m| m.preset.is_some()).count();
    assert_eq!(presets, FAKE_QUANTS.len());
    for module in &golden.modules {
        let spec = match (&module.preset, &module.spec) {
            (Some(name), None) => {
                let preset = FAKE_QUANTS.iter().find(|p| p.0 == name).unwrap_or_else(|| panic!("no preset {name}"));
                (preset.1)()
            }
            (None, Some(spec)) => spec.clone(),
            _ => panic!("a module is a preset or has a spec"),
        };
        let mut fake_quantize = FakeQuantize::new(&spec).expect("a valid spec");
        for (i, step) in module.steps.iter().enumerate() {
            let what = format!("{:?} {spec:?}, step {i}", module.preset);
            fake_quantize.enable_fake_quant(step.fake_quant);
            fake_quantize.enable_observer(step.observer);
            let got = fake_quantize.forward(&floats(&step.pass.x), &step.pass.shape);
            step.pass.check(&got.unwrap_or_else(|e| panic!("{what}: {e}")), &what);
            let (Some(scale), Some(zero_point)) = (&step.scale, &step.zero_point) else { continue };
            assert_eq!(bits(fake_quantize.scale()), bits(&floats(scale)), "{what}: scale");
            match (fake_quantize.zero_point(), zero_point) {
                (ZeroPoints::Int(got), Zeros::Int(expected)) => assert_eq!(got, expected, "{what}: zero point"),
                (ZeroPoints::Float(got), Zeros::Float(expected)) => {
                    assert_eq!(bits(got), bits(&floats(expected)), "{what}: zero point");
                }
                (got, expected) => panic!("{what}: {got:?}, expected {expected:?}"),
            }
        }
    }
}
