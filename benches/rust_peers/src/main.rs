//! Times a compiled `.qtc` against rten and tract on the same network, interleaved:
//!
//! `rust-peers QUANTC MODEL.qtc RTEN.onnx TRACT.onnx ROUNDS RUNS`
//!
//! One thread, random input, the input's shape from tract's model. A round runs each contestant RUNS times and takes the median; printed
//! are the medians over the rounds, and the peers' times over quantc's. quantc's own time is what `quantc bench` reports.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rten::{Model, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use tract_onnx::prelude::*;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Median milliseconds of `runs` calls.
fn time(runs: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

/// Median milliseconds that `quantc bench` reports.
fn quantc(binary: &str, model: &str, runs: usize) -> Result<f64> {
    let out = Command::new(binary).args(["bench", model, "--runs", &runs.to_string(), "--json"]).output()?;
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).context("output of quantc bench")?;
    json["median_ms"].as_f64().context("median_ms")
}

/// Signal to quantization noise of `got`, in dB.
fn sqnr(want: &[f32], got: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let noise = power(&mut want.iter().zip(got).map(|(a, b)| f64::from(a - b)));
    10.0 * (power(&mut want.iter().map(|&v| f64::from(v))) / noise).log10()
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [binary, qtc, rten_path, tract_path, rounds, runs] = &args[..] else {
        bail!("usage: rust-peers QUANTC MODEL.qtc RTEN.onnx TRACT.onnx ROUNDS RUNS");
    };
    let (rounds, runs): (usize, usize) = (rounds.parse()?, runs.parse()?);

    let tract = tract_onnx::onnx().model_for_path(tract_path)?.into_optimized()?;
    let fact = tract.input_fact(0)?.clone();
    let shape: Vec<usize> = fact.shape.as_concrete().context("open input shape")?.to_vec();
    let shape: [usize; 4] = shape.try_into().ok().context("the input is not an image")?;
    let tract = tract.into_runnable()?;
    // Any numbers do: no contestant's time depends on them.
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| ((i * 7919 % 1000) as f32 / 500.0) - 1.0).collect();
    let tract_input = Tensor::from_shape(&shape, &values)?;

    let rten = Model::load_file(rten_path)?;
    let rten_input = NdTensor::from_data(shape, values);
    let (input, output) = (rten.input_ids()[0], rten.output_ids()[0]);
    let options = RunOptions::default().with_thread_pool(Some(ThreadPool::with_num_threads(1).into()));

    // A time is worth nothing if the results are wrong: both came from one float network.
    let mut outputs = rten.run(vec![(input, rten_input.view().into())], &[output], Some(options.clone()))?;
    let rten_output: NdTensor<f32, 2> = outputs.remove(0).try_into().ok().context("rten's output")?;
    let tract_output = tract.run(tvec!(tract_input.clone().into()))?.remove(0).into_tensor();
    let tract_output: Vec<f32> = tract_output.to_plain_array_view::<f32>()?.iter().copied().collect();
    println!("rten's output against tract's: {:.1} dB", sqnr(&tract_output, &rten_output.to_vec()));

    let mut times = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        times[0].push(quantc(binary, qtc, runs)?);
        times[1].push(time(runs, || {
            rten.run(vec![(input, rten_input.view().into())], &[output], Some(options.clone()))?;
            Ok(())
        })?);
        times[2].push(time(runs, || {
            tract.run(tvec!(tract_input.clone().into()))?;
            Ok(())
        })?);
    }
    let [quantc, rten, tract] = times.map(median);
    println!(
        "quantc {quantc:.2} ms, rten {rten:.2} ms ({:.1}), tract {tract:.2} ms ({:.1})",
        rten / quantc,
        tract / quantc
    );
    Ok(())
}
