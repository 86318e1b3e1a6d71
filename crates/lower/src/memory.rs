//! The static memory plan: buffers whose lives overlap get disjoint places, best fit, largest first.

use quantc_kernels::SLACK;
use quantc_runtime::{ALIGN, Access, MemoryReport, Placement, Slot, Step};

/// Largest arena in bytes: beyond it a size is taken for a mistake in the model.
pub(crate) const MAX_ARENA: usize = 1 << 33;

/// When a buffer is alive: from the step that first writes it to the one that last reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    first: usize,
    last: usize,
}

impl Life {
    fn overlaps(&self, other: &Life) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Bytes a buffer takes in the arena.
fn taken(len: usize) -> usize {
    (len + SLACK).next_multiple_of(ALIGN)
}

/// Places buffers of `sizes` bytes; `inputs` are alive from the start, `outputs` to the end.
pub(crate) fn place<'s>(
    sizes: &[usize],
    steps: impl Iterator<Item = &'s dyn Step> + Clone,
    inputs: &[u32],
    outputs: &[u32],
) -> (Vec<Placement>, MemoryReport) {
    let mut lives: Vec<Option<Life>> = vec![None; sizes.len()];
    let mut touch = |buffer: u32, at: usize| {
        let life = lives[buffer as usize].get_or_insert(Life { first: at, last: at });
        life.last = life.last.max(at);
    };
    inputs.iter().for_each(|&b| touch(b, 0));
    let mut end = 0;
    for (at, step) in steps.clone().enumerate() {
        step.visit(&mut |_: Access, slot: &Slot| touch(slot.buffer, at));
        end = at;
    }
    outputs.iter().for_each(|&b| touch(b, end));
    let owner = owners(sizes, steps, &[inputs, outputs].concat(), &mut lives);
    let mut order: Vec<usize> = (0..sizes.len()).filter(|&i| lives[i].is_some() && owner[i] == i).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
    let mut placements: Vec<Placement> = sizes.iter().map(|&len| Placement { offset: 0, len }).collect();
    let mut placed: Vec<(usize, usize, Life)> = Vec::new();
    for &i in &order {
        let Some(life) = lives[i] else { continue };
        let mut busy: Vec<(usize, usize)> = placed.iter().filter(|p| p.2.overlaps(&life)).map(|p| (p.0, p.1)).collect();
        busy.sort_unstable();
        let offset = best_fit(&busy, taken(sizes[i]));
        placements[i].offset = offset;
        placed.push((offset, offset + taken(sizes[i]), life));
    }
    let arena = placed.iter().map(|p| p.1).max().unwrap_or(0).max(taken(0));
    let alive_at = |at: usize| {
        order
            .iter()
            .filter(|&&i| lives[i].is_some_and(|l| l.first <= at && at <= l.last))
            .map(|&i| taken(sizes[i]))
            .sum()
    };
    let report = MemoryReport {
        arena,
        lower_bound: (0..=end).map(alive_at).max().unwrap_or(0),
        total: (0..sizes.len()).filter(|&i| lives[i].is_some()).map(|i| taken(sizes[i])).sum(),
    };
    // Buffers that nothing uses still need a valid place.
    for i in 0..placements.len() {
        placements[i].offset = placements[owner[i]].offset;
        if lives[i].is_none() {
            placements[i].len = 0;
        }
    }
    (placements, report)
}

/// The buffer in whose memory each lies: its own, or that of an operand which a step may overwrite by its result and nothing reads later.
/// An owner's life becomes that of all in its memory. `kept`: inputs and outputs, which stay as they are.
fn owners<'s>(
    sizes: &[usize],
    steps: impl Iterator<Item = &'s dyn Step>,
    kept: &[u32],
    lives: &mut [Option<Life>],
) -> Vec<usize> {
    let mut owner: Vec<usize> = (0..sizes.len()).collect();
    for (at, step) in steps.enumerate() {
        let mut uses: Vec<u32> = Vec::new();
        step.visit(&mut |_: Access, slot: &Slot| uses.push(slot.buffer));
        let once = |buffer: u32| uses.iter().filter(|u| **u == buffer).count() == 1;
        step.visit_reusable(&mut |operand, result| {
            let whole = |slot: &Slot| slot.offset == 0 && slot.len == sizes[slot.buffer as usize];
            let (from, to) = (owner[operand.buffer as usize], result.buffer as usize);
            let (Some(old), Some(new)) = (lives[from], lives[to]) else { return };
            // What is in the memory now is the operand alone, and it is not read again.
            let free = !kept.contains(&operand.buffer) && once(operand.buffer) && old.last == at;
            if free && whole(operand) && whole(result) && owner[to] == to && new.first == at && once(result.buffer) {
                owner[to] = from;
                lives[from] = Some(Life { first: old.first, last: new.last });
            }
        });
    }
    owner
}

/// The start of the smallest gap between busy ranges (ordered by start) that holds `len`, or the end of them all.
fn best_fit(busy: &[(usize, usize)], len: usize) -> usize {
    let (mut best, mut end): (Option<(usize, usize)>, usize) = (None, 0);
    for &(start, stop) in busy {
        if start >= end + len && best.is_none_or(|(gap, _)| start - end < gap) {
            best = Some((start - end, end));
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quantc_runtime::{RunError, StepCx};

    /// Reads the first buffer and writes the second, in place if it may.
    struct Moves(u32, u32);

    impl Step for Moves {
        fn kernel(&self) -> &'static str {
            "none"
        }

        fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
            visit(Access::Read, &Slot { buffer: self.0, offset: 0, len: 100 });
            visit(Access::Write, &Slot { buffer: self.1, offset: 0, len: 100 });
        }

        fn visit_reusable(&self, visit: &mut dyn FnMut(&Slot, &Slot)) {
            let slot = |buffer| Slot { buffer, offset: 0, len: 100 };
            visit(&slot(self.0), &slot(self.1));
        }

        fn run(&self, _: &mut StepCx<'_>) -> Result<(), RunError> {
            Ok(())
        }
    }

    #[test]
    fn results_lie_where_their_operands_did_that_nothing_reads_later() {
        // 0 -> 1 -> 2 -> 3 -> 4, and 1 is read again by the step of 5. 0 is the input, 4 and 5 are outputs.
        let steps = [Moves(0, 1), Moves(1, 2), Moves(2, 3), Moves(3, 4), Moves(1, 5), Moves(4, 6)];
        let (placed, report) = place(&[100; 7], steps.iter().map(|s| s as &dyn Step), &[0], &[4, 5]);
        let at: Vec<usize> = placed.iter().map(|p| p.offset).collect();
        assert!(at[2] == at[3] && at[3] == at[4], "{at:?}");
        assert!(at[1] != at[2], "1 is read after 2 is written: {at:?}");
        assert!(at[1] == at[5], "nothing reads 1 after this: {at:?}");
        assert!(at[4] != at[6], "4 is an output: {at:?}");
        assert_eq!(report.lower_bound, report.arena);
        assert_eq!(report.arena, 3 * taken(100), "{at:?}");
    }

    struct Uses(Vec<u32>);

    impl Step for Uses {
        fn kernel(&self) -> &'static str {
            "none"
        }

        fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
            for &buffer in &self.0 {
                visit(Access::Read, &Slot { buffer, offset: 0, len: 0 });
            }
        }

        fn run(&self, _: &mut StepCx<'_>) -> Result<(), RunError> {
            Ok(())
        }
    }

    #[test]
    fn gaps_are_used_smallest_first() {
        assert_eq!(best_fit(&[(0, 64), (256, 320), (384, 448)], 64), 320);
        assert_eq!(best_fit(&[(0, 64), (256, 320)], 256), 320);
        assert_eq!(best_fit(&[], 64), 0);
    }

    proptest! {
        #[test]
        fn live_buffers_never_overlap(
            sizes in prop::collection::vec(0usize..5000, 1..20),
            uses in prop::collection::vec(prop::collection::vec(0usize..20, 0..4), 1..20),
        ) {
            let n = sizes.len();
            let steps: Vec<Uses> = uses.iter().map(|u| Uses(u.iter().map(|&b| (b % n) as u32).collect())).collect();
            let (placements, report) = place(&sizes, steps.iter().map(|s| s as &dyn Step), &[0], &[(n - 1) as u32]);
            let life = |b: u32| {
                let at = steps.iter().enumerate().filter(|(_, s)| s.0.contains(&b)).map(|(i, _)| i);
                let at: Vec<usize> = at.chain((b == 0).then_some(0)).chain((b as usize == n - 1).then_some(steps.len() - 1)).collect();
                at.iter().min().copied().zip(at.iter().max().copied())
            };
            for a in 0..n {
                let Some((a_first, a_last)) = life(a as u32) else { continue };
                let p = placements[a];
                prop_assert!(p.offset % ALIGN == 0 && p.offset + p.len + SLACK <= report.arena && p.len == sizes[a]);
                for (b, &q) in placements.iter().enumerate().take(a) {
                    let Some((b_first, b_last)) = life(b as u32) else { continue };
                    if a_first <= b_last && b_first <= a_last {
                        prop_assert!(p.offset + p.len + SLACK <= q.offset || q.offset + q.len + SLACK <= p.offset);
                    }
                }
            }
            prop_assert!(report.lower_bound <= report.arena && report.arena <= report.total.max(SLACK));
        }
    }
}
