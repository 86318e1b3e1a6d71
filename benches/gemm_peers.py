#!/usr/bin/env python3
"""Time quantc's integer GEMM against oneDNN's (through torch.ops.onednn.qlinear_pointwise), one thread, interleaved: gemm_peers.py BENCH [options]

    pip install torch==2.8.0 numpy==2.4.6
    cargo bench -p quantc-kernels-x86 --bench integer --no-run      # prints the path of BENCH
    benches/gemm_peers.py target/release/deps/integer-0123456789abcdef --rounds 7

u8 rows by per-channel s8 columns with bias, u8 out, on eight shapes. In each round both sides time all shapes, in an order that is reversed from
round to round; a round's figure is oneDNN's time over quantc's (above 1: quantc is faster), and the median of the rounds is the one to quote. The call of
torch's operator is part of its time: `--overhead` subtracts the time of a product of one row, column and weight.

`--isa TIER` takes a lower tier of quantc's; set ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI to hold oneDNN to AVX-512 VNNI. JSON on the last line.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

import torch

SHAPES = [(128, 384, 384), (128, 1536, 384), (128, 384, 1536), (1, 4096, 4096), (1024, 1024, 1024), (3136, 64, 576), (196, 256, 2304), (49, 512, 4608)]
LINE = re.compile(r"^gemm (\d+)x1x1x(\d+) .* -> (\d+) .* Mmac(.*)$")


def quantc_ms(bench: str, isa: str | None) -> dict:
    # One tier only: the packed weights of another would take the caches between its runs. The highest comes first.
    if isa is None:
        out = subprocess.run([bench, "no such shape", "--bench"], check=True, capture_output=True, text=True).stdout
        isa = re.search(r"^tiers: ([a-z0-9]+)", out, re.M).group(1)
    environment = os.environ | {"QUANTC_ISA": isa}
    out = subprocess.run([bench, "gemm", "--bench"], check=True, capture_output=True, text=True, env=environment).stdout
    times = {}
    for line in out.splitlines():
        found = LINE.match(line)
        if found:
            m, k, n = int(found[1]), int(found[2]), int(found[3])
            times[(m, n, k)] = float(re.findall(r"([0-9.]+) ms", found[4])[0])
    if set(times) != set(SHAPES):
        sys.exit(f"{bench} does not time the shapes {sorted(set(SHAPES) - set(times))}")
    return times


def onednn(m: int, n: int, k: int):
    weights = torch.ops.onednn.qlinear_prepack(torch.randint(-128, 128, (n, k), dtype=torch.int8).t().contiguous().t(), [m, k])
    x = torch.randint(0, 256, (m, k), dtype=torch.uint8)
    scales, zeros, bias = torch.full((n,), 0.01), torch.zeros(n, dtype=torch.int64), torch.zeros(n)
    return lambda: torch.ops.onednn.qlinear_pointwise(x, 0.02, 128, weights, scales, zeros, bias, 0.5, 3, torch.uint8, "none", [], "")


def median_ms(run) -> float:
    run()
    times, end = [], time.perf_counter() + 0.15
    while time.perf_counter() < end or len(times) < 5:
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa")
    parser.add_argument("--overhead", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    calls = {shape: onednn(*shape) for shape in SHAPES}
    empty = onednn(1, 1, 1)
    rounds = []
    for i in range(args.rounds):
        sides = [lambda: ("quantc", quantc_ms(args.bench, args.isa)), lambda: ("onednn", {s: median_ms(run) for s, run in calls.items()})]
        row = dict(side() for side in (sides if i % 2 == 0 else reversed(sides)))
        overhead = median_ms(empty) if args.overhead else 0.0
        rounds.append({s: (row["quantc"][s], row["onednn"][s] - overhead) for s in SHAPES})
    report = {}
    for shape in SHAPES:
        ratio = statistics.median(r[shape][1] / r[shape][0] for r in rounds)
        ours, peer = (statistics.median(r[shape][side] for r in rounds) for side in (0, 1))
        work = 2e-6 * shape[0] * shape[1] * shape[2]
        report["x".join(map(str, shape))] = {"ratio": round(ratio, 3), "quantc_gops": round(work / ours), "onednn_gops": round(work / peer)}
        print(f"{shape}: oneDNN's time / quantc's = {ratio:.3f} (quantc {work / ours:.0f} GOP/s, oneDNN {work / peer:.0f} GOP/s)", flush=True)
    print(json.dumps({"rounds": args.rounds, "isa": args.isa, "overhead_subtracted": args.overhead, "torch": torch.__version__, "shapes": report}))


if __name__ == "__main__":
    main()
