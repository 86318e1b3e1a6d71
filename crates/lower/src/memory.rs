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

/// Places buffers of `sizes` bytes; `inputs` are alive from the start, `outputs` to the end. Results lie where operands did only where the
/// arena would be larger otherwise: the operand has to be copied away.
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
    let kept = [inputs, outputs].concat();
    let all = Shared::new(sizes, steps.clone(), &kept, &lives, |_, _| true);
    let smallest = all.arrange(sizes, end);
    let alive = all.alive(sizes, end);
    let arena = smallest.1.arena;
    let needed = |at: usize, result: u32| alive[at] + taken(sizes[result as usize]) > arena;
    let fewer = Shared::new(sizes, steps, &kept, &lives, needed).arrange(sizes, end);
    if fewer.1.arena <= arena { fewer } else { smallest }
}

/// Which buffers are one.
struct Shared {
    /// The buffer in whose memory each lies: its own, or that of an operand.
    owner: Vec<usize>,
    /// An owner's is that of all in its memory.
    lives: Vec<Option<Life>>,
}

impl Shared {
    /// Lets results lie where operands do that a step may overwrite and nothing reads later, if `wanted(step, result)`. `kept`: inputs and
    /// outputs, which stay as they are.
    fn new<'s>(
        sizes: &[usize],
        steps: impl Iterator<Item = &'s dyn Step>,
        kept: &[u32],
        lives: &[Option<Life>],
        wanted: impl Fn(usize, u32) -> bool,
    ) -> Shared {
        let mut owner: Vec<usize> = (0..sizes.len()).collect();
        let mut lives = lives.to_vec();
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
                let fresh = owner[to] == to && new.first == at && once(result.buffer);
                if free && fresh && whole(operand) && whole(result) && wanted(at, result.buffer) {
                    owner[to] = from;
                    lives[from] = Some(Life { first: old.first, last: new.last });
                }
            });
        }
        Shared { owner, lives }
    }

    /// The buffers that take memory, and when.
    fn owners(&self) -> impl Iterator<Item = (usize, Life)> {
        let life = |(i, life): (usize, &Option<Life>)| Some((i, (*life).filter(|_| self.owner[i] == i)?));
        self.lives.iter().enumerate().filter_map(life)
    }

    /// Bytes alive at each step, 0 to `end`.
    fn alive(&self, sizes: &[usize], end: usize) -> Vec<usize> {
        let (mut more, mut less) = (vec![0; end + 2], vec![0; end + 2]);
        for (i, life) in self.owners() {
            more[life.first] += taken(sizes[i]);
            less[life.last + 1] += taken(sizes[i]);
        }
        let mut now = 0;
        let step = |at: usize| {
            now = now + more[at] - less[at];
            now
        };
        (0..=end).map(step).collect()
    }

    /// A place for each buffer, best fit, largest first.
    fn arrange(&self, sizes: &[usize], end: usize) -> (Vec<Placement>, MemoryReport) {
        let mut order: Vec<(usize, Life)> = self.owners().collect();
        order.sort_by_key(|&(i, _)| (std::cmp::Reverse(sizes[i]), i));
        let mut offsets = vec![0; sizes.len()];
        let mut placed: Vec<(usize, usize, Life)> = Vec::new();
        for &(i, life) in &order {
            let mut busy: Vec<(usize, usize)> =
                placed.iter().filter(|p| p.2.overlaps(&life)).map(|p| (p.0, p.1)).collect();
            busy.sort_unstable();
            offsets[i] = best_fit(&busy, taken(sizes[i]));
            placed.push((offsets[i], offsets[i] + taken(sizes[i]), life));
        }
        let used = |i: usize| self.lives[i].is_some();
        // Buffers that nothing uses still need a valid place.
        let place = |i: usize| Placement { offset: offsets[self.owner[i]], len: if used(i) { sizes[i] } else { 0 } };
        let report = MemoryReport {
            arena: placed.iter().map(|p| p.1).max().unwrap_or(0).max(taken(0)),
            lower_bound: self.alive(sizes, end).into_iter().max().unwrap_or(0),
            total: (0..sizes.len()).filter(|&i| used(i)).map(|i| taken(sizes[i])).sum(),
        };
        ((0..sizes.len()).map(place).collect(), report)
    }
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

    /// Reads buffers and writes one, in place if it may.
    struct Maps(&'static [u32], u32);

    fn whole(buffer: u32) -> Slot {
        Slot { buffer, offset: 0, len: 100 }
    }

    impl Step for Maps {
        fn kernel(&self) -> &'static str {
            "none"
        }

        fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
            self.0.iter().for_each(|&buffer| visit(Access::Read, &whole(buffer)));
            visit(Access::Write, &whole(self.1));
        }

        fn visit_reusable(&self, visit: &mut dyn FnMut(&Slot, &Slot)) {
            self.0.iter().for_each(|&buffer| visit(&whole(buffer), &whole(self.1)));
        }

        fn run(&self, _: &mut StepCx<'_>) -> Result<(), RunError> {
            Ok(())
        }
    }

    fn maps(buffers: usize, steps: &[Maps], outputs: &[u32]) -> (Vec<usize>, usize) {
        let (placed, report) = place(&vec![100; buffers], steps.iter().map(|s| s as &dyn Step), &[0], outputs);
        assert_eq!(report.lower_bound, report.arena);
        (placed.iter().map(|p| p.offset).collect(), report.arena / taken(100))
    }

    #[test]
    fn results_lie_where_their_operands_did_where_that_saves_memory() {
        // Both operands of 3 are needed to make it; 4 has room without taking 3's place.
        let (at, arena) = maps(5, &[Maps(&[], 1), Maps(&[], 2), Maps(&[1, 2], 3), Maps(&[3], 4)], &[4]);
        assert_eq!((at[3], arena), (at[1], 2), "{at:?}");
        assert_ne!(at[4], at[3], "{at:?}");
        // 1 is read again.
        let (at, arena) = maps(5, &[Maps(&[], 1), Maps(&[], 2), Maps(&[1, 2], 3), Maps(&[1, 3], 4)], &[4]);
        assert_eq!((at[3], at[4], arena), (at[2], at[1], 2), "{at:?}");
        // Outputs, inputs and what is read twice at once stay.
        for (operands, outputs) in [(&[1, 2][..], &[1, 2, 3][..]), (&[1, 1, 2, 2], &[3])] {
            assert_eq!(maps(4, &[Maps(&[], 1), Maps(&[], 2), Maps(operands, 3)], outputs).1, 3);
        }
        assert_eq!(maps(2, &[Maps(&[0], 1)], &[1]).1, 2);
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
