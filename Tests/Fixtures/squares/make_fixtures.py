#!/usr/bin/env python3
"""Makes golden.json and golden.safetensors: squared gradients and effective ranks of ../llama, in float64.

    pip install torch==2.15.0 transformers==5.23.0 numpy safetensors && ./make_fixtures.py

For micro-batches of one row of ../llama/rows.jsonl: the mean over the rows of the row's own gradient, each entry squared (the diagonal of the
empirical Fisher information), for two of the weights as tensors; and for every q, k, v and o the mean of it, the mean of W² times it, and
exp(-sum p ln p) of the mean gradient's singular values.
"""
import json
import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import LlamaForCausalLM

model = LlamaForCausalLM.from_pretrained("../llama/model", dtype=torch.float64, attn_implementation="eager")
weights = {n: p for n, p in model.named_parameters() if "self_attn" in n}
rows = [json.loads(line) for line in open("../llama/rows.jsonl")]
mean = {n: torch.zeros_like(p) for n, p in weights.items()}
squares = {n: torch.zeros_like(p) for n, p in weights.items()}
for row in rows:
    model.zero_grad()
    model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss.backward()
    for name, p in weights.items():
        mean[name] += p.grad / len(rows)
        squares[name] += p.grad**2 / len(rows)
golden = {}
for name, p in weights.items():
    values = np.linalg.svd(mean[name].numpy(), compute_uv=False)
    share = values / values.sum()
    golden[name.removesuffix(".weight")] = {
        "fisher": float(squares[name].mean()), "fisher_sensitivity": float((p.detach() ** 2 * squares[name]).mean()),
        "erank": float(np.exp(-(share * np.log(share)).sum())),
    }
with open("golden.json", "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
kept = ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.v_proj.weight"]
save_file({name: squares[name].float().numpy() for name in kept}, "golden.safetensors")
