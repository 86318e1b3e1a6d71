//! The command line: one file per command.

mod bench;
mod bench_rewrite;
mod compare;
mod demo;
mod eval;
mod explain;
mod inputs;
mod inspect;
mod isa;
mod memory;
mod ops;
mod outputs;
mod patterns;
mod plan;
mod qconfig_mapping;
mod quantize;
mod quantize_eager;
mod rewrite;
mod run;
mod trace;
mod tune;
pub mod ui;

use clap::{Parser, Subcommand};
use quantc::Error;

/// Quantization compiler: a float model in, a smaller and faster int8 model out.
#[derive(Debug, Parser)]
#[command(name = "quantc", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Quantize, run and score an embedded model on embedded real data
    Demo(demo::Args),
    /// Quantize a float model with calibration data
    Quantize(quantize::Args),
    /// Run a model on any number of samples
    Run(run::Args),
    /// Score a classifier: top-1 and top-5 accuracy
    Eval(eval::Args),
    /// Compare the outputs of two models on the same data
    Compare(compare::Args),
    /// Measure latency and memory on random inputs
    Bench(bench::Args),
    /// Choose how the layers of a compiled model are blocked, by measuring
    Tune(tune::Args),
    /// List the ISA tiers, and why this machine cannot run those it cannot
    Isa(isa::Args),
    /// Print a model's graph
    Trace(trace::Args),
    /// Show what a compiled model holds and which kernels it runs
    Inspect(inspect::Args),
    /// Say for each node why it is quantized or stays float
    Explain(explain::Args),
    /// Run one phase of rewrite rules on a graph and explain what they did
    Rewrite(rewrite::Args),
    /// List the operators, or what each class and function of PyTorch's quantization is here
    Ops(ops::Args),
    /// Print PyTorch's default mappings, or which entry of a mapping each call of a model goes by
    #[command(subcommand)]
    QconfigMapping(qconfig_mapping::Command),
    /// Measure the speed of rewriting on graphs of any size
    BenchRewrite(bench_rewrite::Args),
    /// Check, list, document and test rewrite rules and backends
    #[command(subcommand)]
    Patterns(patterns::Command),
}

/// Runs one command.
///
/// # Errors
/// The one message that the user sees.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Isa(args) => isa::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Rewrite(args) => rewrite::run(&args),
        Command::Ops(args) => ops::run(&args),
        Command::QconfigMapping(command) => qconfig_mapping::run(&command),
        Command::BenchRewrite(args) => bench_rewrite::run(&args),
        Command::Patterns(command) => patterns::run(&command),
    }
}
