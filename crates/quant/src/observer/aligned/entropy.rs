//! The range whose quantized distribution tells most about the one seen.

use super::super::{QuantizationRule, Range};
use super::counts::Counts;

/// So many magnitudes are told apart at most.
const MOST: usize = 2048;

/// The threshold for magnitudes with the smallest Kullback-Leibler divergence: what is above it counts at the threshold, what is below is
/// quantized to as many values as the integer range has for one sign, and these are spread over the bins that were not empty. Zeros
/// are left out: every quantization keeps them. (After S. Migacz, "8-bit Inference with TensorRT", 2017.)
pub(super) fn search(counts: &Counts<'_>, rule: &QuantizationRule) -> Range {
    let range = counts.range();
    let mut magnitudes = counts.magnitudes();
    let mut width = counts.width();
    while magnitudes.len() > MOST {
        magnitudes = magnitudes.chunks(2).map(|pair| pair.iter().sum()).collect();
        width *= 2.0;
    }
    let one_sided = !rule.qscheme().is_symmetric() && (range.min >= 0.0 || range.max <= 0.0);
    let steps = (i64::from(rule.range().qmax) - i64::from(rule.range().qmin)) as usize;
    let levels = if one_sided { steps } else { steps / 2 };
    let Some(used) = threshold(&magnitudes, levels) else { return range };
    let end = (width * used as f64) as f32;
    Range { min: range.min.max(-end), max: range.max.min(end) }
}

/// How many of the bins are kept; `None` if there are not more bins than `levels`.
fn threshold(magnitudes: &[f64], levels: usize) -> Option<usize> {
    if levels == 0 || magnitudes.len() <= levels {
        return None;
    }
    let prefix = |f: fn(f64) -> f64| -> Vec<f64> {
        let sums = magnitudes.iter().scan(0.0, |sum, count| {
            *sum += f(*count);
            Some(*sum)
        });
        std::iter::once(0.0).chain(sums).collect()
    };
    let counts = prefix(|count| count);
    let occupied = prefix(|count| f64::from(u8::from(count > 0.0)));
    let logs = prefix(x_log_x);
    let total = *counts.last()?;
    let divergence = |kept: usize| {
        let inside = counts[kept];
        let outside = total - inside;
        let last = magnitudes[kept - 1] + outside;
        // The sum of p log p over the bins kept, the last of which takes what is outside; as counts, not as frequencies.
        let own = logs[kept - 1] + x_log_x(last) - total * libm::log(total);
        let mut cross = 0.0;
        for level in 0..levels {
            let (from, to) = (level * kept / levels, (level + 1) * kept / levels);
            let count = counts[to] - counts[from];
            let here = if level == levels - 1 { count + outside } else { count };
            if here > 0.0 {
                cross += here * libm::log(count / (occupied[to] - occupied[from]) / inside);
            }
        }
        own - cross
    };
    // A bin that is empty within the threshold has no place for what is outside.
    let candidates = (levels..=magnitudes.len()).filter(|kept| magnitudes[kept - 1] > 0.0);
    let best = candidates.map(|kept| (divergence(kept), kept)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, kept)| kept)
}

fn x_log_x(x: f64) -> f64 {
    if x > 0.0 { x * libm::log(x) } else { 0.0 }
}
