//! Operators that move elements.

use quantc_ops::Attrs;
use quantc_tensor::Tensor;

use super::{Choices, Net};

/// Values of the same rank joined, or one with itself.
pub(super) fn cat(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let a = net.pick(choices, &[3, 2, 1])?;
    let rank = [net.sample(a).len()];
    let b = net.pick(choices, &rank)?;
    let dim = if choices.once_in(4) { rank[0] as i64 } else { 1 };
    let attrs = Attrs::new().with("dim", dim);
    let mut parts = vec![Some(a), Some(b)];
    if choices.once_in(3) {
        parts.push(Some(a));
    }
    match net.add("cat", &parts, attrs.clone()) {
        Some(_) => Some(()),
        None => net.add("cat", &[Some(a), Some(a)], attrs).map(drop),
    }
}

pub(super) fn split(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2, 1])?;
    let sample = net.sample(x);
    let axis = choices.below(sample.len());
    let size = sample[axis];
    if size < 2 {
        return None;
    }
    let first = 1 + choices.below(size - 1);
    let attrs = Attrs::new().with("sizes", vec![first as i64, (size - first) as i64]).with("dim", axis as i64 + 1);
    net.add("split", &[Some(x)], attrs).map(drop)
}

pub(super) fn slice(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2, 1])?;
    let sample = net.sample(x);
    let axis = choices.below(sample.len());
    let size = sample[axis];
    let (start, step) = (choices.below(size) as i64, 1 + choices.below(2) as i64);
    let (start, end, step) = match choices.below(3) {
        0 => (start, size as i64, step),
        1 => (0, start + 1, step),
        // Backwards, to the first element.
        _ => (start, i64::MIN / 2, -step),
    };
    let attrs = Attrs::new()
        .with("starts", vec![start])
        .with("ends", vec![end])
        .with("axes", vec![axis as i64 + 1])
        .with("steps", vec![step]);
    net.add("slice", &[Some(x)], attrs).map(drop)
}

/// Flatten, unsqueeze, or a reshape that joins or cuts dimensions.
pub(super) fn reshape(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2, 1])?;
    let sample = net.sample(x);
    let elements: usize = sample.iter().product();
    let divisors: Vec<usize> = (1..=elements.min(16)).filter(|d| elements.is_multiple_of(*d)).collect();
    let attrs = match choices.below(4) {
        0 => return net.add("flatten", &[Some(x)], Attrs::new()).map(drop),
        1 if sample.len() < 3 => {
            let dim = 1 + choices.below(sample.len() + 1);
            return net.add("unsqueeze", &[Some(x)], Attrs::new().with("dims", vec![dim as i64])).map(drop);
        }
        1 | 2 => Attrs::new().with("shape", vec![0, choices.of(&divisors) as i64, -1]),
        _ => {
            let channels = choices.of(&divisors);
            let rest = elements / channels;
            let width = (1..=6).filter(|w| rest.is_multiple_of(*w)).max()?;
            Attrs::new().with("shape", vec![0, channels as i64, (rest / width) as i64, width as i64])
        }
    };
    net.add("reshape", &[Some(x)], attrs).map(drop)
}

pub(super) fn permute(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let orders: &[&[i64]] = match net.sample(x).len() {
        2 => &[&[0, 2, 1]],
        _ => &[&[0, 2, 3, 1], &[0, 3, 1, 2], &[0, 1, 3, 2], &[0, 3, 2, 1]],
    };
    net.add("permute", &[Some(x)], Attrs::new().with("dims", choices.of(orders).to_vec())).map(drop)
}

pub(super) fn pad(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2])?;
    let rank = net.sample(x).len() + 1;
    let mut pads = vec![0i64; 2 * rank];
    for axis in 2..rank {
        pads[axis] = choices.below(3) as i64;
        pads[rank + axis] = choices.below(3) as i64;
    }
    let mode = choices.of(&["constant", "constant", "reflect", "edge"]);
    let mut attrs = Attrs::new().with("pads", pads).with("mode", mode);
    if mode == "constant" {
        attrs.set("value", choices.of(&[0.0f32, 0.0, 1.5]));
    }
    net.add("pad", &[Some(x)], attrs).map(drop)
}

/// Nearest or bilinear resampling, or a pixel shuffle.
pub(super) fn upsample(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3])?;
    let sample = net.sample(x);
    let kind = choices.below(4);
    if kind == 1 && sample[0].is_multiple_of(4) {
        return net.add("pixel_shuffle", &[Some(x)], Attrs::new().with("upscale_factor", 2i64)).map(drop);
    }
    let mut attrs = Attrs::new().with("mode", if kind == 3 { "bilinear" } else { "nearest" });
    if kind == 2 {
        attrs.set("size", vec![1 + choices.below(9) as i64, 1 + choices.below(9) as i64]);
    } else {
        attrs.set("scale_factor", vec![choices.of(&[2.0f32, 1.0]), choices.of(&[2.0f32, 3.0])]);
    }
    if kind != 3 {
        const COORDINATES: &[&str] =
            &["", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "align_corners"];
        attrs.set("coordinates", choices.of(COORDINATES));
        let roundings = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil", "floor_or_ceil"];
        attrs.set("rounding", choices.of(&roundings));
    }
    net.add("interpolate", &[Some(x)], attrs).map(drop)
}

pub(super) fn gather(net: &mut Net, choices: &mut Choices<'_>) -> Option<()> {
    let x = net.pick(choices, &[3, 2, 1])?;
    let sample = net.sample(x);
    let axis = choices.below(sample.len());
    let indices: Vec<i64> = (0..1 + choices.below(4)).map(|_| choices.below(sample[axis]) as i64).collect();
    let indices = net.constant(Tensor::vector(indices));
    let attrs = Attrs::new().with("dim", axis as i64 + 1);
    net.add("gather", &[Some(x), Some(indices)], attrs).map(drop)
}
