//! The range with the smallest mean squared error.

use super::super::{QuantizationRule, Range};
use super::counts::{Counts, Segment};

/// Candidates of a scan: the ends are divided into so many steps.
const STEPS: u32 = 128;
/// Times that both ends are scanned in turn.
const ROUNDS: usize = 3;

/// Scans the upper and the lower end in turn, the other one kept; a symmetric scheme, or values of one sign, need one scan. Ties and
/// order are fixed, so that the result is a function of the counts.
pub(super) fn search(counts: &Counts<'_>, rule: &QuantizationRule) -> Range {
    let full = counts.range();
    let segments = counts.segments();
    let part = |end: f32, step: u32| (f64::from(end) * f64::from(step) / f64::from(STEPS)) as f32;
    let symmetric = rule.qscheme().is_symmetric();
    if symmetric || full.min >= 0.0 || full.max <= 0.0 {
        let most = full.max.max(-full.min);
        let within = |step| {
            let end = part(most, step);
            Range { min: full.min.max(-end).min(end), max: full.max.min(end).max(-end) }
        };
        return best(&segments, rule, full, within);
    }
    let mut range = full;
    for _ in 0..ROUNDS {
        let before = range;
        range = best(&segments, rule, range, |step| Range { max: part(full.max, step), ..range });
        range = best(&segments, rule, range, |step| Range { min: part(full.min, step), ..range });
        if range == before {
            break;
        }
    }
    range
}

/// The candidate with the smallest error, `range` if none is better than it.
fn best(segments: &[Segment], rule: &QuantizationRule, range: Range, candidate: impl Fn(u32) -> Range) -> Range {
    let start = (error(segments, rule, range), range);
    let candidates = (1..=STEPS).rev().map(candidate).map(|range| (error(segments, rule, range), range));
    candidates.fold(start, |best, new| if new.0 < best.0 { new } else { best }).1
}

/// The squared error of quantizing the values, spread evenly over their segments, with the parameters for `range`; infinite where
/// there are none.
fn error(segments: &[Segment], rule: &QuantizationRule, range: Range) -> f64 {
    let Some((scale, zero_point)) = rule.qparams(range) else { return f64::INFINITY };
    let scale = f64::from(scale);
    let integers = rule.range();
    let end = |q: i32| f64::from(q) - f64::from(zero_point);
    let (lowest, highest) = (end(integers.qmin), end(integers.qmax));
    // In steps: `t` is quantized to the nearest integer within the ends.
    let nearest = |t: f64| t.round_ties_even().clamp(lowest, highest);
    // Its antiderivative: a whole step, from one midpoint to the next, has 1 / 12.
    let integral = |t: f64| {
        let q = nearest(t);
        q / 12.0 + (t - q).powi(3) / 3.0
    };
    let of = |s: &Segment| {
        let (lo, hi) = (s.lo / scale, s.hi / scale);
        if hi > lo { s.count * (integral(hi) - integral(lo)) / (hi - lo) } else { s.count * (lo - nearest(lo)).powi(2) }
    };
    segments.iter().map(of).sum::<f64>() * scale * scale
}
