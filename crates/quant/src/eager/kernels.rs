//! What operators that belong to no quantized module do with a quantized tensor: PyTorch runs the kernel registered for its `QuantizedCPU`
//! backend, if there is one. Measured operator by operator with torch 2.8.0 (`golden/eager.json`, `kernels`).

/// What happens to the scale and zero point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum QuantizedKernel {
    /// The result has the input's.
    Keeps,
    /// The result, quint8, has these.
    Fixed(f32, i32),
    /// The result is no tensor of values: sizes.
    Metadata,
}

const KEEPS: &[&str] = &[
    "identity",
    "dropout",
    "quant_stub",
    "dequant_stub",
    "relu",
    "relu6",
    "clamp",
    "leaky_relu",
    "gelu",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "mean",
    "flatten",
    "reshape",
    "permute",
    "squeeze",
    "unsqueeze",
    "expand",
    "repeat",
    "cat",
    "split",
    "slice",
    "pad",
    "interpolate",
    "pixel_shuffle",
    "gather",
];

/// The kernel of an operator, `None` if PyTorch has none.
pub(crate) fn quantized_kernel(op: &str) -> Option<QuantizedKernel> {
    match op {
        "sigmoid" | "hardsigmoid" => Some(QuantizedKernel::Fixed(1.0 / 256.0, 0)),
        "tanh" => Some(QuantizedKernel::Fixed(2.0 / 256.0, 128)),
        "shape_of" => Some(QuantizedKernel::Metadata),
        op => KEEPS.contains(&op).then_some(QuantizedKernel::Keeps),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    /// Operators on tensors quantized to this scale and zero point: `scripts/golden_eager.py`.
    const INPUT: (f64, i64) = (0.0625, 100);

    #[test]
    fn kernels_are_those_that_pytorch_has() {
        let golden: Json = serde_json::from_str(include_str!("../../tests/golden/eager.json")).expect("valid");
        let measured = golden["kernels"].as_object().expect("kernels");
        assert!(measured.len() > 50);
        for (op, result) in measured {
            assert!(quantc_ops::lookup(op).is_some(), "{op} is an operator");
            let ours = match quantized_kernel(op) {
                None => Json::Null,
                Some(QuantizedKernel::Keeps) => json!([INPUT.0, INPUT.1]),
                Some(QuantizedKernel::Fixed(scale, zero_point)) => json!([f64::from(scale), zero_point]),
                Some(QuantizedKernel::Metadata) => json!("float"),
            };
            assert_eq!(&ours, result, "{op}");
        }
        let stubs = ["quant_stub", "dequant_stub"];
        for op in KEEPS.iter().filter(|op| !stubs.contains(op)) {
            assert!(measured.contains_key(*op), "{op} was not measured");
        }
    }
}
