//! Scores and differences.

use quantc_tensor::Tensor;
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
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
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

/// Top-1 and top-5 accuracy of scores `[samples, classes, 1...]` against labels `[samples]` or `[samples, 1]`.
///
/// # Errors
/// If the numbers of samples differ or a label is no class.
pub fn accuracy(scores: &Tensor, labels: &Tensor) -> Result<Accuracy, Error> {
    let (samples, classes, scores) = rows(scores)?;
    if labels.shape().get(1..).is_some_and(|rest| rest.iter().any(|d| *d != 1)) || labels.rank() == 0 {
        return Err(Error::Data(format!("labels of shape {:?}, it must be one for each sample", labels.shape())));
    }
    if labels.dtype().is_float()
        && let Some(wrong) = labels.to_f32_vec().into_iter().find(|v| v.fract() != 0.0 || !v.is_finite())
    {
        return Err(Error::Data(format!("the label {wrong} is no class number")));
    }
    let labels = labels.to_i64_vec();
    if labels.len() != samples {
        return Err(Error::Data(format!("{} labels for {samples} samples", labels.len())));
    }
    let (mut top1, mut top5) = (0usize, 0usize);
    for (row, &label) in scores.chunks(classes).zip(&labels) {
        let label = usize::try_from(label).ok().filter(|l| *l < classes);
        let label = label.ok_or_else(|| Error::Data(format!("a label is outside the {classes} classes")))?;
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
}

/// Compares an output with its reference. Where both have NaN, that is no difference.
///
/// # Errors
/// If the shapes differ, or one has a NaN where the other has a number.
pub fn difference(name: &str, reference: &Tensor, other: &Tensor) -> Result<Difference, Error> {
    if reference.shape() != other.shape() {
        return Err(Error::Data(format!(
            "output `{name}` has the shape {:?} in one model and {:?} in the other",
            reference.shape(),
            other.shape()
        )));
    }
    let (mut signal, mut noise, mut dot, mut power, mut max_abs) = (0f64, 0f64, 0f64, 0f64, 0f64);
    let (reference, other) = (reference.to_f32_vec(), other.to_f32_vec());
    let lone = reference.iter().zip(&other).filter(|(r, q)| r.is_nan() != q.is_nan()).count();
    if lone > 0 {
        let count = |values: &[f32]| values.iter().filter(|v| v.is_nan()).count();
        return Err(Error::Data(format!(
            "output `{name}` has {} NaN in one model and {} in the other; {lone} of its {} values are a number in one only",
            count(&reference),
            count(&other),
            reference.len()
        )));
    }
    for (r, q) in reference.into_iter().zip(other) {
        if r == q || r.is_nan() {
            // Equal infinities have no difference either.
            let (r, q) = if r.is_finite() { (f64::from(r), f64::from(q)) } else { (0.0, 0.0) };
            signal += r * r;
            power += q * q;
            dot += r * q;
            continue;
        }
        let (r, q) = (f64::from(r), f64::from(q));
        signal += r * r;
        power += q * q;
        dot += r * q;
        noise += (q - r) * (q - r);
        max_abs = max_abs.max((q - r).abs());
    }
    let cosine = if signal == 0.0 && power == 0.0 { 1.0 } else { dot / (signal.sqrt() * power.sqrt()) };
    let sqnr_db = (noise != 0.0).then(|| 10.0 * (signal / noise).log10());
    Ok(Difference { name: name.to_owned(), sqnr_db, cosine, max_abs })
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
    }

    #[test]
    fn nan_shows() {
        let (a, b) = (Tensor::vector(vec![1.0f32, f32::NAN]), Tensor::vector(vec![1.0f32, 2.0]));
        let message = difference("y", &a, &b).expect_err("a number in one only").to_string();
        assert!(message.contains("1 NaN in one model and 0 in the other"), "{message}");
        assert_eq!(difference("y", &a, &a).expect("the same").sqnr_db, None);
        let scores = Tensor::from_vec(&[1, 2], vec![f32::NAN, f32::NAN]).expect("fits");
        let nothing = accuracy(&scores, &Tensor::vector(vec![0i64])).expect("fits");
        assert_eq!((nothing.top1, nothing.top5), (0.0, 0.0));
    }

    #[test]
    fn labels_are_whole_numbers_one_a_sample() {
        let scores = Tensor::from_vec(&[2, 2], vec![1.0f32, 0.0, 0.0, 1.0]).expect("fits");
        let labels = |shape: &[usize], values: Vec<f32>| Tensor::from_vec(shape, values).expect("fits");
        assert!(accuracy(&scores, &labels(&[2, 1], vec![0.0, 1.0])).is_ok());
        for wrong in [labels(&[2], vec![0.5, 1.0]), labels(&[2], vec![f32::NAN, 1.0]), labels(&[1, 2], vec![0.0, 1.0])]
        {
            assert!(accuracy(&scores, &wrong).is_err(), "{:?}", wrong.shape());
        }
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
