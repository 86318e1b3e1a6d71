#!/usr/bin/env python3
"""Quantize every model of a data folder with quantc, score it and hold it to quantc's accuracy requirements.

    pip install numpy
    cargo build --release
    scripts/accuracy.py DATA --quantc target/release/quantc [--models DIR] [--only NAME] [--speed] [--json OUT.json]

DATA holds `manifest.json` (models, preprocessing, evaluation sets, float scores), the models and the arrays. `--models` is searched first for
model files. For each model: `quantc quantize` with the default configuration, `quantc run` on the float and on the int8 model, and the scores
of both computed here. Compared with the requirements:

- the float score reproduces the manifest's (0.1 point of top-1, 0.001 of Spearman, 0.02 dB of PSNR);
- int8 loses no more than allowed (`REQUIREMENTS`), and `quantc eval` reports the same top-1 as is computed here;
- the output's SQNR against float is no lower than what onnxruntime's static quantization reaches on the same data, less 0.5 dB;
- with `--speed`: `quantc bench` is at least twice as fast on int8 as on float (one thread, interleaved, median of ratios).

Exits with 1 if a requirement is missed, and prints a table; `--json` writes the same as JSON.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Requirement:
    """`loss`: how much of the score (points of top-1, Spearman, dB) int8 may lose. `sqnr`: onnxruntime's SQNR in dB for each set, per-channel
    weights and full-range u8 activations (MiniLM: dynamic). `calibration`: (array, samples); the first ones of the set itself where there is no
    calibration set."""

    loss: float
    sqnr: dict
    calibration: tuple | None = None


IMAGENET, CIFAR = ("imagenet_calib_x", 64), ("cifar10_calib_x", 256)
REQUIREMENTS = {
    "squeezenet1.1": Requirement(1.0, {"imagenet_eli": 32.8, "imagenet_nips17": 32.2}, IMAGENET),
    "mobilenet_v1_0.75": Requirement(3.0, {"imagenet_eli": 15.8, "imagenet_nips17": 15.2}, IMAGENET),
    "cifar10_resnet20": Requirement(1.0, {"cifar10_test": 30.4}, CIFAR),
    "cifar10_resnet44": Requirement(1.0, {"cifar10_test": 28.5}, CIFAR),
    "cifar10_resnet56": Requirement(1.0, {"cifar10_test": 28.5}, CIFAR),
    "mlperf_resnet8": Requirement(1.0, {"cifar10_test": 31.8}, CIFAR),
    "mlperf_kws_dscnn": Requirement(1.0, {"kws": 30.5}, ("kws_x", 256)),
    "mnist_lenet": Requirement(1.0, {"mnist": 37.2}, ("mnist_x", 256)),
    "minilm_l6": Requirement(0.005, {"sts": 32.4}),
    "dncnn_sigma25": Requirement(0.3, {"denoise": 42.9}, ("denoise_noisy", 4)),
}
SQNR_SLACK = 0.5
SPEEDUP = 2.0
SPEED_ROUNDS = 5
METRIC = {"cls": "top1", "sts": "spearman", "denoise": "psnr_db"}
# How far the float score may be from the manifest's.
REPRODUCED = {"cls": 0.1, "sts": 0.001, "denoise": 0.02}


@dataclass
class Row:
    model: str
    data: str
    metric: str
    expected_fp32: float
    fp32: float
    int8: float
    loss_allowed: float
    sqnr_db: float
    sqnr_floor: float | None
    speedup: float | None = None
    missed: list = field(default_factory=list)


class Quantc:
    """The command line, with its failures turned into one message."""

    def __init__(self, binary: str, threads: int):
        self.binary, self.threads = binary, str(threads)

    def __call__(self, *args) -> str:
        command = [self.binary, *map(str, args)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            sys.exit(f"{self.binary} cannot be run: {error.strerror}; build it with `cargo build --release`")
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr.strip()}")
        return done.stdout

    def outputs(self, model: Path, inputs: list, out: Path) -> np.ndarray:
        """The first output of `quantc run`."""
        self("run", model, *inputs, "-o", out, "--threads", self.threads)
        with np.load(out) as arrays:
            return arrays[arrays.files[0]]

    def bench_ms(self, model: Path, shapes: list) -> float:
        return json.loads(self("bench", model, "--threads", 1, "--runs", 20, *shapes, "--json"))["median_ms"]


def nhwc(x: np.ndarray) -> np.ndarray:
    """Images with a channel axis; signed bytes (the keyword-spotting features) as float, since u8 and float are what --preprocess takes."""
    x = x[..., None] if x.ndim == 3 else x
    return x.astype(np.float32) if x.dtype == np.int8 else x


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks with ties averaged."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]


def sqnr_db(got: np.ndarray, reference: np.ndarray) -> float:
    error = ((got - reference).astype(np.float64) ** 2).sum()
    return float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / max(error, 1e-30)))


class Classification:
    def __init__(self, data: Path, name: str, pre: dict, work: Path):
        self.x, self.y, self.p = work / f"{name}_x.npy", work / f"{name}_y.npy", work / f"{name}_preprocess.json"
        labels = np.load(data / f"{name}_{pre.get('labels', 'y')}.npy")
        np.save(self.x, nhwc(np.load(data / f"{name}_x.npy")))
        np.save(self.y, labels + pre.get("offset", 0))
        order = "bgr" if pre.get("bgr") else "rgb"
        self.p.write_text(json.dumps({"layout": "nhwc", "mean": pre["mean"], "std": pre["std"], "channel_order": order}))

    def run(self, quantc: Quantc, model: Path, work: Path) -> np.ndarray:
        return quantc.outputs(model, ["--input", self.x, "--preprocess", self.p], work / "out.npz")

    def score(self, logits: np.ndarray) -> float:
        return 100 * float((logits.argmax(1) == np.load(self.y)).mean())

    def check(self, quantc: Quantc, model: Path, score: float) -> list:
        said = json.loads(quantc("eval", model, "--data", self.x, "--labels", self.y, "--preprocess", self.p, "--json"))
        top1 = said["top1"] * (100 if said["top1"] <= 1 else 1)
        return [] if abs(top1 - score) < 1e-3 else [f"`quantc eval` says {top1:.3f}, the outputs of `quantc run` give {score:.3f}"]


class SentenceSimilarity:
    def __init__(self, data: Path, name: str, pre: dict, work: Path):
        self.pairs = [(data / f"{name}_ids{i}.npy", data / f"{name}_mask{i}.npy") for i in (1, 2)]
        self.target = np.load(data / f"{name}_score.npy")

    def run(self, quantc: Quantc, model: Path, work: Path) -> np.ndarray:
        """The cosine of each pair's embeddings (mean over the tokens, normalised)."""
        sides = []
        for ids, mask in self.pairs:
            inputs = ["--input", f"input_ids={ids}", "--input", f"attention_mask={mask}"]
            hidden = quantc.outputs(model, inputs, work / "out.npz")
            weight = np.load(mask)[..., None].astype(np.float32)
            mean = (hidden * weight).sum(1) / weight.sum(1)
            sides.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
        return (sides[0] * sides[1]).sum(1)

    def score(self, similarity: np.ndarray) -> float:
        return float(np.corrcoef(ranks(similarity), ranks(self.target))[0, 1])

    def check(self, quantc: Quantc, model: Path, score: float) -> list:
        return []


class Denoising:
    def __init__(self, data: Path, name: str, pre: dict, work: Path):
        self.x = work / f"{name}_x.npy"
        np.save(self.x, np.load(data / f"{name}_noisy.npy")[:, None])
        self.clean = np.load(data / f"{name}_clean.npy") / 255.0

    def run(self, quantc: Quantc, model: Path, work: Path) -> np.ndarray:
        return quantc.outputs(model, ["--input", self.x], work / "out.npz")[:, 0]

    def score(self, images: np.ndarray) -> float:
        errors = ((np.clip(images, 0, 1) - self.clean) ** 2).mean(axis=(1, 2))
        return float(np.mean(10 * np.log10(1 / errors)))

    def check(self, quantc: Quantc, model: Path, score: float) -> list:
        return []


TASKS = {"cls": Classification, "sts": SentenceSimilarity, "denoise": Denoising}


def quantize(quantc: Quantc, model: Path, requirement: Requirement, task: str, pre: dict, data: Path, work: Path) -> Path:
    compiled = work / (model.stem + ".qtc")
    if requirement.calibration is None:
        quantc("quantize", model, "-o", compiled, "--mode", "dynamic")
        return compiled
    array, samples = requirement.calibration
    x = np.load(data / f"{array}.npy")[:samples]
    arguments = ["--calibration", work / "calibration.npy"]
    if task == "cls":
        x = nhwc(x)
        order = "bgr" if pre.get("bgr") else "rgb"
        preprocess = work / "calibration_preprocess.json"
        preprocess.write_text(json.dumps({"layout": "nhwc", "mean": pre["mean"], "std": pre["std"], "channel_order": order}))
        arguments += ["--preprocess", preprocess]
    else:
        x = x[:, None]
    np.save(work / "calibration.npy", x)
    quantc("quantize", model, "-o", compiled, *arguments)
    return compiled


def speedup(quantc: Quantc, model: Path, compiled: Path, task: str) -> float:
    shapes = ["--shape", "input_ids=1,48", "--shape", "attention_mask=1,48"] if task == "sts" else []
    return statistics.median(quantc.bench_ms(model, shapes) / quantc.bench_ms(compiled, shapes) for _ in range(SPEED_ROUNDS))


def evaluate(quantc: Quantc, entry: dict, model: Path, data: Path, work: Path, with_speed: bool):
    requirement = REQUIREMENTS[entry["name"]]
    pre = entry.get("pre", {})
    compiled = quantize(quantc, model, requirement, entry["eval"][0]["task"], pre, data, work)
    ratio = speedup(quantc, model, compiled, entry["eval"][0]["task"]) if with_speed else None
    for evaluation in entry["eval"]:
        kind, name = evaluation["task"], evaluation["data"]
        task = TASKS[kind](data, name, pre, work)
        reference, got = (task.run(quantc, m, work) for m in (model, compiled))
        percent = 100 if kind == "cls" else 1
        floor = requirement.sqnr.get(name)
        row = Row(
            model=entry["name"], data=name, metric=METRIC[kind], expected_fp32=evaluation["fp32"][METRIC[kind]] * percent,
            fp32=task.score(reference), int8=task.score(got), loss_allowed=requirement.loss,
            sqnr_db=sqnr_db(got, reference), sqnr_floor=None if floor is None else floor - SQNR_SLACK, speedup=ratio,
        )
        # The manifest rounds to six digits.
        if abs(row.fp32 - row.expected_fp32) > REPRODUCED[kind] + 1e-4 * percent:
            row.missed.append(f"float score {row.fp32:.4f} is not the manifest's {row.expected_fp32:.4f}")
        if row.fp32 - row.int8 > row.loss_allowed + 1e-9:
            row.missed.append(f"int8 loses {row.fp32 - row.int8:.4f}, allowed {row.loss_allowed}")
        if row.sqnr_floor is not None and not row.sqnr_db >= row.sqnr_floor:
            row.missed.append(f"SQNR {row.sqnr_db:.2f} dB is below {row.sqnr_floor:.1f} dB")
        if ratio is not None and ratio < SPEEDUP:
            row.missed.append(f"int8 is {ratio:.2f} times as fast as float, wanted {SPEEDUP}")
        row.missed += task.check(quantc, compiled, row.int8)
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with manifest.json")
    parser.add_argument("--quantc", required=True, help="the quantc binary")
    parser.add_argument("--models", type=Path, help="a folder searched for model files before DATA")
    parser.add_argument("--only", help="only models with this in their name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed", action="store_true", help="also time int8 against float")
    parser.add_argument("--json", type=Path, help="where to write the results")
    args = parser.parse_args()
    quantc = Quantc(args.quantc, args.threads)
    rows, failures, skipped = [], [], []
    header = f"{'model':<19}{'data':<17}{'metric':<9}{'fp32':>9}{'int8':>9}{'loss':>9}{'allowed':>9}{'SQNR':>8}{'floor':>7}{'speed':>7}  s"
    print(header, flush=True)
    for entry in json.loads((args.data / "manifest.json").read_text())["models"]:
        name = entry["name"]
        if args.only and args.only not in name:
            continue
        if name not in REQUIREMENTS:
            skipped.append(name)
            continue
        folders = [f for f in (args.models, args.data) if f]
        model = next((f / entry["file"] for f in folders if (f / entry["file"]).exists()), None)
        if model is None:
            failures.append(f"{name}: {entry['file']} is in none of {', '.join(map(str, folders))}")
            continue
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            try:
                for row in evaluate(quantc, entry, model, args.data, Path(work), args.speed):
                    rows.append(row)
                    optional = lambda v, form: "-" if v is None else format(v, form)
                    print(
                        f"{row.model:<19}{row.data:<17}{row.metric:<9}{row.fp32:>9.4f}{row.int8:>9.4f}{row.fp32 - row.int8:>9.4f}"
                        f"{row.loss_allowed:>9}{row.sqnr_db:>8.2f}{optional(row.sqnr_floor, '.1f'):>7}{optional(row.speedup, '.2f'):>7}"
                        f"  {time.perf_counter() - begin:.1f}" + "".join(f"\n    MISSED: {m}" for m in row.missed),
                        flush=True,
                    )
            except (RuntimeError, KeyError, ValueError) as error:
                failures.append(f"{name}: {error}")
                print(f"{name:<19}FAILED: {error}", flush=True)
    missed = sum(len(row.missed) for row in rows)
    print(f"{len(rows)} evaluations, {missed} requirements missed, {len(failures)} models failed"
          + (f"; no requirement for {', '.join(skipped)}" if skipped else ""))
    if args.json:
        args.json.write_text(json.dumps({"rows": [vars(r) for r in rows], "failures": failures, "skipped": skipped}, indent=1) + "\n")
    sys.exit(bool(missed or failures or not rows))


if __name__ == "__main__":
    main()
