//! A compiled plan as text and as JSON.

use std::ops::Range;

use quantc_kernels::Isa;
use quantc_runtime::{Access, MemoryReport, Place, Plan, Port};
use serde_json::{Value, json};

use super::ui;

/// Bytes of the arena, as reports show them.
fn span(range: &Range<usize>) -> String {
    format!("{}..{}", range.start, range.end)
}

/// The memory of a step that it reads, and that it writes.
fn split(used: &[(Access, Range<usize>)]) -> [Vec<&Range<usize>>; 2] {
    let of = |writes: bool| used.iter().filter(|u| (u.0 != Access::Read) == writes).map(|u| &u.1).collect();
    [of(false), of(true)]
}

/// The steps of a plan as JSON: what each runs, and the bytes of the arena it reads and writes.
pub fn steps_json(plan: &Plan) -> Value {
    let steps = plan.describe().zip(plan.memory_use()).map(|(info, used)| {
        let mut step = json!(info);
        for (key, ranges) in ["reads", "writes"].into_iter().zip(split(&used)) {
            step[key] = json!(ranges.iter().map(|r| [r.start, r.end]).collect::<Vec<_>>());
        }
        step
    });
    steps.collect()
}

fn memory(m: &MemoryReport) -> String {
    format!("arena {}, at least {} are live at once", ui::size(m.arena as u64), ui::size(m.lower_bound as u64))
}

/// A plan as text: a line on its memory, then a line for each step. Ranges are bytes of the arena, temporary memory counts as
/// written.
pub fn text(plan: &Plan, isa: Isa) -> String {
    let header = ["node", "operator", "kernel", "tier", "layout", "output", "reads", "writes"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (info, used) in plan.describe().zip(plan.memory_use()) {
        let [reads, writes] = split(&used).map(|ranges| match ranges[..] {
            [] => "-".to_owned(),
            _ => ranges.into_iter().map(span).collect::<Vec<_>>().join(","),
        });
        let columns = [&info.node, &info.op, &info.kernel, &info.tier, &info.layout, &info.output, &reads, &writes];
        rows.push(columns.map(String::clone).to_vec());
    }
    format!("plan on {isa}: {}\n{}", memory(&plan.memory()), ui::table(&rows))
}

/// The inputs and outputs of a plan, one line each: name, type, bytes of the arena.
pub fn ports(plan: &Plan) -> String {
    let line = |what: &str, port: &Port| {
        let place = match &port.place {
            Place::Arena(slot) => span(&plan.range(slot)),
            Place::Constant(Some(_)) => "constant".to_owned(),
            Place::Constant(None) => "unused".to_owned(),
            Place::Value(_) => "outside the arena".to_owned(),
        };
        format!("{what} {}: {} {place}\n", port.name, port.ty())
    };
    let inputs = plan.inputs().iter().map(|port| line("input", port));
    inputs.chain(plan.outputs().iter().map(|port| line("output", port))).collect()
}
