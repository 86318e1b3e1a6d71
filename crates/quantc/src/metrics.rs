//! Scores and differences.

use std::cmp::Ordering;

use quantc_tensor::{DType, Tensor};
use serde::Serialize;

use crate::Error;

/// Accuracy of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Share of samples whose label has the highest score.
    pub top1: f64,
    /// Share of samples whose label is among the five highest scores.
    pub top5: f64,
    /// Number of samples.
    pub samples: usize,
}

/// The indices of the highest scores, best first; equal scores in order of index. NaN is no score.
fn best(scores: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|i| !scores[*i].is_nan()).collect();
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal).then(a.cmp(&b)));
    order.truncate(n);
    order
}

/// Rows of scores: axis 0 is the sample, the rest is flattened.
fn rows(scores: &Tensor) -> Result<(usize, usize, Vec<f32>), Error> {
    let samples = scores.shape().first().copied().unwrap_or(0);
    let classes = scores.numel().checked_div(samples).unwrap_or(0);
    if classes == 0 {
        return Err(Error::Data(format!("scores of shape {:?} are no classification", scores.shape())));
    }
    Ok((samples, classes, scores.to_f32_vec()))
}

/// Labels as class numbers: integers, or floats without a fraction, of shape `[samples]` or `[samples, 1]`.
fn classes_of(labels: &Tensor, samples: usize, classes: usize) -> Result<Vec<usize>, Error> {
    if labels.shape() != [samples] && labels.shape() != [samples, 1] {
        let shape = labels.shape();
        return Err(Error::Data(format!(
            "labels of shape {shape:?} for {samples} samples (hint: one class number each)"
        )));
    }
    if labels.dtype() == DType::Bool {
        return Err(Error::Data("the labels are booleans, not class numbers".to_owned()));
    }
    let Tensor::F64(values) = labels.cast(DType::F64) else { return Ok(Vec::new()) };
    let class = |(i, v): (usize, &f64)| {
        // NaN is in no range.
        if v.fract() == 0.0 && (0.0..classes as f64).contains(v) {
            Ok(*v as usize)
        } else {
            Err(Error::Data(format!("label {i} is {v}, which is none of the {classes} classes (0 to {})", classes - 1)))
        }
    };
    values.iter().enumerate().map(class).collect()
}

/// Top-1 and top-5 accuracy of scores `[samples, classes, 1...]` against labels `[samples]` or `[samples, 1]`. A label whose score is
/// NaN does not count as found.
///
/// # Errors
/// If the numbers of samples differ or a label is no class.
pub fn accuracy(scores: &Tensor, labels: &Tensor) -> Result<Accuracy, Error> {
    let (samples, classes, scores) = rows(scores)?;
    let labels = classes_of(labels, samples, classes)?;
    let (mut top1, mut top5) = (0usize, 0usize);
    for (row, &label) in scores.chunks(classes).zip(&labels) {
        let order = best(row, 5);
        top1 += usize::from(order.first() == Some(&label));
        top5 += usize::from(order.contains(&label));
    }
    let share = |n: usize| n as f64 / samples as f64;
    Ok(Accuracy { top1: share(top1), top5: share(top5), samples })
}

/// How far an output is from its reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The output.
    pub name: String,
    /// Signal to quantization noise ratio: `10 log10(sum r^2 / sum (q - r)^2)`; `null` if equal.
    pub sqnr_db: Option<f64>,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Elements left out: NaN or the same infinity in both.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_finite: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// NaN and infinities, which have no distance from other numbers.
fn not_finite(v: f64) -> Option<&'static str> {
    match v {
        _ if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("inf"),
        f64::NEG_INFINITY => Some("-inf"),
        _ => None,
    }
}

/// Compares an output with its reference.
///
/// # Errors
/// If the shapes differ, or NaN or infinities are not at the same places.
pub fn difference(name: &str, reference: &Tensor, other: &Tensor) -> Result<Difference, Error> {
    if reference.shape() != other.shape() {
        return Err(Error::Data(format!(
            "output `{name}` has the shape {:?} in one model and {:?} in the other",
            reference.shape(),
            other.shape()
        )));
    }
    let (Tensor::F64(a), Tensor::F64(b)) = (reference.cast(DType::F64), other.cast(DType::F64)) else {
        return Err(Error::Data(format!("output `{name}` holds no numbers")));
    };
    if a.iter().zip(&b).any(|(r, q)| not_finite(*r) != not_finite(*q)) {
        let count = |kind| [&a, &b].map(|t| t.iter().filter(|v| not_finite(**v) == Some(kind)).count());
        let counts = ["NaN", "inf", "-inf"].map(|kind| (kind, count(kind))).into_iter().filter(|(_, n)| *n != [0, 0]);
        let counts: Vec<String> = counts.map(|(kind, [r, q])| format!("{r} and {q} {kind}")).collect();
        return Err(Error::Data(format!(
            "output `{name}` is not finite at different places in the two models: {}, of {} elements",
            counts.join(", "),
            a.len()
        )));
    }
    let (mut signal, mut noise, mut dot, mut power, mut max_abs) = (0f64, 0f64, 0f64, 0f64, 0f64);
    let mut skipped = 0;
    for (&r, &q) in a.iter().zip(&b) {
        if !r.is_finite() {
            skipped += 1;
            continue;
        }
        signal += r * r;
        power += q * q;
        dot += r * q;
        noise += (q - r) * (q - r);
        max_abs = max_abs.max((q - r).abs());
    }
    let cosine = match (signal == 0.0, power == 0.0) {
        (true, true) => 1.0,
        (false, false) => dot / (signal.sqrt() * power.sqrt()),
        _ => 0.0,
    };
    // Of a reference that is all zeros the ratio would be minus infinity, which JSON does not have.
    let sqnr_db = (noise != 0.0).then(|| 10.0 * (signal / noise).max(f64::MIN_POSITIVE).log10());
    Ok(Difference { name: name.to_owned(), sqnr_db, cosine, max_abs, not_finite: skipped })
}

/// Share of samples for which both give the same class the highest score.
///
/// # Errors
/// If the scores are no classification.
pub fn top1_agreement(a: &Tensor, b: &Tensor) -> Result<f64, Error> {
    let (samples, classes, a) = rows(a)?;
    let (_, _, b) = rows(b)?;
    let same = a.chunks(classes).zip(b.chunks(classes)).filter(|(x, y)| best(x, 1) == best(y, 1)).count();
    Ok(same as f64 / samples as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_ranks() {
        let scores = Tensor::from_vec(&[2, 6], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0f32]);
        let scores = scores.expect("fits");
        let a = accuracy(&scores, &Tensor::vector(vec![0i64, 0])).expect("fits");
        assert_eq!((a.top1, a.top5, a.samples), (0.5, 0.5, 2));
        assert!(accuracy(&scores, &Tensor::vector(vec![0i64])).is_err());
        assert!(accuracy(&scores, &Tensor::vector(vec![0i64, 6])).is_err());
        let column = Tensor::from_vec(&[2, 1], vec![0f32, 0.0]).expect("fits");
        assert_eq!(accuracy(&scores, &column).expect("fits").top1, 0.5);
        for bad in [f32::NAN, 0.5, -1.0, 6.0] {
            let message = accuracy(&scores, &Tensor::vector(vec![0.0, bad])).expect_err("no class").to_string();
            assert!(message.contains("label 1"), "{message}");
        }
        assert!(accuracy(&scores, &Tensor::from_vec(&[1, 2], vec![0i64, 0]).expect("fits")).is_err());
    }

    #[test]
    fn nan_is_never_right() {
        let scores = Tensor::from_vec(&[2, 3], vec![f32::NAN; 6]).expect("fits");
        let a = accuracy(&scores, &Tensor::vector(vec![0i64, 1])).expect("fits");
        assert_eq!((a.top1, a.top5), (0.0, 0.0));
    }

    #[test]
    fn nan_in_one_output_only_is_an_error() {
        let (one, none) = (Tensor::vector(vec![f32::NAN, 1.0, 2.0]), Tensor::vector(vec![0.0f32, 1.0, 2.5]));
        let message = difference("y", &one, &none).expect_err("differs").to_string();
        assert!(message.contains("`y`") && message.contains("1 and 0 NaN"), "{message}");
        let other = Tensor::vector(vec![f32::NAN, 1.0, 2.5]);
        let d = difference("y", &one, &other).expect("same places");
        assert_eq!((d.max_abs, d.not_finite), (0.5, 1));
        let (low, high) = (Tensor::vector(vec![f32::INFINITY]), Tensor::vector(vec![f32::NEG_INFINITY]));
        assert!(difference("y", &low, &high).is_err());
        assert_eq!(difference("y", &low, &low).expect("equal").sqnr_db, None);
        let zeros = Tensor::vector(vec![0.0f32, 0.0, 0.0]);
        let d = difference("y", &zeros, &none).expect("fits");
        assert!(d.sqnr_db.is_some_and(f64::is_finite) && d.cosine == 0.0, "{d:?}");
    }

    #[test]
    fn difference_of_a_tenth() {
        let r = Tensor::vector(vec![1.0f32, -1.0]);
        let q = Tensor::vector(vec![1.1f32, -1.1]);
        let d = difference("y", &r, &q).expect("fits");
        assert!((d.sqnr_db.expect("differs") - 20.0).abs() < 1e-4, "{d:?}");
        assert!((d.cosine - 1.0).abs() < 1e-12);
        assert_eq!(difference("y", &r, &r).expect("fits").sqnr_db, None);
    }
}
