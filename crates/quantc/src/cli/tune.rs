//! `quantc tune`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quantc::tuning::{Choice, Tuning};
use quantc::{Compiled, Error, InputShapes, Model, ModelKind, files, qtc};
use quantc_kernels::{Blocking, ConvGeometry};
use quantc_lower::Blockings;
use quantc_tensor::Tensor;
use serde::Serialize;

use super::bench::{rounded, sample};
use super::inputs::{ShapeOption, bind_shapes, threads, within};
use super::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The compiled model
    model: PathBuf,
    /// Where the model with its blockings goes [default: the model itself]
    #[arg(short, long, value_name = "OUT.qtc")]
    output: Option<PathBuf>,
    /// Number of threads: the choices hold for it
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Rounds in which the candidates are timed in turns; the fastest counts
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Samples in a run, where the model leaves it open: the choices hold for it [default: 1]
    #[arg(long)]
    batch: Option<usize>,
    /// The shape of an input with other open dimensions
    #[arg(long, value_name = "NAME=D,D,...")]
    shape: Vec<ShapeOption>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const MAX_ROUNDS: usize = 100_000;
/// Rows of a block that are tried. Bytes limit none of them: what counts is the rows that both limits together let pass.
const ROWS: [usize; 7] = [24, 48, 96, 144, 240, 384, 640];
/// More bytes than the blocks that are tried have.
const BYTES: usize = 1 << 26;
/// A choice is kept if its time is at most this share of the default's: less is noise.
const WORTH: f64 = 0.98;

/// A layer's shape, and its times summed over the calls of that shape.
#[derive(Clone, Debug, Serialize)]
struct Row {
    shape: String,
    calls: usize,
    default_ms: f64,
    /// None where the default is kept.
    rows: Option<usize>,
    tuned_ms: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
struct Report {
    machine: String,
    layers: Vec<Row>,
    default_ms: f64,
    tuned_ms: f64,
}

/// A model with some blockings, and its least times.
struct Candidate {
    compiled: Compiled,
    steps: Vec<Duration>,
    total: Duration,
}

/// What the candidates have in common.
struct Subject<'a> {
    args: &'a Args,
    shapes: InputShapes,
    inputs: Vec<(String, Tensor)>,
    /// The layer of each step.
    layers: Vec<Option<ConvGeometry>>,
}

impl<'a> Subject<'a> {
    fn new(args: &'a Args, model: &Model) -> Result<Subject<'a>, Error> {
        let shapes = bind_shapes(&model.graph, &args.shape, args.batch)?;
        let inputs = shapes.iter().map(|(name, ty)| Ok((name.clone(), sample(ty)?))).collect::<Result<_, Error>>()?;
        let plan = Compiled::load(&args.model, 1)?.plan(&shapes)?;
        let layers = plan.blocked().map(|layer| layer.map(|plan| *plan.geometry())).collect();
        Ok(Subject { args, shapes, inputs, layers })
    }

    /// Every shape once, in order.
    fn distinct(&self) -> Vec<ConvGeometry> {
        let mut all = Vec::new();
        for layer in self.layers.iter().flatten() {
            if !all.contains(layer) {
                all.push(*layer);
            }
        }
        all
    }

    /// The model with these blockings.
    fn candidate(&self, blockings: Blockings) -> Result<Candidate, Error> {
        let mut compiled = Compiled::load(&self.args.model, self.args.threads)?.with_blockings(blockings);
        compiled.plan(&self.shapes)?;
        Ok(Candidate { compiled, steps: vec![Duration::MAX; self.layers.len()], total: Duration::MAX })
    }

    /// Times candidates in turns, after a first run that does not count.
    fn measure(&self, candidates: &mut [Candidate]) -> Result<(), Error> {
        for candidate in &mut *candidates {
            candidate.compiled.run(&self.inputs)?;
        }
        for _ in 0..self.args.rounds {
            for Candidate { compiled, steps, total } in &mut *candidates {
                let start = Instant::now();
                compiled.run_inspected(&self.inputs, |step, took| steps[step] = steps[step].min(took))?;
                *total = start.elapsed().min(*total);
            }
        }
        Ok(())
    }

    /// A candidate's time in the calls of one shape.
    fn time(&self, candidate: &Candidate, layer: &ConvGeometry) -> Duration {
        self.layers
            .iter()
            .zip(&candidate.steps)
            .filter(|(at, _)| at.as_ref() == Some(layer))
            .map(|(_, time)| *time)
            .sum()
    }

    /// For each shape the fastest candidate, if it is worth it.
    fn choose(&self) -> Result<Blockings, Error> {
        let distinct = self.distinct();
        let all = |rows| distinct.iter().map(|layer| (*layer, Blocking { rows, bytes: BYTES })).collect();
        let mut candidates = vec![self.candidate(Blockings::new())?];
        for rows in ROWS {
            candidates.push(self.candidate(all(rows))?);
        }
        self.measure(&mut candidates)?;
        let mut chosen = Blockings::new();
        for layer in &distinct {
            let best = candidates[1..].iter().zip(ROWS).min_by_key(|(candidate, _)| self.time(candidate, layer));
            if let Some((candidate, rows)) = best
                && gains(self.time(&candidates[0], layer), self.time(candidate, layer))
            {
                chosen.insert(*layer, Blocking { rows, bytes: BYTES });
            }
        }
        Ok(chosen)
    }

    /// The default and the choices, timed against each other.
    fn contest(&self, chosen: Blockings) -> Result<[Candidate; 2], Error> {
        let mut pair = [self.candidate(Blockings::new())?, self.candidate(chosen)?];
        self.measure(&mut pair)?;
        Ok(pair)
    }
}

/// Whether the gain is more than noise.
fn gains(default: Duration, tuned: Duration) -> bool {
    tuned.as_secs_f64() <= default.as_secs_f64() * WORTH
}

fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3, 4)
}

fn shape(g: &ConvGeometry) -> String {
    if g.kernel == [1, 1] && g.h * g.w == 1 {
        return format!("{}x{} -> {}", g.n, g.c, g.oc);
    }
    let groups = if g.groups == 1 { String::new() } else { format!(", {} groups", g.groups) };
    let ([kh, kw], [sh, sw]) = (g.kernel, g.stride);
    format!("{}x{}x{}x{}, {kh}x{kw} / {sh}x{sw}{groups} -> {}x{}x{}", g.n, g.h, g.w, g.c, g.oh, g.ow, g.oc)
}

/// Runs the command.
///
/// # Errors
/// The one message that the user sees; nothing is written then.
pub fn run(args: &Args) -> Result<(), Error> {
    within("--rounds", args.rounds, MAX_ROUNDS)?;
    threads(Some(args.threads))?;
    let model = Model::load(&args.model)?;
    let ModelKind::Qtc { report, .. } = &model.kind else {
        return Err(Error::file(&args.model, "is no compiled model (hint: quantc quantize makes one)"));
    };
    let output = args.output.as_ref().unwrap_or(&args.model);
    files::check_writable(output)?;
    let subject = Subject::new(args, &model)?;
    let mut chosen = subject.choose()?;
    // The least of many candidates may be luck: what does not hold in rounds of its own goes.
    let [default, tuned] = subject.contest(chosen.clone())?;
    chosen.retain(|layer, _| gains(subject.time(&default, layer), subject.time(&tuned, layer)));
    let [default, tuned] = subject.contest(chosen.clone())?;
    let machine = tuned.compiled.machine();
    let row = |layer: &ConvGeometry| Row {
        shape: shape(layer),
        calls: subject.layers.iter().flatten().filter(|at| *at == layer).count(),
        default_ms: milliseconds(subject.time(&default, layer)),
        rows: chosen.get(layer).map(|blocking| blocking.rows),
        tuned_ms: milliseconds(subject.time(&tuned, layer)),
    };
    let distinct = subject.distinct();
    let result = Report {
        machine: machine.to_string(),
        layers: distinct.iter().map(row).collect(),
        default_ms: milliseconds(default.total),
        tuned_ms: milliseconds(tuned.total),
    };
    // They read the file that may be replaced.
    drop((default, tuned));
    let choice = |layer: &ConvGeometry| chosen.get(layer).map(|blocking| Choice::new(layer, *blocking));
    let tuning = Tuning { machine, choices: distinct.iter().filter_map(choice).collect() };
    qtc::write_tuned(output, &model.graph, report, Some(&tuning))?;
    if args.json { ui::print_json(&result) } else { ui::print(&result.text()) }
}

impl Report {
    /// For people.
    fn text(&self) -> String {
        let mut rows = vec![["layer", "calls", "default ms", "rows", "tuned ms"].map(str::to_owned).to_vec()];
        for Row { shape, calls, default_ms, rows: chosen, tuned_ms } in &self.layers {
            rows.push(vec![
                shape.clone(),
                calls.to_string(),
                format!("{default_ms:.3}"),
                chosen.map_or("default".to_owned(), |rows| rows.to_string()),
                format!("{tuned_ms:.3}"),
            ]);
        }
        let Report { machine, default_ms, tuned_ms, .. } = self;
        let table = ui::table(&rows);
        format!("{table}whole model: default {default_ms:.3} ms, tuned {tuned_ms:.3} ms (least times; {machine})\n")
    }
}
