//! Static partition of a step's rows over the threads of a pool.

use std::ops::Range;

use quantc_kernels::conv::AlignedBytes;

/// One scratch buffer per thread. A step running on one thread makes no call into the pool at all.
pub struct Workers<'a> {
    pub(crate) scratch: &'a mut [AlignedBytes],
    /// Set when work is shared between threads.
    pub(crate) shared: &'a mut bool,
}

/// Work below this many elementary operations is not worth handing to another thread.
const WORTH: usize = 1 << 15;

impl Workers<'_> {
    /// The first thread's scratch.
    pub fn scratch(&mut self) -> &mut [u8] {
        self.scratch[0].as_mut_slice()
    }

    /// Calls `f(rows, out, scratch)` for parts that cover `0..rows`; `out` starts at the first row of each part, rows being
    /// `stride` elements apart. `cost` is the number of elementary operations of one row; parts are multiples of `granule` rows.
    pub fn rows<T: Send>(
        &mut self,
        rows: usize,
        granule: usize,
        cost: usize,
        out: &mut [T],
        stride: usize,
        f: impl Fn(Range<usize>, &mut [T], &mut [u8]) + Sync,
    ) {
        let worth = rows.saturating_mul(cost) / WORTH;
        let parts = self.scratch.len().min(worth.max(1)).min(rows.div_ceil(granule.max(1)).max(1));
        *self.shared |= parts > 1;
        part(0..rows, granule.max(1), out, stride, &mut self.scratch[..parts], &f);
    }
}

fn part<T: Send>(
    rows: Range<usize>,
    granule: usize,
    out: &mut [T],
    stride: usize,
    workers: &mut [AlignedBytes],
    f: &(impl Fn(Range<usize>, &mut [T], &mut [u8]) + Sync),
) {
    let parts = workers.len();
    if parts <= 1 || rows.len() <= granule {
        if let Some(worker) = workers.first_mut() {
            f(rows, out, worker.as_mut_slice());
        }
        return;
    }
    let (left, right) = workers.split_at_mut(parts / 2);
    // The nearest whole number of granules, and something for both sides.
    let granules = rows.len().div_ceil(granule);
    let exact = rows.len() * left.len();
    let share = ((exact + parts * granule / 2) / (parts * granule)).clamp(1, granules - 1) * granule;
    let middle = rows.start + share;
    // A strided output ends with its last row's elements, not with a whole stride.
    let (first, second) = out.split_at_mut((share * stride).min(out.len()));
    rayon::join(
        || part(rows.start..middle, granule, first, stride, left, f),
        || part(middle..rows.end, granule, second, stride, right, f),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_row_once() {
        for (threads, rows, granule) in [(1, 7, 1), (2, 7, 1), (3, 100, 8), (4, 5, 4), (2, 0, 1)] {
            let mut scratch = vec![AlignedBytes::zeroed(0); threads];
            let mut out = vec![0u32; rows * 3];
            let mut workers = Workers { scratch: &mut scratch, shared: &mut false };
            workers.rows(rows, granule, WORTH, &mut out, 3, |part, out, _| {
                for (i, row) in part.enumerate() {
                    for v in &mut out[i * 3..i * 3 + 3] {
                        *v += row as u32 + 1;
                    }
                }
            });
            let want: Vec<u32> = (0..rows as u32).flat_map(|r| [r + 1; 3]).collect();
            assert_eq!(out, want, "{threads} threads, {rows} rows");
        }
    }
}
