//! How far outputs are apart.

/// Signal to quantization noise, in dB: infinite for equal values.
///
/// # Panics
/// If there are not as many of one as of the other.
pub fn sqnr(signal: &[f64], other: &[f64]) -> f64 {
    assert_eq!(signal.len(), other.len());
    let power: f64 = signal.iter().map(|s| s * s).sum();
    let noise: f64 = signal.iter().zip(other).map(|(s, o)| (s - o) * (s - o)).sum();
    10.0 * (power / noise).log10()
}
