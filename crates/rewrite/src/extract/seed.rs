//! Choices to start from.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::NO_CHOICE;
use super::dense::{Alternative, Dense};

/// Strongly connected components, children first, each class taking the node with the least cost where a child's cost is shared
/// out among its parents (so that it can't overflow); Dijkstra inside a component with cycles, so the choice is acyclic. `None`
/// if the root has no finite term.
pub(super) fn cheapest(dense: &Dense) -> Option<Vec<u32>> {
    /// Costs are scaled, so that sharing them out does not round them away.
    const SCALE: u64 = 256;
    let mut share = vec![u64::MAX; dense.classes.len()];
    let mut chosen = vec![NO_CHOICE; dense.classes.len()];
    let mut missing = vec![0u32; dense.alternatives.len()];
    let mut heap = BinaryHeap::new();
    let total = |share: &[u64], a: &Alternative| {
        a.children.iter().fold(a.cost.saturating_mul(SCALE), |sum, c| sum.saturating_add(share[*c as usize]))
    };
    for members in dense.components() {
        // The cheapest class whose node only needs finished classes is finished next. A component of one class without a cycle
        // is the simple case of it.
        for i in members.iter().flat_map(|class| dense.of(*class)) {
            let a = dense.alternative(i);
            let open = a.children.iter().filter(|c| chosen[**c as usize] == NO_CHOICE).count() as u32;
            missing[i as usize] = open;
            if open == 0 {
                heap.push(Reverse((total(&share, a), i)));
            }
        }
        while let Some(Reverse((cost, i))) = heap.pop() {
            let class = dense.alternative(i).owner;
            if chosen[class as usize] != NO_CHOICE {
                continue;
            }
            chosen[class as usize] = i;
            share[class as usize] = cost / parents(dense, class).max(1);
            for &user in dense.users(class) {
                let a = dense.alternative(user);
                if dense.component[a.owner as usize] != dense.component[class as usize] {
                    continue;
                }
                missing[user as usize] -= 1;
                if missing[user as usize] == 0 && chosen[a.owner as usize] == NO_CHOICE {
                    heap.push(Reverse((total(&share, a), user)));
                }
            }
        }
    }
    (chosen[0] != NO_CHOICE).then_some(chosen)
}

/// How many classes have a node that uses the class.
fn parents(dense: &Dense, class: u32) -> u64 {
    let mut last = NO_CHOICE;
    let mut count = 0;
    for user in dense.users(class) {
        let owner = dense.alternative(*user).owner;
        count += u64::from(owner != last);
        last = owner;
    }
    count
}

/// The input graph itself: of each class the alternative of least age, where age is the place of a node of the input graph in
/// its order and `None` for a node that a rule made. Classes that only rules made have `fallback`'s choice.
///
/// It is acyclic: a node of the input graph only has children that came before it.
pub(super) fn input(dense: &Dense, fallback: &[u32], ages: &[Option<usize>]) -> Vec<u32> {
    (0..dense.classes.len() as u32)
        .map(|class| {
            let aged = dense.of(class).filter_map(|i| ages[i as usize].map(|age| (age, i)));
            aged.min().map_or(fallback[class as usize], |(_, i)| i)
        })
        .collect()
}
