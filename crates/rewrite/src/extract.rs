//! Extraction on DAG cost: a shared value is paid for once.
//!
//! Three steps. A dense view of the classes below the root. A seed: strongly connected components, children first, each class
//! taking the node with the least cost where a child's cost is shared out among its parents (so that it can't overflow);
//! Dijkstra inside a component with cycles, so the choice is acyclic. Then local search on the true cost: a move chooses
//! another node for one class, and is kept if what becomes unused outweighs what becomes used.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use egg::Id;
use smallvec::SmallVec;

use crate::cost::cost;
use crate::lang::{EGraph, ENode};

/// Rounds of local search; each lowers the cost, so it ends by itself well before.
const ROUNDS: usize = 16;

struct Alternative {
    /// Position in the class.
    position: usize,
    cost: u64,
    /// Distinct children.
    children: SmallVec<[u32; 4]>,
}

/// A chosen node per class, and their order.
pub(crate) struct Extracted {
    /// Classes the result needs, children first.
    pub(crate) order: Vec<Id>,
    /// The chosen node of each of them.
    pub(crate) chosen: HashMap<Id, ENode>,
}

/// Chooses a node for every class the root needs. `None` if the root has no finite term, which an encoded graph always has.
pub(crate) fn extract(egraph: &EGraph, root: Id) -> Option<Extracted> {
    let dense = Dense::new(egraph, root);
    let components = components(&dense);
    let seed = seed(&dense, &components)?;
    let mut search = Search { dense: &dense, component: &components.of, chosen: seed, users: Vec::new(), cost: 0 };
    search.users = vec![0; dense.classes.len()];
    search.acquire(0);
    search.run();
    let mut order = Vec::new();
    let mut seen = vec![false; dense.classes.len()];
    search.post_order(0, &mut seen, &mut order);
    let chosen = order
        .iter()
        .map(|&c| {
            let alternative = &dense.alternatives[c as usize][search.chosen[c as usize]];
            (dense.classes[c as usize], egraph[dense.classes[c as usize]].nodes[alternative.position].clone())
        })
        .collect();
    Some(Extracted { order: order.iter().map(|c| dense.classes[*c as usize]).collect(), chosen })
}

/// The classes below the root, numbered breadth-first.
struct Dense {
    classes: Vec<Id>,
    alternatives: Vec<Vec<Alternative>>,
    /// How many classes have a node that uses the class.
    parents: Vec<u64>,
}

impl Dense {
    fn new(egraph: &EGraph, root: Id) -> Dense {
        let mut number: HashMap<Id, u32> = HashMap::new();
        let root = egraph.find(root);
        let mut classes = vec![root];
        number.insert(root, 0);
        let mut alternatives = Vec::new();
        let mut at = 0;
        while let Some(&class) = classes.get(at) {
            at += 1;
            let data = egraph[class].data;
            let mut list = Vec::new();
            for (position, node) in egraph[class].nodes.iter().enumerate() {
                let mut children: SmallVec<[u32; 4]> = SmallVec::new();
                for child in &node.children {
                    let child = egraph.find(*child);
                    let next = classes.len() as u32;
                    let n = *number.entry(child).or_insert_with(|| {
                        classes.push(child);
                        next
                    });
                    if !children.contains(&n) {
                        children.push(n);
                    }
                }
                list.push(Alternative { position, cost: cost(egraph, node, data), children });
            }
            alternatives.push(list);
        }
        let mut parents = vec![0; classes.len()];
        for list in &alternatives {
            let mut used: Vec<u32> = list.iter().flat_map(|a| a.children.iter().copied()).collect();
            used.sort_unstable();
            used.dedup();
            used.iter().for_each(|c| parents[*c as usize] += 1);
        }
        Dense { classes, alternatives, parents }
    }
}

struct Components {
    /// The component of each class.
    of: Vec<u32>,
    /// Classes of each component; children's components come first.
    members: Vec<Vec<u32>>,
}

/// Tarjan's algorithm, without recursion.
fn components(dense: &Dense) -> Components {
    let n = dense.classes.len();
    let successors: Vec<Vec<u32>> = dense
        .alternatives
        .iter()
        .map(|list| {
            let mut all: Vec<u32> = list.iter().flat_map(|a| a.children.iter().copied()).collect();
            all.sort_unstable();
            all.dedup();
            all
        })
        .collect();
    let mut index = vec![u32::MAX; n];
    let mut low = vec![0u32; n];
    let mut on_stack = vec![false; n];
    let mut stack = Vec::new();
    let mut out = Components { of: vec![0; n], members: Vec::new() };
    let mut next = 0;
    let mut work: Vec<(u32, usize)> = Vec::new();
    for start in 0..n as u32 {
        if index[start as usize] != u32::MAX {
            continue;
        }
        work.push((start, 0));
        while let Some(&mut (v, ref mut edge)) = work.last_mut() {
            let vi = v as usize;
            if *edge == 0 {
                index[vi] = next;
                low[vi] = next;
                next += 1;
                stack.push(v);
                on_stack[vi] = true;
            }
            if let Some(&w) = successors[vi].get(*edge) {
                *edge += 1;
                let wi = w as usize;
                if index[wi] == u32::MAX {
                    work.push((w, 0));
                } else if on_stack[wi] {
                    low[vi] = low[vi].min(index[wi]);
                }
                continue;
            }
            work.pop();
            if let Some(&(parent, _)) = work.last() {
                low[parent as usize] = low[parent as usize].min(low[vi]);
            }
            if low[vi] == index[vi] {
                let mut members = Vec::new();
                while let Some(w) = stack.pop() {
                    on_stack[w as usize] = false;
                    out.of[w as usize] = out.members.len() as u32;
                    members.push(w);
                    if w == v {
                        break;
                    }
                }
                members.sort_unstable();
                out.members.push(members);
            }
        }
    }
    out
}

/// An acyclic choice for every class.
fn seed(dense: &Dense, components: &Components) -> Option<Vec<usize>> {
    /// Costs are scaled, so that sharing them out does not round them away.
    const SCALE: u64 = 256;
    let n = dense.classes.len();
    let mut share = vec![u64::MAX; n];
    let mut chosen = vec![usize::MAX; n];
    for members in &components.members {
        // Dijkstra: the cheapest class whose node only needs finished classes is finished next. A component of one class
        // without a cycle is the simple case of it.
        let mut heap = BinaryHeap::new();
        let mut waiting: HashMap<u32, Vec<(u32, usize)>> = HashMap::new();
        let mut missing: HashMap<(u32, usize), usize> = HashMap::new();
        let total = |share: &[u64], a: &Alternative| {
            a.children.iter().fold(a.cost * SCALE, |sum, c| sum.saturating_add(share[*c as usize]))
        };
        for &class in members {
            for (i, a) in dense.alternatives[class as usize].iter().enumerate() {
                let open = a.children.iter().filter(|c| share[**c as usize] == u64::MAX);
                let mut count = 0;
                for child in open {
                    waiting.entry(*child).or_default().push((class, i));
                    count += 1;
                }
                if count == 0 {
                    heap.push(Reverse((total(&share, a), class, i)));
                } else {
                    missing.insert((class, i), count);
                }
            }
        }
        while let Some(Reverse((cost, class, i))) = heap.pop() {
            let c = class as usize;
            if chosen[c] != usize::MAX {
                continue;
            }
            chosen[c] = i;
            share[c] = cost / dense.parents[c].max(1);
            for (user, j) in waiting.remove(&class).unwrap_or_default() {
                let left = missing.entry((user, j)).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 && chosen[user as usize] == usize::MAX {
                    heap.push(Reverse((total(&share, &dense.alternatives[user as usize][j]), user, j)));
                }
            }
        }
    }
    (chosen[0] != usize::MAX).then_some(chosen)
}

struct Search<'d> {
    dense: &'d Dense,
    component: &'d [u32],
    chosen: Vec<usize>,
    /// How many chosen, needed nodes use each class.
    users: Vec<u32>,
    cost: u64,
}

impl Search<'_> {
    fn current(&self, class: u32) -> &Alternative {
        &self.dense.alternatives[class as usize][self.chosen[class as usize]]
    }

    /// One more user of a class.
    fn acquire(&mut self, class: u32) {
        let mut work = vec![class];
        while let Some(c) = work.pop() {
            self.users[c as usize] += 1;
            if self.users[c as usize] == 1 {
                let dense = self.dense;
                let a = &dense.alternatives[c as usize][self.chosen[c as usize]];
                self.cost += a.cost;
                work.extend(&a.children);
            }
        }
    }

    /// One user of a class less.
    fn release(&mut self, class: u32) {
        let mut work = vec![class];
        while let Some(c) = work.pop() {
            self.users[c as usize] -= 1;
            if self.users[c as usize] == 0 {
                let dense = self.dense;
                let a = &dense.alternatives[c as usize][self.chosen[c as usize]];
                self.cost -= a.cost;
                work.extend(&a.children);
            }
        }
    }

    /// Gives a needed class another node and follows what that needs and frees.
    fn switch(&mut self, class: u32, to: usize) {
        let dense = self.dense;
        let list = &dense.alternatives[class as usize];
        let (old, new) = (&list[self.chosen[class as usize]], &list[to]);
        // First what is needed, so that shared parts are not freed and needed again.
        for child in &new.children {
            self.acquire(*child);
        }
        self.chosen[class as usize] = to;
        self.cost = self.cost + new.cost - old.cost;
        for child in &old.children {
            self.release(*child);
        }
    }

    /// Whether choosing the alternative would make the class need itself.
    fn makes_cycle(&self, class: u32, alternative: &Alternative) -> bool {
        let component = self.component[class as usize];
        let inside = |c: &u32| self.component[*c as usize] == component;
        let mut work: Vec<u32> = alternative.children.iter().copied().filter(|c| inside(c)).collect();
        let mut seen = Vec::new();
        while let Some(c) = work.pop() {
            if c == class || self.chosen[c as usize] == usize::MAX {
                return true;
            }
            if !seen.contains(&c) {
                seen.push(c);
                work.extend(self.current(c).children.iter().filter(|c| inside(c)));
            }
        }
        // A class without a finite term outside the component can't be chosen either.
        alternative.children.iter().any(|c| self.chosen[*c as usize] == usize::MAX)
    }

    fn run(&mut self) {
        let open: Vec<u32> =
            (0..self.dense.classes.len() as u32).filter(|c| self.dense.alternatives[*c as usize].len() > 1).collect();
        for _ in 0..ROUNDS {
            let before = self.cost;
            for &class in &open {
                for i in 0..self.dense.alternatives[class as usize].len() {
                    let old = self.chosen[class as usize];
                    if self.users[class as usize] == 0 || i == old {
                        continue;
                    }
                    let dense = self.dense;
                    if self.makes_cycle(class, &dense.alternatives[class as usize][i]) {
                        continue;
                    }
                    let cost = self.cost;
                    self.switch(class, i);
                    if self.cost >= cost {
                        self.switch(class, old);
                    }
                }
            }
            if self.cost == before {
                return;
            }
        }
    }

    fn post_order(&self, root: u32, seen: &mut [bool], order: &mut Vec<u32>) {
        let mut work = vec![(root, 0usize)];
        seen[root as usize] = true;
        while let Some(&mut (class, ref mut next)) = work.last_mut() {
            match self.current(class).children.get(*next) {
                Some(&child) => {
                    *next += 1;
                    if !seen[child as usize] {
                        seen[child as usize] = true;
                        work.push((child, 0));
                    }
                }
                None => {
                    order.push(class);
                    work.pop();
                }
            }
        }
    }
}
