//! Seeded random tensors and parameters: the same on every machine.

use quantc_ir::Graph;
use quantc_tensor::{DType, Tensor, TensorType, f16};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator of that seed.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A tensor of a type whose dimensions are all known: floats roughly normal with standard deviation 1, 8-bit integers over
/// their whole range, wider ones in -100..=100, booleans evenly.
///
/// # Panics
/// If a dimension is not known.
pub fn random_tensor(rng: &mut impl Rng, ty: &TensorType) -> Tensor {
    let shape = ty.shape.to_known().unwrap_or_else(|| panic!("{ty} has an unknown dimension"));
    let n: usize = shape.iter().product();
    let tensor = match ty.dtype {
        DType::F32 => Tensor::from_vec(&shape, normal(rng, n, 1.0)),
        DType::F64 => Tensor::from_vec(&shape, normal(rng, n, 1.0).into_iter().map(f64::from).collect()),
        DType::F16 => Tensor::from_vec(&shape, normal(rng, n, 1.0).into_iter().map(f16::from_f32).collect()),
        DType::I8 => Tensor::from_vec(&shape, (0..n).map(|_| rng.random::<i8>()).collect()),
        DType::U8 => Tensor::from_vec(&shape, (0..n).map(|_| rng.random::<u8>()).collect()),
        DType::I16 => Tensor::from_vec(&shape, (0..n).map(|_| rng.random_range(-100..=100i16)).collect()),
        DType::I32 => Tensor::from_vec(&shape, (0..n).map(|_| rng.random_range(-100..=100i32)).collect()),
        DType::I64 => Tensor::from_vec(&shape, (0..n).map(|_| rng.random_range(-100..=100i64)).collect()),
        DType::Bool => Tensor::from_vec(&shape, (0..n).map(|_| rng.random::<bool>()).collect()),
    };
    tensor.expect("as many elements as the shape has")
}

/// `n` numbers, roughly normal (the sum of four uniform ones), with that standard deviation.
fn normal(rng: &mut impl Rng, n: usize, std: f32) -> Vec<f32> {
    let uniform_std = (4.0f32 / 12.0).sqrt();
    (0..n)
        .map(|_| {
            let sum: f32 = (0..4).map(|_| rng.random::<f32>() - 0.5).sum();
            sum / uniform_std * std
        })
        .collect()
}

/// The graph with a value for every parameter that is only declared: weights with standard deviation `sqrt(2 / fan_in)` so
/// that activations keep their size through deep nets, running variances in 0.5..1.5, vectors small.
///
/// # Panics
/// If a parameter without a value has an unknown dimension.
pub fn with_random_params(mut graph: Graph, seed: u64) -> Graph {
    let mut rng = rng(seed);
    let declared: Vec<_> =
        graph.params().iter().filter(|(_, p)| p.value.is_none()).map(|(n, p)| (n.clone(), p.ty.clone())).collect();
    for (name, ty) in declared {
        let value = if ty.dtype != DType::F32 {
            random_tensor(&mut rng, &ty)
        } else {
            let shape =
                ty.shape.to_known().unwrap_or_else(|| panic!("parameter {name}: {ty} has an unknown dimension"));
            let n: usize = shape.iter().product();
            let data = if name.ends_with("var") {
                (0..n).map(|_| rng.random_range(0.5..1.5f32)).collect()
            } else if shape.len() < 2 {
                normal(&mut rng, n, 0.1)
            } else {
                let fan_in: usize = shape[1..].iter().product();
                normal(&mut rng, n, (2.0 / fan_in.max(1) as f32).sqrt())
            };
            Tensor::from_vec(&shape, data).expect("as many elements as the shape has")
        };
        graph.set_param(&name, value);
    }
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_parameters_and_only_declared_ones_change() {
        let source = "graph g() {\n  param @w: f32[8,64]\n  param @c: f32[2] = [1.0, 2.0]\n  %r = relu(@w) : f32[8,64]\n  \
                      %s = relu(@c) : f32[2]\n  return r=%r, s=%s\n}\n";
        let graph = quantc_ir::text::parse(source).expect("valid");
        let make = |seed| with_random_params(graph.clone(), seed);
        let value = |g: &Graph, name: &str| g.params()[name].value.clone().expect("has a value");
        assert!(value(&make(1), "w").bits_eq(&value(&make(1), "w")));
        assert!(!value(&make(1), "w").bits_eq(&value(&make(2), "w")));
        assert_eq!(value(&make(1), "c").to_f32_vec(), [1.0, 2.0]);
        let w = value(&make(3), "w").to_f32_vec();
        let variance = w.iter().map(|v| v * v).sum::<f32>() / w.len() as f32;
        assert!((variance / (2.0 / 64.0) - 1.0).abs() < 0.2, "{variance}");
    }
}
