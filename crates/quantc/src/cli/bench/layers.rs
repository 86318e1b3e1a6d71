//! The time of each kernel call against what the machine can do.

use quantc::{Compiled, Error, InputShapes};
use quantc_runtime::{Arithmetic, StepInfo, StepWork};
use quantc_tensor::Tensor;
use serde::Serialize;

use super::peak::Peaks;
use super::{quantile, rounded};
use crate::cli::ui;

/// One kernel call.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Node, operator, kernel, tier, layout and types.
    #[serde(flatten)]
    pub info: StepInfo,
    /// Multiply-accumulates, where it is a convolution or a matrix product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
    /// Bytes read and written, each once, weights included.
    pub bytes: u64,
    /// The median of its times.
    pub median_us: f64,
    /// Of the time of all calls.
    pub time_share: f64,
    /// 10^9 multiply-accumulates a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gmacs_per_s: Option<f64>,
    /// Of the peak of its arithmetic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_share: Option<f64>,
    /// 10^9 bytes a second.
    pub gb_per_s: f64,
    /// Of the memory's bandwidth; above 1 where operands lie in caches.
    pub bandwidth_share: f64,
    /// What it multiplies.
    #[serde(skip)]
    pub arithmetic: Arithmetic,
}

/// All calls together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Total {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Sum of the calls' medians.
    pub median_us: f64,
    /// 10^9 multiply-accumulates a second.
    pub gmacs_per_s: f64,
    /// The time that all products would take at their peaks, of the time taken.
    pub peak_share: f64,
}

/// A model's kernel calls.
#[derive(Clone, Debug, Serialize)]
pub struct Layers {
    /// What the machine can do.
    pub peaks: Peaks,
    /// The calls in execution order.
    pub layers: Vec<Layer>,
    /// All of them.
    pub total: Total,
}

/// The share `part / whole`, to four places.
fn share(part: f64, whole: f64) -> f64 {
    rounded(part / whole.max(1e-12), 4)
}

impl Layers {
    /// Medians over some runs, and the machine's peaks.
    ///
    /// # Errors
    /// If a run fails.
    pub fn measure(
        compiled: &mut Compiled,
        inputs: &[(String, Tensor)],
        shapes: &InputShapes,
        threads: usize,
        runs: usize,
    ) -> Result<Layers, Error> {
        let plan = compiled.plan(shapes)?;
        let calls: Vec<(&StepInfo, StepWork)> = plan.describe().zip(plan.work()).collect();
        let mut times = vec![Vec::with_capacity(runs); calls.len()];
        for _ in 0..runs {
            compiled.run_inspected(inputs, |step, time| times[step].push(time.as_secs_f64() * 1e6))?;
        }
        let times: Vec<f64> = times.into_iter().map(|times| quantile(times, 0.5)).collect();
        let peaks = Peaks::measure(compiled.isa(), threads)?;
        let all: f64 = times.iter().sum();
        let mut at_peak = 0.0;
        let mut layers = Vec::with_capacity(calls.len());
        for ((info, work), us) in calls.into_iter().zip(times) {
            // 10^9 in a second are 10^3 in a microsecond.
            let rate = |units: u64| units as f64 / us.max(1e-3) / 1e3;
            let (gmacs, peak) = (rate(work.macs), peaks.of(work.arithmetic));
            at_peak += work.macs as f64 / peak.max(1e-9) / 1e3;
            let multiplies = work.macs > 0;
            layers.push(Layer {
                info: info.clone(),
                macs: multiplies.then_some(work.macs),
                bytes: work.bytes(),
                median_us: rounded(us, 2),
                time_share: share(us, all),
                gmacs_per_s: multiplies.then(|| rounded(gmacs, 2)),
                peak_share: multiplies.then(|| share(gmacs, peak)),
                gb_per_s: rounded(rate(work.bytes()), 2),
                bandwidth_share: share(rate(work.bytes()), peaks.memory_gb_per_s),
                arithmetic: work.arithmetic,
            });
        }
        let macs = layers.iter().filter_map(|l| l.macs).sum();
        let total = Total {
            macs,
            median_us: rounded(all, 2),
            gmacs_per_s: rounded(macs as f64 / all.max(1e-3) / 1e3, 2),
            peak_share: share(at_peak, all),
        };
        Ok(Layers { peaks, layers, total })
    }

    /// A table, under a line on the machine.
    pub fn text(&self) -> String {
        let header = [
            "node",
            "operator",
            "kernel",
            "tier",
            "layout",
            "output",
            "MMAC",
            "kB",
            "us",
            "time",
            "GMAC/s",
            "of peak",
            "GB/s",
            "of memory",
        ];
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for l in &self.layers {
            let [node, op, kernel, tier, layout, output] =
                [&l.info.node, &l.info.op, &l.info.kernel, &l.info.tier, &l.info.layout, &l.info.output]
                    .map(String::clone);
            rows.push(vec![
                node,
                op,
                kernel,
                tier,
                layout,
                output,
                l.macs.map_or("-".to_owned(), |macs| format!("{:.3}", macs as f64 / 1e6)),
                format!("{:.1}", l.bytes as f64 / 1e3),
                format!("{:.2}", l.median_us),
                percent(l.time_share),
                l.gmacs_per_s.map_or("-".to_owned(), |rate| format!("{rate:.1}")),
                l.peak_share.map_or("-".to_owned(), percent),
                format!("{:.1}", l.gb_per_s),
                percent(l.bandwidth_share),
            ]);
        }
        let mut total = vec!["total".to_owned()];
        total.resize(6, String::new());
        total.push(format!("{:.3}", self.total.macs as f64 / 1e6));
        total.extend([String::new(), format!("{:.2}", self.total.median_us), percent(1.0)]);
        total.extend([format!("{:.1}", self.total.gmacs_per_s), percent(self.total.peak_share)]);
        rows.push(total);
        let Peaks { int8_gmacs_per_s, float_gmacs_per_s, memory_gb_per_s } = self.peaks;
        format!(
            "peaks: int8 {int8_gmacs_per_s:.1} GMAC/s, float {float_gmacs_per_s:.1} GMAC/s, memory {memory_gb_per_s:.1} GB/s\n{}",
            ui::table(&rows)
        )
    }
}
