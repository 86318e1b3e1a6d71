//! Real models: the float scores of the model folder's manifest, and their outputs on the first samples against onnxruntime
//! (scripts/golden_onnx_scores.py). Skipped, visibly, where the folder is missing.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use quantc_frontend::onnx::import_file;
use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_tensor::{DType, Tensor};
use quantc_testkit::{data_or_skip, load_npy, models_or_skip};
use serde_json::Value;

/// A model of the manifest, imported, and one of its evaluation sets.
struct Eval {
    graphs: Vec<Graph>,
    dir: PathBuf,
    task: String,
    data: String,
    mean: Vec<f32>,
    std: Vec<f32>,
}

fn numbers(v: &Value) -> Vec<f32> {
    v.as_array().map(|a| a.iter().filter_map(Value::as_f64).map(|v| v as f32).collect()).unwrap_or_default()
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let named: Vec<_> = graph.placeholders().map(|id| graph.node(id).name()).zip(inputs.iter().cloned()).collect();
    let outputs = Interpreter::new(graph).run(&named).unwrap_or_else(|e| panic!("{}: {e}", graph.name()));
    outputs.into_iter().map(|o| o.1).collect()
}

impl Eval {
    /// `None`, with a message, if one of the model's files is missing.
    fn load(test: &str, dir: &Path, model: &Value, eval: &Value) -> Option<Eval> {
        let files: Vec<&str> = match &model["file"] {
            Value::Array(files) => files.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let mut graphs = Vec::new();
        for file in files {
            let path = Some(dir.join(file)).filter(|p| p.is_file()).or_else(|| models_or_skip(test, file))?;
            let graph = import_file(&path).unwrap_or_else(|e| panic!("{e}"));
            graph.verify().unwrap_or_else(|e| panic!("{file}: {e}"));
            graphs.push(graph);
        }
        Some(Eval {
            graphs,
            dir: dir.to_owned(),
            task: eval["task"].as_str().unwrap_or_default().to_owned(),
            data: eval["data"].as_str().unwrap_or_default().to_owned(),
            mean: numbers(&model["pre"]["mean"]),
            std: numbers(&model["pre"]["std"]),
        })
    }

    fn npy(&self, suffix: &str) -> Tensor {
        load_npy(&self.dir.join(format!("{}{suffix}.npy", self.data))).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The model's outputs for the first `limit` samples, as eval_fp32.py computes them.
    fn outputs(&self, limit: usize) -> Vec<f32> {
        match self.task.as_str() {
            "cls" => self.classify(limit),
            "sts" => self.similarity(limit),
            "denoise" => self.denoise(limit),
            "silero" => self.silero(limit),
            "dtln" => self.dtln(limit),
            other => panic!("unknown task {other}"),
        }
    }

    fn classify(&self, limit: usize) -> Vec<f32> {
        let x = self.npy("_x");
        let n = x.shape()[0].min(limit);
        let mut out = Vec::new();
        for start in (0..n).step_by(25) {
            let batch = x.rows(start, n.min(start + 25)).expect("rows in range");
            out.extend(run(&self.graphs[0], &[self.preprocess(&batch)])[0].to_f32_vec());
        }
        out
    }

    /// `(x - mean) / std`, channels first.
    fn preprocess(&self, batch: &Tensor) -> Tensor {
        let shape = batch.shape();
        let [n, h, w] = [shape[0], shape[1], shape[2]];
        let c = shape.get(3).copied().unwrap_or(1);
        let data = batch.to_f32_vec();
        let mut out = vec![0.0; data.len()];
        for (i, v) in data.iter().enumerate() {
            let (image, pixel, channel) = (i / (h * w * c), i / c % (h * w), i % c);
            let [mean, std] = [&self.mean, &self.std].map(|m| m[channel.min(m.len() - 1)]);
            out[(image * c + channel) * h * w + pixel] = (v - mean) / std;
        }
        Tensor::from_vec(&[n, c, h, w], out).expect("same number of elements")
    }

    fn similarity(&self, limit: usize) -> Vec<f32> {
        let [a, b] = ["1", "2"].map(|k| self.embeddings(k, limit));
        a.iter().zip(&b).map(|(a, b)| a.iter().zip(b).map(|(x, y)| x * y).sum()).collect()
    }

    /// Mean of the tokens in the mask, normalised.
    fn embeddings(&self, side: &str, limit: usize) -> Vec<Vec<f32>> {
        let (ids, mask) = (self.npy(&format!("_ids{side}")), self.npy(&format!("_mask{side}")));
        let n = ids.shape()[0].min(limit);
        let mut out = Vec::new();
        for start in (0..n).step_by(32) {
            let part = |t: &Tensor| t.rows(start, n.min(start + 32)).expect("rows in range");
            let hidden = &run(&self.graphs[0], &[part(&ids), part(&mask)])[0];
            let (tokens, width) = (hidden.shape()[1], hidden.shape()[2]);
            let mask = part(&mask).to_f32_vec();
            for (states, mask) in hidden.to_f32_vec().chunks(tokens * width).zip(mask.chunks(tokens)) {
                let mut mean = vec![0.0f32; width];
                for (state, m) in states.chunks(width).zip(mask) {
                    mean.iter_mut().zip(state).for_each(|(a, v)| *a += v * m);
                }
                let norm = mean.iter().map(|v| v * v).sum::<f32>().sqrt();
                out.push(mean.iter().map(|v| v / norm).collect());
            }
        }
        out
    }

    fn denoise(&self, limit: usize) -> Vec<f32> {
        let x = self.npy("_noisy");
        let image = |i| x.rows(i, i + 1).and_then(|t| t.reshape(&[1, 1, x.shape()[1], x.shape()[2]]));
        (0..x.shape()[0].min(limit))
            .flat_map(|i| run(&self.graphs[0], &[image(i).expect("rows in range")])[0].to_f32_vec())
            .collect()
    }

    fn audio(&self) -> Vec<f32> {
        self.npy("").to_f32_vec().iter().map(|v| v / 32768.0).collect()
    }

    fn silero(&self, limit: usize) -> Vec<f32> {
        let x = self.audio();
        let mut state = Tensor::full(&[2, 1, 128], 0.0f32);
        let mut context = vec![0.0f32; 64];
        let mut out = Vec::new();
        for block in x.as_chunks::<512>().0.iter().take(limit) {
            context.extend(block);
            let input = Tensor::from_vec(&[1, 576], context).expect("576 samples");
            context = block[448..].to_vec();
            let mut results = run(&self.graphs[0], &[input, state]);
            state = results.remove(1);
            out.extend(results[0].to_f32_vec());
        }
        out
    }

    /// The enhanced waveform: magnitudes through the first model, frames through the second, overlapped.
    fn dtln(&self, limit: usize) -> Vec<f32> {
        const N: usize = 512;
        const S: usize = 128;
        const BINS: usize = N / 2 + 1;
        let x = self.audio();
        let hops = ((x.len() - (N - S)) / S).min(limit);
        let (cos, sin): (Vec<f64>, Vec<f64>) = (0..N)
            .map(|k| (TAU * k as f64 / N as f64).cos())
            .zip((0..N).map(|k| (TAU * k as f64 / N as f64).sin()))
            .unzip();
        let (mut input, mut output) = (vec![0.0f32; N], vec![0.0f32; N]);
        let mut states = [0, 1].map(|_| Tensor::full(&[1, 2, 128, 2], 0.0f32));
        let mut out = vec![0.0; if limit == usize::MAX { x.len() } else { N - S + hops * S }];
        for hop in 0..hops {
            input.copy_within(S.., 0);
            input[N - S..].copy_from_slice(&x[hop * S..(hop + 1) * S]);
            let spectrum: Vec<(f64, f64)> = (0..BINS)
                .map(|k| {
                    input.iter().enumerate().fold((0.0, 0.0), |(re, im), (t, v)| {
                        (re + f64::from(*v) * cos[k * t % N], im - f64::from(*v) * sin[k * t % N])
                    })
                })
                .collect();
            let magnitudes = spectrum.iter().map(|(re, im)| re.hypot(*im) as f32).collect();
            let magnitudes = Tensor::from_vec(&[1, 1, BINS], magnitudes).expect("257 bins");
            let mut results = run(&self.graphs[0], &[magnitudes, states[0].clone()]);
            states[0] = results.remove(1);
            let gains = results[0].to_f32_vec();
            let frame = (0..N)
                .map(|t| {
                    let sum: f64 = (0..BINS)
                        .map(|k| {
                            let twice = if k == 0 || k == N / 2 { 1.0 } else { 2.0 };
                            let (re, im) = spectrum[k];
                            twice * f64::from(gains[k]) * (re * cos[k * t % N] - im * sin[k * t % N])
                        })
                        .sum();
                    (sum / N as f64) as f32
                })
                .collect();
            let frame = Tensor::from_vec(&[1, 1, N], frame).expect("512 samples");
            let mut results = run(&self.graphs[1], &[frame, states[1].clone()]);
            states[1] = results.remove(1);
            output.copy_within(S.., 0);
            output[N - S..].fill(0.0);
            output.iter_mut().zip(results[0].to_f32_vec()).for_each(|(a, v)| *a += v);
            out[hop * S..(hop + 1) * S].copy_from_slice(&output[..S]);
        }
        out
    }

    /// The scores of all samples: name, value, allowed difference.
    fn scores(&self) -> Vec<(&'static str, f64, f64)> {
        let out = self.outputs(usize::MAX);
        let mean = |v: &mut dyn Iterator<Item = f64>, n: usize| v.sum::<f64>() / n as f64;
        match self.task.as_str() {
            "cls" => {
                let labels = self.npy("_y").to_i64_vec();
                let rows: Vec<&[f32]> = out.chunks(out.len() / labels.len()).collect();
                let hits = |k: usize| {
                    let hit = |(row, y): (&&[f32], &i64)| row.iter().filter(|v| **v > row[*y as usize]).count() < k;
                    rows.iter().zip(&labels).filter(|(r, y)| hit((r, y))).count() as f64 / labels.len() as f64
                };
                vec![("top1", hits(1), 1e-3), ("top5", hits(5), 1e-3)]
            }
            "sts" => vec![("spearman", spearman(&out, &self.npy("_score").to_f32_vec()), 1e-3)],
            "denoise" => {
                let clean = self.npy("_clean").to_f32_vec();
                let image = out.len() / self.npy("_clean").shape()[0];
                let psnr = |(a, b): (&[f32], &[f32])| {
                    let error = |(a, b): (&f32, &f32)| (f64::from(a.clamp(0.0, 1.0)) - f64::from(*b) / 255.0).powi(2);
                    -10.0 * (a.iter().zip(b).map(error).sum::<f64>() / image as f64).log10()
                };
                let images = out.chunks(image).zip(clean.chunks(image));
                vec![("psnr_db", mean(&mut images.map(psnr), out.len() / image), 0.02)]
            }
            "silero" => vec![
                ("mean_prob", mean(&mut out.iter().map(|v| f64::from(*v)), out.len()), 1e-3),
                ("speech_frac", mean(&mut out.iter().map(|v| f64::from(u8::from(*v > 0.5))), out.len()), 1e-3),
            ],
            _ => vec![
                ("mean", mean(&mut out.iter().map(|v| f64::from(*v)), out.len()), 1e-5),
                ("rms", mean(&mut out.iter().map(|v| f64::from(*v).powi(2)), out.len()).sqrt(), 1e-4),
            ],
        }
    }
}

/// Rank correlation; equal values share their mean rank.
fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |v: &[f32]| -> Vec<f64> {
        v.iter()
            .map(|x| {
                let below = v.iter().filter(|y| *y < x).count() as f64;
                let equal = v.iter().filter(|y| *y == x).count() as f64;
                below + (equal - 1.0) / 2.0
            })
            .collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

fn manifest(dir: &Path) -> Value {
    let text = std::fs::read_to_string(dir.join("manifest.json")).expect("the manifest can be read");
    serde_json::from_str(&text).expect("the manifest is JSON")
}

/// Every model and evaluation set of the manifest.
fn evals(manifest: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let models = manifest["models"].as_array().into_iter().flatten();
    models.flat_map(|m| m["eval"].as_array().into_iter().flatten().map(move |e| (m, e)))
}

#[test]
fn first_samples_give_the_outputs_of_onnxruntime() {
    let Some(dir) = data_or_skip("first_samples") else { return };
    let golden: Vec<Value> = serde_json::from_str(include_str!("golden/scores.json")).expect("golden file");
    let manifest = manifest(&dir);
    for (model, eval) in evals(&manifest) {
        let Some(want) = golden.iter().find(|g| g["model"] == model["name"] && g["data"] == eval["data"]) else {
            continue;
        };
        let Some(loaded) = Eval::load("first_samples", &dir, model, eval) else { continue };
        let out = loaded.outputs(want["samples"].as_u64().expect("samples") as usize);
        let step = want["step"].as_u64().expect("step") as usize;
        let want = numbers(&want["outputs"]);
        let got: Vec<f32> = out.iter().step_by(step).copied().collect();
        let label = format!("{} on {}", model["name"], eval["data"]);
        assert_eq!(got.len(), want.len(), "{label}");
        let scale = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let worst = got.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        eprintln!("{label}: largest difference {worst:e} of {scale}");
        assert!(worst <= 1e-3 * scale, "{label}: largest difference {worst} of {scale}\n{got:?}\n{want:?}");
    }
}

#[test]
#[ignore = "minutes: every model on all of its data; CI runs it"]
fn all_samples_give_the_scores_of_the_manifest() {
    let Some(dir) = data_or_skip("all_samples") else { return };
    let manifest = manifest(&dir);
    let mut failures = Vec::new();
    for (model, eval) in evals(&manifest) {
        let Some(loaded) = Eval::load("all_samples", &dir, model, eval) else { continue };
        for (name, got, allowed) in loaded.scores() {
            let Some(want) = eval["fp32"][name].as_f64() else { continue };
            let line = format!("{} on {}: {name} {got:.6}, manifest {want:.6}", model["name"], eval["data"]);
            eprintln!("{line}");
            if (got - want).abs() > allowed {
                failures.push(line);
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn weightless_graphs_of_the_benchmarks_import() {
    for name in ["resnet18", "resnet50", "mobilenet_v2", "encoder"] {
        let Some(path) = models_or_skip("weightless_graphs", &format!("bench/{name}.onnx")) else { return };
        let graph = import_file(&path).unwrap_or_else(|e| panic!("{e}"));
        graph.verify().unwrap_or_else(|e| panic!("{name}: {e}"));
        let ty = graph.ty(graph.outputs()[0].1);
        assert!(ty.dtype == DType::F32 && ty.shape.to_known().is_some(), "{name}: {ty}");
    }
}
