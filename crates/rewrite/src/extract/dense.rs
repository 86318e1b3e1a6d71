//! What extraction needs of an e-graph, in flat arrays.

use egg::Id;
use smallvec::SmallVec;

use crate::cost::{cost, is_heavy};
use crate::lang::{EGraph, ENode};

/// A node that a class may be computed by.
pub(super) struct Alternative {
    pub(super) cost: u64,
    /// Distinct children.
    pub(super) children: SmallVec<[u32; 4]>,
    /// The class.
    pub(super) owner: u32,
    /// Identity of the heavy call, 0 if it is none.
    pub(super) heavy: u32,
}

/// The classes below the root, numbered breadth-first, the root being 0.
pub(super) struct Dense {
    /// The e-graph's classes.
    pub(super) classes: Vec<Id>,
    /// All alternatives, class by class, in the order of the class's nodes.
    pub(super) alternatives: Vec<Alternative>,
    /// Where the alternatives of each class begin; one more at the end.
    first: Vec<u32>,
    /// Alternatives that have the class as a child, class by class.
    users: Vec<u32>,
    first_user: Vec<u32>,
    /// The component of each class.
    pub(super) component: Vec<u32>,
    /// Classes of the strongly connected components, one component after the other; children's components come first.
    members: Vec<u32>,
    /// Where the members of each component begin; one more at the end.
    first_member: Vec<u32>,
    /// One more than the largest identity.
    pub(super) identities: usize,
}

impl Dense {
    pub(super) fn new(egraph: &EGraph, root: Id) -> Dense {
        const UNSEEN: u32 = u32::MAX;
        let root = egraph.find(root);
        let mut number = vec![UNSEEN; egraph.nodes().len()];
        number[usize::from(root)] = 0;
        let mut classes = vec![root];
        let mut alternatives: Vec<Alternative> = Vec::with_capacity(egraph.total_size());
        let mut first = Vec::with_capacity(egraph.number_of_classes() + 1);
        let mut identities = 1;
        let mut at = 0;
        while let Some(&id) = classes.get(at) {
            first.push(alternatives.len() as u32);
            let class = &egraph[id];
            for node in &class.nodes {
                let mut children: SmallVec<[u32; 4]> = SmallVec::new();
                for child in &node.children {
                    let child = egraph.find(*child);
                    let n = &mut number[usize::from(child)];
                    if *n == UNSEEN {
                        *n = classes.len() as u32;
                        classes.push(child);
                    }
                    if !children.contains(n) {
                        children.push(*n);
                    }
                }
                let heavy = if is_heavy(egraph, node, class.data) { node.identity } else { 0 };
                identities = identities.max(heavy as usize + 1);
                let cost = cost(egraph, node, class.data);
                alternatives.push(Alternative { cost, children, owner: at as u32, heavy });
            }
            at += 1;
        }
        first.push(alternatives.len() as u32);
        let (users, first_user) = users(&alternatives, classes.len());
        let mut dense = Dense {
            classes,
            alternatives,
            first,
            users,
            first_user,
            component: Vec::new(),
            members: Vec::new(),
            first_member: vec![0],
            identities,
        };
        dense.find_components();
        dense
    }

    /// The alternatives of a class.
    pub(super) fn of(&self, class: u32) -> std::ops::Range<u32> {
        self.first[class as usize]..self.first[class as usize + 1]
    }

    /// The classes of a component.
    pub(super) fn members(&self, component: u32) -> &[u32] {
        let component = component as usize;
        &self.members[self.first_member[component] as usize..self.first_member[component + 1] as usize]
    }

    /// The classes of each component; children's components come first.
    pub(super) fn components(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.first_member.len() as u32 - 1).map(|component| self.members(component))
    }

    /// The e-node that an alternative is.
    pub(super) fn node<'e>(&self, egraph: &'e EGraph, alternative: u32) -> &'e ENode {
        let owner = self.alternative(alternative).owner;
        let position = alternative - self.first[owner as usize];
        &egraph[self.classes[owner as usize]].nodes[position as usize]
    }

    /// The alternative of that number.
    pub(super) fn alternative(&self, alternative: u32) -> &Alternative {
        &self.alternatives[alternative as usize]
    }

    /// Alternatives that use a class, in ascending order: those of one class stand together.
    pub(super) fn users(&self, class: u32) -> &[u32] {
        &self.users[self.first_user[class as usize] as usize..self.first_user[class as usize + 1] as usize]
    }

    /// Tarjan's algorithm, without recursion. The edges of a class are those of all its alternatives.
    fn find_components(&mut self) {
        let n = self.classes.len();
        let mut index = vec![u32::MAX; n];
        let mut low = vec![0u32; n];
        let mut on_stack = vec![false; n];
        let mut stack = Vec::new();
        self.component = vec![0; n];
        let mut next = 0;
        // A class, one of its alternatives, a child of that.
        let mut work: Vec<(u32, u32, u32)> = Vec::new();
        for start in 0..n as u32 {
            if index[start as usize] != u32::MAX {
                continue;
            }
            work.push((start, self.first[start as usize], 0));
            while let Some(&mut (v, ref mut alternative, ref mut child)) = work.last_mut() {
                let vi = v as usize;
                if index[vi] == u32::MAX {
                    index[vi] = next;
                    low[vi] = next;
                    next += 1;
                    stack.push(v);
                    on_stack[vi] = true;
                }
                if *alternative < self.first[vi + 1] {
                    match self.alternatives[*alternative as usize].children.get(*child as usize) {
                        None => (*alternative, *child) = (*alternative + 1, 0),
                        Some(&w) => {
                            *child += 1;
                            let wi = w as usize;
                            if index[wi] == u32::MAX {
                                work.push((w, self.first[wi], 0));
                            } else if on_stack[wi] {
                                low[vi] = low[vi].min(index[wi]);
                            }
                        }
                    }
                    continue;
                }
                work.pop();
                if let Some(&(parent, ..)) = work.last() {
                    low[parent as usize] = low[parent as usize].min(low[vi]);
                }
                if low[vi] == index[vi] {
                    let start = self.members.len();
                    while let Some(w) = stack.pop() {
                        on_stack[w as usize] = false;
                        self.component[w as usize] = self.first_member.len() as u32 - 1;
                        self.members.push(w);
                        if w == v {
                            break;
                        }
                    }
                    self.members[start..].sort_unstable();
                    self.first_member.push(self.members.len() as u32);
                }
            }
        }
    }
}

/// The inverse of `children`.
fn users(alternatives: &[Alternative], classes: usize) -> (Vec<u32>, Vec<u32>) {
    let mut first = vec![0u32; classes + 1];
    for child in alternatives.iter().flat_map(|a| &a.children) {
        first[*child as usize + 1] += 1;
    }
    for i in 0..classes {
        first[i + 1] += first[i];
    }
    let mut next = first.clone();
    let mut users = vec![0u32; first[classes] as usize];
    for (i, alternative) in alternatives.iter().enumerate() {
        for child in &alternative.children {
            let at = &mut next[*child as usize];
            users[*at as usize] = i as u32;
            *at += 1;
        }
    }
    (users, first)
}
