//! Local search on the true cost of a choice: a shared value is paid for once, and so is each heavy call of the input.

use super::NO_CHOICE;
use super::dense::{Alternative, Dense};

/// Classes that one move may make live before it is given up.
const MAX_ACQUIRED: usize = 2048;
/// Moves of neighbours that are tried after a class was forced.
const MAX_NEIGHBOURS: usize = 64;

/// What is minimised: first heavy calls computed more than once, then cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    /// Live heavy calls beyond one for each of the input.
    pub(super) repeated: u64,
    /// The sum over live nodes.
    pub(super) cost: u64,
}

/// A choice for every class, and what of it the root needs.
pub(super) struct Search<'d> {
    dense: &'d Dense,
    /// The alternative of each class. Following it never leads back to the class, whether live or not.
    pub(super) chosen: Vec<u32>,
    /// How many chosen, live nodes use each class: it is live if that is not 0.
    live: Vec<u32>,
    /// Live heavy calls by identity.
    heavy: Vec<u32>,
    pub(super) score: Score,
    /// Classes that became live or dead in the current move.
    touched: Vec<u32>,
    /// Stamps of the cycle check.
    seen: Vec<u32>,
    stamp: u32,
    work: Vec<u32>,
}

impl<'d> Search<'d> {
    pub(super) fn new(dense: &'d Dense, chosen: Vec<u32>) -> Search<'d> {
        let n = dense.classes.len();
        let mut search = Search {
            dense,
            chosen,
            live: vec![0; n],
            heavy: vec![0; dense.identities],
            score: Score::default(),
            touched: Vec::new(),
            seen: vec![0; n],
            stamp: 0,
            work: Vec::new(),
        };
        search.acquire(0, usize::MAX);
        search.touched.clear();
        search
    }

    fn current(&self, class: u32) -> &'d Alternative {
        self.dense.alternative(self.chosen[class as usize])
    }

    pub(super) fn is_live(&self, class: u32) -> bool {
        self.live[class as usize] > 0
    }

    fn count(&mut self, a: &Alternative) {
        self.score.cost += a.cost;
        if a.heavy != 0 {
            let live = &mut self.heavy[a.heavy as usize];
            self.score.repeated += u64::from(*live > 0);
            *live += 1;
        }
    }

    fn uncount(&mut self, a: &Alternative) {
        self.score.cost -= a.cost;
        if a.heavy != 0 {
            let live = &mut self.heavy[a.heavy as usize];
            *live -= 1;
            self.score.repeated -= u64::from(*live > 0);
        }
    }

    /// One more user of a class, and of what it needs if that makes it live. Whether no more than `limit` classes became live.
    fn acquire(&mut self, class: u32, limit: usize) -> bool {
        let mut work = std::mem::take(&mut self.work);
        let before = self.touched.len();
        work.push(class);
        while let Some(c) = work.pop() {
            self.live[c as usize] += 1;
            if self.live[c as usize] == 1 {
                self.touched.push(c);
                let a = self.current(c);
                self.count(a);
                work.extend(&a.children);
            }
        }
        self.work = work;
        self.touched.len() - before <= limit
    }

    /// One user of a class less.
    fn release(&mut self, class: u32) {
        let mut work = std::mem::take(&mut self.work);
        work.push(class);
        while let Some(c) = work.pop() {
            self.live[c as usize] -= 1;
            if self.live[c as usize] == 0 {
                self.touched.push(c);
                let a = self.current(c);
                self.uncount(a);
                work.extend(&a.children);
            }
        }
        self.work = work;
    }

    /// Gives a live class another node and follows what that needs and frees. Whether that was little enough work; if not, it must
    /// be switched back.
    fn switch(&mut self, class: u32, to: u32) -> bool {
        let (old, new) = (self.current(class), self.dense.alternative(to));
        // First what is needed, so that shared parts are not freed and needed again.
        let mut little = true;
        for child in &new.children {
            little &= self.acquire(*child, MAX_ACQUIRED);
        }
        self.chosen[class as usize] = to;
        self.count(new);
        self.uncount(old);
        for child in &old.children {
            self.release(*child);
        }
        little
    }

    /// Whether choosing the alternative would make its class need itself, or something that has no finite term. Cycles stay
    /// inside a strongly connected component.
    fn is_impossible(&mut self, alternative: u32) -> bool {
        let a = self.dense.alternative(alternative);
        if a.children.iter().any(|c| self.chosen[*c as usize] == NO_CHOICE) {
            return true;
        }
        let component = self.dense.component[a.owner as usize];
        if self.dense.members(component).len() == 1 {
            return a.children.contains(&a.owner);
        }
        self.stamp += 1;
        let mut work = std::mem::take(&mut self.work);
        work.extend(&a.children);
        let mut cycle = false;
        while let Some(c) = work.pop() {
            if self.dense.component[c as usize] != component || self.seen[c as usize] == self.stamp {
                continue;
            }
            if c == a.owner {
                cycle = true;
                break;
            }
            self.seen[c as usize] = self.stamp;
            work.extend(&self.current(c).children);
        }
        work.clear();
        self.work = work;
        cycle
    }

    /// Improves the choice until no move helps. `locked` keeps its alternative.
    pub(super) fn run(&mut self, locked: Option<u32>) {
        let open = |c: &u32| self.dense.of(*c).len() > 1 && Some(*c) != locked;
        // Children have higher numbers than the root, roughly: from the inputs to the outputs.
        let mut queue: std::collections::VecDeque<u32> =
            (0..self.dense.classes.len() as u32).rev().filter(open).collect();
        let mut queued = vec![false; self.dense.classes.len()];
        queue.iter().for_each(|c| queued[*c as usize] = true);
        while let Some(class) = queue.pop_front() {
            queued[class as usize] = false;
            let mut journal = Vec::new();
            if !self.improve(class, locked, &mut journal) {
                continue;
            }
            // What a change may have made worthwhile: other choices of the classes that changed, and of their users.
            let mut again = std::mem::take(&mut self.touched);
            again.extend(journal.iter().map(|(c, _)| *c));
            again.sort_unstable();
            again.dedup();
            for changed in again {
                let users = self.dense.users(changed).iter().map(|u| self.dense.alternative(*u).owner);
                for c in std::iter::once(changed).chain(users) {
                    if self.dense.of(c).len() > 1 && Some(c) != locked && !queued[c as usize] {
                        queued[c as usize] = true;
                        queue.push_back(c);
                    }
                }
            }
        }
    }

    /// Looks for a move of one class that lowers the score: alone, or together with moves of its neighbours. Leaves what changed in
    /// `touched` and the moves in `journal`.
    fn improve(&mut self, class: u32, locked: Option<u32>, journal: &mut Vec<(u32, u32)>) -> bool {
        for to in self.dense.of(class) {
            if !self.is_live(class) {
                return false;
            }
            let (old, before) = (self.chosen[class as usize], self.score);
            if to == old || self.is_impossible(to) {
                continue;
            }
            self.touched.clear();
            let little = self.switch(class, to);
            if little && self.score < before {
                journal.push((class, old));
                return true;
            }
            if little && self.settle(class, locked, before, journal) {
                journal.push((class, old));
                return true;
            }
            self.switch(class, old);
        }
        false
    }

    /// After a class was forced to another node: neighbours move if that helps, and the whole must come out better than `target`.
    /// If it does not, they move back.
    fn settle(&mut self, forced: u32, locked: Option<u32>, target: Score, journal: &mut Vec<(u32, u32)>) -> bool {
        let neighbours = self.neighbours(forced, locked);
        for &class in &neighbours {
            for to in self.dense.of(class) {
                if !self.is_live(class) {
                    break;
                }
                let (old, before) = (self.chosen[class as usize], self.score);
                if to == old || self.is_impossible(to) {
                    continue;
                }
                if self.switch(class, to) && self.score < before {
                    journal.push((class, old));
                } else {
                    self.switch(class, old);
                }
            }
        }
        if self.score < target {
            return true;
        }
        while let Some((class, old)) = journal.pop() {
            self.switch(class, old);
        }
        false
    }

    /// Classes with a choice around those that became live or dead: themselves and their users.
    fn neighbours(&self, forced: u32, locked: Option<u32>) -> Vec<u32> {
        let mut out = Vec::new();
        for &changed in &self.touched {
            let users = self.dense.users(changed).iter().map(|u| self.dense.alternative(*u).owner);
            for c in std::iter::once(changed).chain(users) {
                let open = c != forced && Some(c) != locked && self.dense.of(c).len() > 1;
                if open && !out.contains(&c) {
                    out.push(c);
                }
                if out.len() == MAX_NEIGHBOURS {
                    return out;
                }
            }
        }
        out
    }

    /// Forces a live class to an alternative, lets everything else settle, and returns the score. `None` if it is impossible.
    pub(super) fn force(&mut self, alternative: u32) -> Option<Score> {
        let class = self.dense.alternative(alternative).owner;
        if !self.is_live(class) || self.is_impossible(alternative) {
            return None;
        }
        self.touched.clear();
        self.switch(class, alternative);
        self.run(Some(class));
        Some(self.score)
    }

    /// Live classes, children first.
    pub(super) fn post_order(&self) -> Vec<u32> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.dense.classes.len()];
        let mut work = vec![(0u32, 0usize)];
        seen[0] = true;
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
        order
    }
}
