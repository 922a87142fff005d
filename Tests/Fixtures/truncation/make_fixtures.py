#!/usr/bin/env python3
"""Makes golden.safetensors and golden.json: adapters cut to a budget, by dense decompositions in numpy's float64.

    pip install numpy safetensors && ./make_fixtures.py

Four modules of different shapes and ranks: `wide` [12, 40], `tall` [40, 12], `small` [10, 8] with rank 9, more than its smaller side, and
`residual` [24, 20], s·(B·A − B₀·A₀) as gora writes starts that are taken back, of which 1e-3 of either product is left. Tensors:
`<module>/a`, `/b` (float32) and `/truncated`, ΔW of the singular values that one threshold over all modules leaves within half of the
parameters (`small` has none). JSON: scale, `values` (all of them, of the dense ΔW; those below 1e-14 are zero), `rank` and `error` = ‖ΔW − ΔW'‖/‖ΔW‖ of each module; `budget` and `error` of all together.
"""
import json
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file

here = Path(__file__).resolve().parent
random = np.random.default_rng(21)


def factors(out, columns, rank, size):
    """A and B whose product has a spectrum that falls."""
    a = random.standard_normal((rank, columns)) / np.sqrt(columns)
    b = size * random.standard_normal((out, rank)) * 0.7 ** np.arange(rank)
    return a.astype(np.float32), b.astype(np.float32)


def residual(out, columns, rank):
    a, b = factors(out, columns, rank, 1)
    moved_a = (a + 1e-3 * random.standard_normal(a.shape)).astype(np.float32)
    moved_b = (b + 1e-3 * random.standard_normal(b.shape)).astype(np.float32)
    return np.concatenate([moved_a, a]), np.concatenate([moved_b, -b], axis=1)


modules = {
    "residual": (*residual(24, 20, 4), 16.0),
    "small": (*factors(10, 8, 9, 0.01), 0.5),
    "tall": (*factors(40, 12, 6, 0.01), 16 / np.sqrt(6)),
    "wide": (*factors(12, 40, 4, 0.04), 2.0),
}
svd = {name: np.linalg.svd(s * (b.astype(np.float64) @ a.astype(np.float64)), full_matrices=False) for name, (a, b, s) in modules.items()}
cost = {name: a.shape[1] + b.shape[0] for name, (a, b, _) in modules.items()}
budget = sum(len(a) * cost[name] for name, (a, _, _) in modules.items()) // 2
pool = sorted(((value, name) for name, (_, values, _) in svd.items() for value in values), reverse=True)
rank, left = dict.fromkeys(modules, 0), budget
for value, name in pool:
    left -= cost[name]
    if left < 0:
        break
    rank[name] += 1

tensors, described, lost, whole = {}, {}, 0, 0
for name, (a, b, s) in modules.items():
    u, values, vt = svd[name]
    truncated = (u[:, : rank[name]] * values[: rank[name]]) @ vt[: rank[name]]
    rest = np.linalg.norm(u * values @ vt - truncated)
    lost, whole = lost + rest**2, whole + np.sum(values**2)
    tensors |= {f"{name}/a": a, f"{name}/b": np.ascontiguousarray(b), f"{name}/truncated": truncated.astype(np.float32)}
    described[name] = {"scaling": float(s), "rank": rank[name], "error": float(rest / np.linalg.norm(values)), "values": [float(f"{v:.12g}") for v in values]}
save_file(tensors, here / "golden.safetensors")
(here / "golden.json").write_text(json.dumps({"budget": budget, "error": float(np.sqrt(lost / whole)), "modules": described}, indent=1) + "\n")
