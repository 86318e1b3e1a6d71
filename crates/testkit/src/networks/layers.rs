//! Operators that compute.

use quantc_ir::ValueRef;
use quantc_ops::Attrs;

use super::{Choices, Net};

/// Paddings of a window over `rank` dimensions: none, the same on both sides, or any.
fn padding(choices: &mut Choices<'_>, rank: usize) -> Vec<i64> {
    match choices.below(3) {
        0 => Vec::new(),
        1 => (0..rank).map(|_| choices.below(3) as i64).collect(),
        _ => (0..2 * rank).map(|_| choices.below(3) as i64).collect(),
    }
}

fn each(choices: &mut Choices<'_>, rank: usize, list: &[i64]) -> Vec<i64> {
    (0..rank).map(|_| choices.of(list)).collect()
}

/// Groups of a convolution of so many channels: one, one for each channel, or another divisor.
fn groups(choices: &mut Choices<'_>, channels: usize) -> usize {
    let divisors: Vec<usize> = (1..=channels).filter(|d| channels.is_multiple_of(*d)).collect();
    match choices.below(4) {
        0 | 1 => 1,
        2 => channels,
        _ => choices.of(&divisors),
    }
}

fn bias(net: &mut Net, choices: &mut Choices<'_>, channels: usize) -> Option<ValueRef> {
    (choices.below(3) != 2).then(|| net.param(&[channels]))
}

/// A convolution of a value over its spatial dimensions.
fn conv_of(net: &mut Net, choices: &mut Choices<'_>, x: ValueRef) -> Option<ValueRef> {
    let sample = net.sample(x);
    let rank = sample.len() - 1;
    let groups = groups(choices, sample[0]);
    let outputs = if groups == 1 { 1 + choices.below(12) } else { groups * (1 + choices.below(2)) };
    let kernel: Vec<usize> = (0..rank).map(|_| choices.of(&[3, 1, 2, 5])).collect();
    let mut attrs = Attrs::new().with("groups", groups as i64);
    attrs.set("padding", padding(choices, rank));
    attrs.set("stride", each(choices, rank, &[1, 1, 1, 2, 3]));
    if choices.once_in(3) {
        attrs.set("dilation", each(choices, rank, &[1, 2]));
    }
    let weight = net.param(&[&[outputs, sample[0] / groups], &kernel[..]].concat());
    let bias = bias(net, choices, outputs);
    net.add(if rank == 1 { "conv1d" } else { "conv2d" }, &[Some(x), Some(weight), bias], attrs)
}

pub(super) fn conv2d(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3])?;
    conv_of(net, choices, x).map(drop)
}

pub(super) fn conv1d(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[2])?;
    conv_of(net, choices, x).map(drop)
}

pub(super) fn conv_transpose(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[2, 3, 4])?;
    let sample = net.sample(x);
    let rank = sample.len() - 1;
    let groups = groups(choices, sample[0]);
    let kernel: Vec<usize> = (0..rank).map(|_| 1 + choices.below(3)).collect();
    let outputs = 1 + choices.below(6);
    let attrs = Attrs::new()
        .with("groups", groups as i64)
        .with("stride", each(choices, rank, &[1, 2]))
        .with("padding", each(choices, rank, &[0, 0, 1]));
    let weight = net.param(&[&[sample[0], outputs], &kernel[..]].concat());
    let bias = bias(net, choices, outputs * groups);
    let op = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"][rank - 1];
    net.add(op, &[Some(x), Some(weight), bias], attrs).map(drop)
}

/// A convolution or transposed convolution over three dimensions, of a volume or of an image cut into planes.
pub(super) fn volume(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 4])?;
    let sample = net.sample(x);
    let x = match sample[..] {
        [channels, height, width] => {
            let depth = (1..=3).filter(|d| height.is_multiple_of(*d)).max().unwrap_or(1);
            let shape = [0, channels, depth, height / depth, width].map(|n| n as i64);
            net.call("reshape", &[Some(x)], Attrs::new().with("shape", shape.to_vec()))?
        }
        _ => x,
    };
    let groups = groups(choices, sample[0]);
    let outputs = 1 + choices.below(3);
    let kernel: Vec<usize> = (0..3).map(|_| choices.of(&[2usize, 1, 3])).collect();
    let mut attrs = Attrs::new().with("groups", groups as i64).with("stride", each(choices, 3, &[1, 1, 2]));
    attrs.set("padding", each(choices, 3, &[0, 1]));
    let bias = bias(net, choices, outputs * groups);
    let (op, shape) = if choices.once_in(2) {
        ("conv3d", [outputs * groups, sample[0] / groups])
    } else {
        attrs.set("dilation", each(choices, 3, &[1, 1, 2]));
        ("conv_transpose3d", [sample[0], outputs])
    };
    let weight = net.param(&[&shape[..], &kernel[..]].concat());
    net.add(op, &[Some(x), Some(weight), bias], attrs).map(drop)
}

pub(super) fn linear(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[1, 2, 3])?;
    let depth = *net.sample(x).last()?;
    let outputs = 1 + choices.below(20);
    let weight = net.param(&[outputs, depth]);
    let bias = bias(net, choices, outputs);
    net.add("linear", &[Some(x), Some(weight), bias], Attrs::new()).map(drop)
}

/// A product of two values, of one with its transpose, or with a constant.
pub(super) fn matmul(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let a = net.pick(choices, &[2, 3])?;
    let depth = *net.sample(a).last()?;
    let same = [net.sample(a).len()];
    let b = match choices.below(3) {
        0 => {
            let rank = net.sample(a).len() as i64 + 1;
            let mut dims: Vec<i64> = (0..rank).collect();
            dims.swap(rank as usize - 1, rank as usize - 2);
            net.call("permute", &[Some(a)], Attrs::new().with("dims", dims))?
        }
        1 => net.pick(choices, &same)?,
        _ => net.param(&[depth, 1 + choices.below(9)]),
    };
    net.add("matmul", &[Some(a), Some(b)], Attrs::new()).map(drop)
}

pub(super) fn clamping(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[1, 2, 3])?;
    let op = choices.of(&["relu", "relu6", "clamp"]);
    let mut attrs = Attrs::new();
    if op == "clamp" {
        let (lo, hi) = choices.of(&[(-1.0f32, 1.0f32), (0.0, 1.0), (-0.3, 6.0), (0.5, 2.0), (-2.0, -0.25)]);
        attrs.set("min", lo);
        attrs.set("max", hi);
    }
    net.add(op, &[Some(x)], attrs).map(drop)
}

pub(super) fn activation(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    const OPS: &[&str] = &[
        "sigmoid",
        "hardswish",
        "tanh",
        "gelu",
        "silu",
        "elu",
        "leaky_relu",
        "mish",
        "hardsigmoid",
        "abs",
        "neg",
        "softplus",
        "exp",
        "dropout",
    ];
    let x = net.pick(choices, &[1, 2, 3])?;
    let op = choices.of(OPS);
    let mut attrs = Attrs::new();
    match op {
        "gelu" => attrs.set("approximate", choices.of(&["none", "tanh"])),
        "elu" => attrs.set("alpha", choices.of(&[1.0f32, 0.5])),
        "leaky_relu" => attrs.set("negative_slope", choices.of(&[0.01f32, 0.2])),
        "hardsigmoid" => attrs.set("alpha", choices.of(&[1.0f32 / 6.0, 0.2])),
        _ => {}
    }
    net.add(op, &[Some(x)], attrs).map(drop)
}

/// Addition, subtraction or multiplication of two values that broadcast, or of one with itself.
pub(super) fn binary(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let op = choices.of(&["add", "mul", "sub"]);
    let a = net.pick(choices, &[1, 2, 3])?;
    let same = [net.sample(a).len()];
    let b = net.pick(choices, &same)?;
    let swapped = choices.once_in(2);
    let (a, b) = if swapped { (b, a) } else { (a, b) };
    match net.add(op, &[Some(a), Some(b)], Attrs::new()) {
        Some(_) => Some(()),
        None => net.add(op, &[Some(a), Some(a)], Attrs::new()).map(drop),
    }
}

/// Arithmetic with a scalar, a constant for each channel, or one for each element.
pub(super) fn with_constant(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let op = choices.of(&["add", "mul", "sub", "div"]);
    let x = net.pick(choices, &[1, 2, 3])?;
    let sample = net.sample(x);
    let shape = match choices.below(4) {
        0 => Vec::new(),
        1 => vec![1],
        2 => std::iter::once(sample[0]).chain(sample[1..].iter().map(|_| 1)).collect(),
        _ => sample.clone(),
    };
    // Like a variance: not near 0, so that a quotient is tame.
    let c = net.named_param("var", &shape);
    let constant_first = op != "div" && choices.once_in(3);
    let inputs = if constant_first { [Some(c), Some(x)] } else { [Some(x), Some(c)] };
    net.add(op, &inputs, Attrs::new()).map(drop)
}

/// A convolution or linear layer that keeps the shape, added to its input, perhaps with a relu.
pub(super) fn residual(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[1, 2, 3])?;
    let sample = net.sample(x);
    let y = match sample.len() {
        rank if rank == 1 || rank == 2 && choices.once_in(2) => {
            let depth = sample[rank - 1];
            let weight = net.param(&[depth, depth]);
            let bias = bias(net, choices, depth);
            net.call("linear", &[Some(x), Some(weight), bias], Attrs::new())?
        }
        rank => {
            let spatial = rank - 1;
            let kernel = choices.of(&[3usize, 1]);
            let depthwise = choices.once_in(3);
            let (groups, inputs) = if depthwise { (sample[0], 1) } else { (1, sample[0]) };
            let weight = net.param(&[&[sample[0], inputs], &vec![kernel; spatial][..]].concat());
            let bias = bias(net, choices, sample[0]);
            let attrs = Attrs::new().with("groups", groups as i64).with("padding", vec![(kernel / 2) as i64; spatial]);
            net.call(if spatial == 1 { "conv1d" } else { "conv2d" }, &[Some(x), Some(weight), bias], attrs)?
        }
    };
    let operands = if choices.once_in(2) { [Some(x), Some(y)] } else { [Some(y), Some(x)] };
    if !choices.once_in(3) {
        return net.add("add", &operands, Attrs::new()).map(drop);
    }
    let sum = net.call("add", &operands, Attrs::new())?;
    net.add("relu", &[Some(sum)], Attrs::new()).map(drop)
}

pub(super) fn norm(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[1, 2, 3])?;
    let sample = net.sample(x);
    if sample.len() == 1 || choices.once_in(2) {
        let last = [*sample.last()?];
        let (weight, bias) = (net.named_param("var", &last), net.param(&last));
        return net.add("layer_norm", &[Some(x), Some(weight), Some(bias)], Attrs::new()).map(drop);
    }
    let y = batch_norm(net, x)?;
    net.keep(y);
    Some(())
}

fn batch_norm(net: &mut Net, x: ValueRef) -> Option<ValueRef> {
    let channels = [net.sample(x)[0]];
    let (weight, bias) = (net.named_param("var", &channels), net.param(&channels));
    let (mean, variance) = (net.param(&channels), net.named_param("var", &channels));
    let inputs = [x, weight, bias, mean, variance].map(Some);
    net.call("batch_norm", &inputs, Attrs::new())
}

/// Batch norm, perhaps with a relu, and then a convolution: what folds into no layer.
pub(super) fn preactivation(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let mut y = batch_norm(net, x)?;
    if !choices.once_in(3) {
        y = net.call(choices.of(&["relu", "relu6"]), &[Some(y)], Attrs::new())?;
    }
    if choices.once_in(2) {
        net.keep(y);
    }
    conv_of(net, choices, y).map(drop)
}

pub(super) fn softmax(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[1, 2, 3])?;
    let dim = 1 + choices.below(net.sample(x).len());
    let attrs = Attrs::new().with("dim", if choices.once_in(2) { dim as i64 } else { -1 });
    net.add("softmax", &[Some(x)], attrs).map(drop)
}

/// Window, stride and padding of a pooling over `rank` dimensions.
fn window(choices: &mut Choices<'_>, rank: usize) -> Attrs {
    let kernel = each(choices, rank, &[2, 3, 1]);
    let mut attrs = Attrs::new().with("ceil_mode", choices.once_in(2));
    attrs.set("stride", if choices.once_in(2) { each(choices, rank, &[1, 2, 3]) } else { Vec::new() });
    let pads: Vec<i64> = kernel.iter().map(|k| choices.below(*k as usize / 2 + 1) as i64).collect();
    attrs.set("padding", pads);
    attrs.set("kernel_size", kernel);
    attrs
}

pub(super) fn max_pool(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let rank = net.sample(x).len() - 1;
    let mut attrs = window(choices, rank);
    if choices.once_in(3) {
        attrs.set("dilation", each(choices, rank, &[1, 2]));
    }
    net.add(if rank == 1 { "max_pool1d" } else { "max_pool2d" }, &[Some(x)], attrs).map(drop)
}

pub(super) fn avg_pool(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let rank = net.sample(x).len() - 1;
    let attrs = window(choices, rank).with("count_include_pad", choices.once_in(2));
    net.add(if rank == 1 { "avg_pool1d" } else { "avg_pool2d" }, &[Some(x)], attrs).map(drop)
}

pub(super) fn adaptive_pool(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let rank = net.sample(x).len() - 1;
    let attrs = Attrs::new().with("output_size", each(choices, rank, &[1, 2, 3]));
    net.add(if rank == 1 { "adaptive_avg_pool1d" } else { "adaptive_avg_pool2d" }, &[Some(x)], attrs).map(drop)
}

pub(super) fn mean(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let rank = net.sample(x).len() as i64;
    let dims = match choices.below(3) {
        0 => (2..=rank).collect(),
        1 => vec![-1],
        _ => vec![1],
    };
    let attrs = Attrs::new().with("dims", dims).with("keepdim", choices.once_in(2));
    net.add("mean", &[Some(x)], attrs).map(drop)
}
