#!/usr/bin/env python3
"""Time quantc's int8 models against onnxruntime's and OpenVINO's, interleaved: peers.py GRAPHS --quantc BINARY [options]

    pip install onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6 openvino==2026.4.1 nncf==3.4.0
    cargo build --release
    benches/peers.py GRAPHS --quantc target/release/quantc --models resnet50,mobilenet_v2 --threads 1 --rounds 7

GRAPHS holds NAME.onnx with weights and static shapes (`make_graphs.py` writes some). Both sides start from the same float file and the same
four random samples, take float input and give float output. In each round every contestant does `--runs` inferences, and the order is
reversed from round to round; the round's figure is the ratio of the medians, quantc / the fastest peer, and the figure to quote is the median
of the rounds' ratios: absolute times do not carry over to another machine or even to another hour. The SQNR of each int8 model against the
float one is printed too: a time without it means nothing.

`--openvino` adds three peers to onnxruntime (QDQ, per-channel weights): NNCF's int8 model on OpenVINO, onnxruntime's file on OpenVINO, and the
float model on OpenVINO, which computes in bf16 where the CPU has it. Without it nothing of OpenVINO is needed.

`--float` adds quantc's own float model. `--isa TIER` forces quantc's kernels (QUANTC_ISA). JSON on the last line.
"""
import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

SAMPLES = 4


def median_ms(run, runs: int) -> float:
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def sqnr_db(got: np.ndarray, reference: np.ndarray) -> float:
    error = ((got - reference).astype(np.float64) ** 2).sum()
    return float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / max(error, 1e-30)))


class Onnxruntime:
    """int8 by quantize_static, run in this process."""

    def __init__(self, graph: Path, samples: list, work: Path, threads: int):
        prepared, quantized = work / "prepared.onnx", work / f"{graph.stem}.qdq.onnx"
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        name = onnx.load(graph, load_external_data=False).graph.input[0].name

        class Reader(CalibrationDataReader):
            feeds = iter([{name: x} for x in samples])

            def get_next(self):
                return next(self.feeds, None)

        quantize_static(
            str(prepared), str(quantized), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )
        self.quantized = quantized
        self.session = self.open(quantized, threads)
        self.feed = {name: samples[0]}
        self.reference = self.open(graph, threads).run(None, self.feed)[0]

    @staticmethod
    def open(path: Path, threads: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # A spinning pool would take time from the next contestant.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def output(self) -> np.ndarray:
        return self.session.run(None, self.feed)[0]

    def time_ms(self, runs: int) -> float:
        return median_ms(lambda: self.session.run(None, self.feed), runs)


class OpenVino:
    """A file on OpenVINO, quantized by NNCF first if it says how."""

    def __init__(self, graph: Path, samples: list, threads: int, nncf_type: str | None = None):
        import openvino

        core = openvino.Core()
        model = core.read_model(graph)
        if nncf_type:
            import nncf

            nncf.set_log_level(logging.ERROR)
            kind = nncf.ModelType.TRANSFORMER if nncf_type == "transformer" else None
            model = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), model_type=kind)
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        self.feed = [samples[0]]

    def output(self) -> np.ndarray:
        return self.request.infer(self.feed)[0]

    def time_ms(self, runs: int) -> float:
        return median_ms(lambda: self.request.infer(self.feed), runs)


class Quantc:
    """The command line: `quantc quantize` if `compile`, then `quantc bench` and `quantc run`."""

    def __init__(self, binary: str, graph: Path, samples: list, work: Path, threads: int, batch: int, compile: bool):
        self.binary, self.work, self.threads, self.batch = binary, work, threads, batch
        self.model = graph
        np.save(work / "samples.npy", np.concatenate(samples))
        np.save(work / "sample.npy", samples[0])
        if compile:
            self.model = work / f"{graph.stem}.qtc"
            self.call("quantize", graph, "-o", self.model, "--calibration", work / "samples.npy")

    def call(self, *args) -> str:
        command = [self.binary, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr.strip()}")
        return done.stdout

    def output(self) -> np.ndarray:
        out = self.work / "out.npz"
        self.call("run", self.model, "--input", self.work / "sample.npy", "-o", out, "--threads", self.threads)
        with np.load(out) as arrays:
            return arrays[arrays.files[0]]

    def time_ms(self, runs: int) -> float:
        bench = self.call("bench", self.model, "--threads", self.threads, "--runs", runs, "--batch", self.batch, "--json")
        return json.loads(bench)["median_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path)
    parser.add_argument("--quantc", required=True)
    parser.add_argument("--models", default="resnet50,mobilenet_v2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--float", action="store_true")
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--isa")
    args = parser.parse_args()
    if args.isa:
        os.environ["QUANTC_ISA"] = args.isa
    report = {}
    for name in args.models.split(","):
        graph = args.graphs / f"{name}.onnx"
        if not graph.exists():
            sys.exit(f"{graph} does not exist; make_graphs.py writes some")
        dims = [d.dim_value for d in onnx.load(graph, load_external_data=False).graph.input[0].type.tensor_type.shape.dim]
        if not dims or 0 in dims:
            sys.exit(f"{graph}: the input's shape {dims} is not static")
        rng = np.random.default_rng(7)
        samples = [rng.normal(0, 1, dims).astype(np.float32) for _ in range(SAMPLES)]
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            peer = Onnxruntime(graph, samples, work, args.threads)
            contestants = {"onnxruntime": peer}
            if args.openvino:
                kind = "transformer" if name == "encoder" else "convolutional"
                contestants["openvino"] = OpenVino(graph, samples, args.threads, kind)
                contestants["openvino_qdq"] = OpenVino(peer.quantized, samples, args.threads)
                contestants["openvino_float"] = OpenVino(graph, samples, args.threads)
            peers = list(contestants)
            contestants["quantc"] = Quantc(args.quantc, graph, samples, work, args.threads, dims[0], True)
            sqnr = {who: sqnr_db(c.output(), peer.reference) for who, c in contestants.items()}
            if args.float:
                contestants["quantc_float"] = Quantc(args.quantc, graph, samples, work, args.threads, dims[0], False)
            for contestant in contestants.values():
                contestant.time_ms(3)
            rounds, order = [], list(contestants)
            for i in range(args.rounds):
                order.reverse()
                rounds.append({who: contestants[who].time_ms(args.runs) for who in order})
                rounds[-1]["ratio"] = rounds[-1]["quantc"] / min(rounds[-1][who] for who in peers)
                times = "  ".join(f"{who} {rounds[-1][who]:.2f} ms" for who in contestants)
                print(f"{name} round {i + 1}: {times}  ratio {rounds[-1]['ratio']:.3f}", file=sys.stderr, flush=True)
        row = {f"{who}_ms": round(statistics.median(r[who] for r in rounds), 3) for who in contestants}
        row["ratio"] = round(statistics.median(r["ratio"] for r in rounds), 3)
        if args.float:
            row["speedup_over_float"] = round(statistics.median(r["quantc_float"] / r["quantc"] for r in rounds), 3)
        row |= {f"{who}_sqnr_db": round(v, 2) for who, v in sqnr.items()}
        report[name] = row
        print(f"{name}: quantc / fastest of {', '.join(peers)} = {row['ratio']} (median of {args.rounds} rounds, {args.threads} thread(s)); {row}", flush=True)
    print(json.dumps({"threads": args.threads, "rounds": args.rounds, "runs": args.runs, "isa": args.isa, "models": report}))


if __name__ == "__main__":
    main()
