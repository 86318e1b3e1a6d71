//! quantc's own histogram, which no order of the data changes.

mod counts;
mod entropy;
mod mse;
mod search;

use std::borrow::Cow;

use self::counts::Counts;
use self::search::choose;
use super::min_max::saved_range;
use super::{
    Observer, ObserverError, QuantizationRule, Range, StateError, StateReader, StateTensor, Stateful, buffers,
    check_shape, finite_range, refuse_dynamic, same_kind,
};
use crate::qconfig::{ObserverSpec, RangeSearch};

/// Bins on each side of 0.
const SIDE: usize = 8192;
/// The smallest exponent of the bins' outer end: the bins' width is then 2^-127, and the factor from values to bins still an f32.
const SMALLEST_EXPONENT: i32 = -114;

/// A histogram of integer counts whose result is a function of the values seen alone: neither their order, nor how they are divided
/// into tensors, nor how the tensors are divided among observers that are then merged, changes one bit of its state.
///
/// Bins lie on both sides of 0, 8192 on each, all `2^(e - 13)` wide, where `2^e` is the smallest power of two above all magnitudes seen.
/// When `e` grows by one, two neighbours become one bin, exactly. A value counts in the bin that its magnitude rounds down to; zeros,
/// which every quantization keeps, are counted apart. The range is chosen by a [`RangeSearch`]. The state takes 128 KiB.
#[derive(Clone, Debug)]
pub struct AlignedHistogramObserver {
    spec: ObserverSpec,
    search: RangeSearch,
    range: Range,
    /// The exponent `e` above.
    exponent: i32,
    zeros: u64,
    /// From the most negative bin to the most positive one.
    counts: Vec<u64>,
    infinities: u64,
}

impl AlignedHistogramObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other, among them a percentile that is not above 50 and at most 100.
    pub fn new(spec: &ObserverSpec, search: RangeSearch) -> Result<AlignedHistogramObserver, ObserverError> {
        let observer = "AlignedHistogramObserver";
        refuse_dynamic(observer, spec)?;
        QuantizationRule::new(observer, spec, false)?;
        if let RangeSearch::Percentile(p) = search
            && !(p > 50.0 && p <= 100.0)
        {
            let reason = format!("the percentile must be above 50 and at most 100, not {p}");
            return Err(ObserverError::Spec { observer, reason });
        }
        Ok(AlignedHistogramObserver {
            spec: spec.clone(),
            search,
            range: Range::EMPTY,
            exponent: SMALLEST_EXPONENT,
            zeros: 0,
            counts: vec![0; 2 * SIDE],
            infinities: 0,
        })
    }

    /// The range of all values seen; `ranges` gives the one that the search chose within it.
    pub fn observed_range(&self) -> Range {
        self.range
    }

    /// Joins neighbouring bins until `2^exponent` is their outer end.
    fn widen(&mut self, exponent: i32) {
        let shift = (exponent - self.exponent).min(usize::BITS as i32 - 1);
        if shift <= 0 {
            return;
        }
        let (negative, positive) = self.counts.split_at_mut(SIDE);
        negative.reverse();
        for side in [&mut *negative, positive] {
            for i in 0..SIDE {
                let count = std::mem::take(&mut side[i]);
                side[i >> shift] += count;
            }
        }
        negative.reverse();
        self.exponent = exponent;
    }

    /// Counts the finite values of `data`, whose magnitudes are below `2^exponent`.
    fn count(&mut self, data: &[f32]) {
        /// Activations are often equal: counting neighbours in different tables keeps one addition from waiting for the one before.
        const TABLES: usize = 2;
        /// So many values cannot overflow the tables.
        const MOST: usize = 1 << 31;
        let bins_per_one = 2.0f64.powi(SIDE.ilog2() as i32 - self.exponent) as f32;
        // Infinities and zeros are given no bin.
        let place = |value: f32| {
            // Exact but where the product underflows, and then it is below 1 as it should be.
            let bin = (value.abs() * bins_per_one).min(SIDE as f32) as i32;
            let bin = if value < 0.0 { SIDE as i32 - 1 - bin } else { SIDE as i32 + bin };
            if value == 0.0 { u32::MAX } else { bin as u32 }
        };
        self.zeros += data.iter().filter(|v| **v == 0.0).count() as u64;
        if data.len() < SIDE {
            for &value in data {
                if let Some(count) = self.counts.get_mut(place(value) as usize) {
                    *count += 1;
                }
            }
            return;
        }
        for part in data.chunks(MOST) {
            let mut tables = vec![[0u32; TABLES]; 2 * SIDE];
            let mut positions = [0u32; 256];
            for block in part.chunks(positions.len()) {
                // Two loops, so that the arithmetic is vectorised; the additions cannot be.
                for (position, &value) in positions.iter_mut().zip(block) {
                    *position = place(value);
                }
                for (i, &position) in positions[..block.len()].iter().enumerate() {
                    if let Some(counts) = tables.get_mut(position as usize) {
                        counts[i % TABLES] += 1;
                    }
                }
            }
            for (to, from) in self.counts.iter_mut().zip(&tables) {
                *to += from.iter().map(|count| u64::from(*count)).sum::<u64>();
            }
        }
    }

    /// What a search looks at.
    fn seen(&self) -> Counts<'_> {
        let width = 2.0f64.powi(self.exponent - SIDE.ilog2() as i32);
        Counts::new(&self.counts, self.zeros, width, self.range)
    }
}

/// The smallest `e` with all of `range` below `2^e` in magnitude.
fn exponent_above(range: Range) -> i32 {
    let magnitude = range.min.abs().max(range.max.abs());
    // The exponent field: 2^(field - 127) <= magnitude, for normal numbers; subnormal ones are far below the smallest.
    let field = (magnitude.to_bits() >> 23) as i32;
    (field - 126).max(SMALLEST_EXPONENT)
}

impl Observer for AlignedHistogramObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        let (new, infinities) = finite_range(self.name(), data)?;
        self.infinities += infinities;
        if !new.is_empty() {
            // Which of two zeros an end is depends on the order; adding 0 makes it the positive one.
            let new = Range { min: new.min + 0.0, max: new.max + 0.0 };
            self.widen(exponent_above(new));
            self.range = self.range.union(new);
            self.count(data);
        }
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        if self.range.is_empty() {
            return Vec::new();
        }
        match QuantizationRule::new(self.name(), &self.spec, false) {
            Ok(rule) => vec![choose(self.search, &self.seen(), &rule, &self.spec)],
            Err(_) => Vec::new(),
        }
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        let mut other = Cow::Borrowed(same_kind(self, other)?);
        self.widen(other.exponent);
        if other.exponent < self.exponent {
            other.to_mut().widen(self.exponent);
        }
        self.range = self.range.union(other.range);
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
        self.zeros += other.zeros;
        self.infinities += other.infinities;
        Ok(())
    }
}

impl Stateful for AlignedHistogramObserver {
    fn class(&self) -> &'static str {
        "AlignedHistogramObserver"
    }

    /// Only the bins from the first to the last one that is not empty are written.
    fn state(&self) -> Vec<(String, StateTensor)> {
        let first = self.counts.iter().position(|c| *c != 0).unwrap_or(SIDE);
        let end = self.counts.iter().rposition(|c| *c != 0).map_or(first, |last| last + 1);
        buffers([
            ("eps", StateTensor::f32s(&[self.spec.eps])),
            ("min_val", StateTensor::scalar(self.range.min)),
            ("max_val", StateTensor::scalar(self.range.max)),
            ("exponent", StateTensor::i32s(&[self.exponent])),
            ("zeros", StateTensor::u64s(&[self.zeros])),
            // Counted from 0, the negative bins below it.
            ("first_bin", StateTensor::i32s(&[first as i32 - SIDE as i32])),
            ("histogram", StateTensor::u64s(&self.counts[first..end])),
            ("infinities", StateTensor::u64s(&[self.infinities])),
        ])
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        let (spec, range) = (state.with_eps(&self.spec)?, saved_range(state)?);
        let exponent = state.i32("exponent")?;
        let wanted = if range.is_empty() { SMALLEST_EXPONENT } else { exponent_above(range) };
        if exponent != wanted {
            return Err(state.invalid("exponent", &format!("it is {exponent}, min_val and max_val give {wanted}")));
        }
        let (first, saved) = (i64::from(state.i32("first_bin")?) + SIDE as i64, state.u64s("histogram")?);
        let mut counts = vec![0; 2 * SIDE];
        usize::try_from(first)
            .ok()
            .and_then(|first| counts.get_mut(first..first.checked_add(saved.len())?))
            .ok_or_else(|| state.invalid("histogram", &format!("its bins are not within -{SIDE}..{SIDE}")))?
            .copy_from_slice(saved);
        let (zeros, infinities) = (state.count("zeros")?, state.count("infinities")?);
        *self = AlignedHistogramObserver { spec, search: self.search, range, exponent, zeros, counts, infinities };
        Ok(())
    }
}
