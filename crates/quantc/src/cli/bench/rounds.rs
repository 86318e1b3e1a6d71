//! Two models timed in turns.

use std::path::Path;
use std::time::Instant;

use quantc::{Compiled, Error};
use quantc_tensor::Tensor;
use serde::Serialize;

use super::{quantile, rounded};

/// A model ready to be timed.
pub struct Contestant {
    /// The model.
    pub compiled: Compiled,
    /// Its inputs.
    pub inputs: Vec<(String, Tensor)>,
}

impl Contestant {
    /// One run in milliseconds.
    ///
    /// # Errors
    /// If the run fails.
    pub fn time(&mut self) -> Result<f64, Error> {
        let start = Instant::now();
        self.compiled.run(&self.inputs)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

/// One of the two models.
#[derive(Clone, Debug, Serialize)]
struct Timed {
    model: String,
    median_ms: f64,
}

/// The first model's time over the second's, one value for each round.
#[derive(Clone, Copy, Debug, Serialize)]
struct Ratio {
    median: f64,
    lower_quartile: f64,
    upper_quartile: f64,
    min: f64,
    max: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    models: [Timed; 2],
    ratio: Ratio,
    rounds: usize,
    runs_per_round: usize,
    isa: String,
    threads: usize,
}

/// Times two models in `rounds` rounds of `runs` runs of each; the order is reversed from round to round. Both have been run before.
///
/// # Errors
/// If a run fails.
pub fn compare(
    names: [&Path; 2],
    [mut a, mut b]: [Contestant; 2],
    threads: usize,
    rounds: usize,
    runs: usize,
) -> Result<Comparison, Error> {
    let mut all = [Vec::new(), Vec::new()];
    let mut ratios = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut medians = [0.0; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let model = if which == 0 { &mut a } else { &mut b };
            let times = (0..runs).map(|_| model.time()).collect::<Result<Vec<_>, _>>()?;
            medians[which] = quantile(times.clone(), 0.5);
            all[which].extend(times);
        }
        ratios.push(medians[0] / medians[1].max(1e-9));
    }
    let at = |share| rounded(quantile(ratios.clone(), share), 4);
    let ratio =
        Ratio { median: at(0.5), lower_quartile: at(0.25), upper_quartile: at(0.75), min: at(0.0), max: at(1.0) };
    let [of_a, of_b] = all.map(|times| rounded(quantile(times, 0.5), 4));
    let timed = |path: &Path, median_ms| Timed { model: path.display().to_string(), median_ms };
    Ok(Comparison {
        models: [timed(names[0], of_a), timed(names[1], of_b)],
        ratio,
        rounds,
        runs_per_round: runs,
        isa: a.compiled.isa().name().to_owned(),
        threads,
    })
}

impl Comparison {
    /// For people.
    pub fn text(&self) -> String {
        let Ratio { median, lower_quartile, upper_quartile, min, max } = self.ratio;
        let [a, b] = &self.models;
        format!(
            "{}: median {:.3} ms\n{}: median {:.3} ms\nratio {median:.3}, quartiles {lower_quartile:.3} to {upper_quartile:.3}, \
             extremes {min:.3} to {max:.3}; {} rounds of {} runs, {} threads, {}\n",
            a.model, a.median_ms, b.model, b.median_ms, self.rounds, self.runs_per_round, self.threads, self.isa
        )
    }
}
