//! Timing that a busy machine bends evenly.

use std::time::{Duration, Instant};

use quantc_kernels::{Isa, Kernels};

/// Time to spend on each run.
const BUDGET: Duration = Duration::from_millis(120);

/// The sets to compare, highest tier first: all of this machine, or the one that `QUANTC_ISA` names.
pub fn tiers() -> Vec<Kernels> {
    Isa::available()
        .into_iter()
        .rev()
        .filter(|&isa| std::env::var("QUANTC_ISA").map_or(true, |name| isa.name() == name))
        .map(|isa| {
            let mut kernels = Kernels::PORTABLE;
            quantc_kernels_x86::register(isa, &mut kernels);
            kernels
        })
        .collect()
}

/// The median and the least seconds of each of the runs, taken in turn.
pub fn measure(runs: &mut [Box<dyn FnMut() + '_>]) -> Vec<[f64; 2]> {
    let once = |run: &mut Box<dyn FnMut() + '_>| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let mut times = vec![Vec::new(); runs.len()];
    let mut spent = vec![Duration::ZERO; runs.len()];
    runs.iter_mut().for_each(|run| run());
    loop {
        let mut done = true;
        for ((run, times), spent) in runs.iter_mut().zip(&mut times).zip(&mut spent) {
            if *spent < BUDGET || times.len() < 5 {
                let time = once(run);
                *spent += time;
                times.push(time.as_secs_f64());
                done = false;
            }
        }
        if done {
            break;
        }
    }
    times
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            [times[times.len() / 2], times[0]]
        })
        .collect()
}
