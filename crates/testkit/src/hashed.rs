//! Parameters and inputs that are a function of their names: the same numbers in Python (`scripts/descriptions.py`), so that golden values of
//! whole networks need no weights beside them.

use quantc_ir::Graph;
use quantc_tensor::{DType, Tensor};

/// `count` numbers in -0.5..0.5, multiples of 2^-24: splitmix64 of the FNV-1a hash of the name plus the index.
pub fn hashed(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    (1..=count as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            ((z >> 40) as f64 / f64::from(1u32 << 24) - 0.5) as f32
        })
        .collect()
}

/// The graph of a traced description with hashed parameters: weights of a size that keeps activations in range, variances above zero,
/// scales of norms near one.
///
/// # Panics
/// If a parameter's sizes are not known.
pub fn with_hashed_params(graph: &Graph) -> Graph {
    filled(graph, hashed_param)
}

/// The values of such a parameter.
fn hashed_param(name: &str, shape: &[usize]) -> Vec<f32> {
    let mut values = hashed(name, shape.iter().product());
    if name.ends_with("running_var") {
        values.iter_mut().for_each(|v| *v += 1.0);
    } else if shape.len() > 1 {
        let scale = weight_scale(shape);
        values.iter_mut().for_each(|v| *v *= scale);
    } else if name.ends_with("weight") {
        values.iter_mut().for_each(|v| *v = *v * 0.5 + 1.0);
    }
    values
}

/// Such a parameter, for a model that stacks or reorders it when it is traced.
///
/// # Panics
/// Never: the numbers are as many as the shape has.
pub fn hashed_weight(name: &str, shape: &[usize]) -> Tensor {
    Tensor::from_vec(shape, hashed_param(name, shape)).expect("as many as the shape has")
}

/// The same with parameters for which float arithmetic on dequantized values is exact, if the scales of activations are powers of two: those of
/// weights are (symmetric, 127.5 steps), batch norms do nothing, biases are zero.
///
/// # Panics
/// If a parameter's sizes are not known.
pub fn with_exact_params(graph: &Graph) -> Graph {
    filled(graph, |name, shape| {
        let count = shape.iter().product();
        if shape.len() > 1 {
            let scale = weight_scale(shape);
            let largest = 127.5 / 256.0 * scale;
            let mut values: Vec<f32> =
                hashed(name, count).iter().map(|v| (v * scale).clamp(-largest, largest)).collect();
            values.iter_mut().step_by(count / shape[0]).for_each(|v| *v = largest);
            return values;
        }
        let value = match name.rsplit('.').next() {
            Some("weight") => 1.0,
            Some("running_var") => 1.0 - 1e-5,
            _ => 0.0,
        };
        vec![value; count]
    })
}

/// A power of two.
fn weight_scale(shape: &[usize]) -> f32 {
    let fan_in: usize = shape[1..].iter().product();
    (4.0 / (fan_in as f64).sqrt()).log2().round_ties_even().exp2() as f32
}

/// The graph with other f32 parameters, by name and shape.
fn filled(graph: &Graph, values: impl Fn(&str, &[usize]) -> Vec<f32>) -> Graph {
    let mut filled = graph.clone();
    for (name, param) in graph.params().iter().filter(|p| p.1.ty.dtype == DType::F32) {
        let shape = param.ty.shape.to_known().unwrap_or_else(|| panic!("{name} has no known sizes"));
        // Without dimensions it is a number of the description, not a parameter.
        if !shape.is_empty() {
            filled.set_param(name, Tensor::from_vec(&shape, values(name, &shape)).expect("as many as the shape has"));
        }
    }
    filled
}

/// Indices 0..9 as an input of that name.
///
/// # Panics
/// Never: the numbers are as many as the shape has.
pub fn hashed_indices(seed: &str, name: &str, shape: &[usize]) -> Tensor {
    let values = hashed(&format!("{seed}.{name}"), shape.iter().product());
    let indices = values.into_iter().map(|v| ((v + 0.5) * 10.0).floor() as i64).collect();
    Tensor::from_vec(shape, indices).expect("as many as the shape has")
}

/// An input of that name: numbers in -1..1.
///
/// # Panics
/// Never: the numbers are as many as the shape has.
pub fn hashed_input(seed: &str, name: &str, shape: &[usize]) -> Tensor {
    let values = hashed(&format!("{seed}.{name}"), shape.iter().product()).into_iter().map(|v| v * 2.0).collect();
    Tensor::from_vec(shape, values).expect("as many as the shape has")
}
