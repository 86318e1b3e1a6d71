#!/usr/bin/env python3
"""Golden outputs of the evaluation models on their first few samples, by onnxruntime.

usage: golden_onnx_scores.py DATA_DIR MODELS_DIR OUT.json   (needs numpy, scipy, onnxruntime; DATA_DIR has eval_fp32.py)
Each entry holds every `step`-th number of the outputs for the first `samples` samples (images, sentence pairs, audio blocks).
"""
import json
import os
import sys

import numpy as np

data, models, out = sys.argv[1:4]
sys.path.insert(0, data)
import eval_fp32 as ev  # noqa: E402

SAMPLES = {"cls": 2, "sts": 4, "silero": 40, "dtln": 60}
entries = []
for m in json.load(open(f"{data}/manifest.json"))["models"]:
    for e in m["eval"]:
        task, ds = e["task"], e["data"]
        n = SAMPLES.get(task)
        if n is None:
            continue
        files = m["file"] if isinstance(m["file"], list) else [m["file"]]
        paths = [next(p for p in (f"{d}/{f}" for d in (data, models)) if os.path.exists(p)) for f in files]
        session = [ev.sess(p) for p in paths] if len(paths) > 1 else ev.sess(paths[0])
        if task == "cls":
            o = ev.batched(session, ev.pre(np.load(f"{data}/{ds}_x.npy")[:n], m["pre"]), n)
        elif task == "sts":
            load = lambda k: np.load(f"{data}/{ds}_{k}.npy")[:n]
            o = (ev.embed(session, load("ids1"), load("mask1")) * ev.embed(session, load("ids2"), load("mask2"))).sum(1)
        else:
            full = ev.audio(data, ds)
            ev.audio = lambda *_: full[: n * 512] if task == "silero" else full[: 384 + n * 128]
            o = ev.OUT[task](session, data, m["pre"], ds)
            ev.audio = lambda d, s: np.load(f"{d}/{s}.npy").astype(np.float32) / 32768
        flat = np.asarray(o, np.float32).ravel()
        step = max(1, len(flat) // 50)
        entries.append({"model": m["name"], "data": ds, "samples": n, "step": step, "outputs": [float(str(v)) for v in flat[::step]]})
json.dump(entries, open(out, "w"), indent=1)
print([(e["model"], e["data"], len(e["outputs"])) for e in entries])
