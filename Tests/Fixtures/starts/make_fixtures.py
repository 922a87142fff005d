#!/usr/bin/env python3
"""Makes golden.safetensors: what starts make of one weight and one gradient.

    pip install torch==2.15.0 peft==0.21.2 numpy safetensors && ./make_fixtures.py

`weight` and `gradient` [24, 20] have known, well separated singular values. PiSSA, OLoRA and LoRA-GA as PEFT has it come from PEFT's own
layer (in float64 where it allows that, float32 where it casts); MiLoRA, LoRA-GA as its authors have it and LoRA-One from numpy in
float64, by the formulas of their papers and codes. What is stored is the product s·B·A, which no choice of signs changes; for LoRA-GA,
whose factors come from different triplets, A and B themselves, free up to the signs of A's rows and B's columns. r = 3, alpha 16;
s = 16/√3 (rsLoRA).
"""
import math
import numpy as np
import torch
from peft import LoraConfig
from peft.tuners.lora.config import LoraGAConfig
from peft.tuners.lora.layer import Linear
from safetensors.numpy import save_file

ROWS, COLUMNS, RANK, ALPHA = 24, 20, 3, 16
S = ALPHA / math.sqrt(RANK)
random = np.random.default_rng(11)


def matrix(values):
    u = np.linalg.qr(random.standard_normal((ROWS, len(values))))[0]
    v = np.linalg.qr(random.standard_normal((COLUMNS, len(values))))[0]
    return ((u * values) @ v.T).astype(np.float32)


weight = matrix(0.9 ** (2 * np.arange(20)) * 2)
gradient = matrix(0.75 ** np.arange(20) * 3e-3)
tensors = {"weight": weight, "gradient": gradient}


def peft(init, ga=None, dtype=torch.float64):
    """A, B and s·B·A = W − W' of PEFT's layer."""
    base = torch.nn.Linear(COLUMNS, ROWS, bias=False, dtype=dtype)
    base.weight.data = torch.tensor(weight, dtype=dtype)
    base._peft_loraga_grad = torch.tensor(gradient)
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, use_rslora=True, init_lora_weights=init, lora_ga_config=ga)
    layer = Linear(base, "default", config=config, r=RANK, lora_alpha=ALPHA)
    a, b = layer.lora_A["default"].weight.data.double().numpy(), layer.lora_B["default"].weight.data.double().numpy()
    product = layer.scaling["default"] * b @ a
    taken = weight.astype(np.float64) - layer.base_layer.weight.data.double().numpy()
    assert np.abs(taken - product).max() < 1e-5 * max(1, np.abs(product).max()), init
    return a, b, product


def store(name, a, b):
    tensors[f"{name}/a"] = np.ascontiguousarray(a, dtype=np.float32)
    tensors[f"{name}/b"] = np.ascontiguousarray(b, dtype=np.float32)


for name in ["pissa", "olora"]:
    # PEFT decomposes in float32, whatever the weight's type.
    tensors[name] = peft(name, dtype=torch.float32)[2].astype(np.float32)
u, s, vt = np.linalg.svd(weight.astype(np.float64))
tensors["milora"] = ((u[:, 20 - RANK : 20] * s[-RANK:]) @ vt[-RANK:]).astype(np.float32)

gu, gs, gvt = np.linalg.svd(gradient.astype(np.float64))
tensors["lora-one"] = (-S / 128 * (gu[:, :RANK] * (gs[:RANK] / gs[0])) @ gvt[:RANK]).astype(np.float32)
halves = {
    "ArB2r": (range(RANK), range(RANK, 2 * RANK)),
    "A2rBr": (range(RANK, 2 * RANK), range(RANK)),
    "ArBr": (range(1, 2 * RANK, 2), range(0, 2 * RANK, 2)),
}
factors = {
    "stable": ROWS**0.25 / math.sqrt(16),
    "gd": 1 / S,
    "unit": 1,
    "weight": np.sqrt(s[:RANK] / S).mean(),
}
for direction, (for_a, for_b) in halves.items():
    for scale, factor in factors.items():
        store(f"lora-ga/official/{direction}/{scale}", factor * gvt[list(for_a)], factor * gu[:, list(for_b)])
        theirs = {"weight": "weight_svd", "gd": "gd_scale"}.get(scale, scale)
        a, b, _ = peft("lora_ga", LoraGAConfig(direction=direction, scale=theirs), dtype=torch.float32)
        store(f"lora-ga/peft/{direction}/{scale}", a, b)

save_file(tensors, "golden.safetensors")
