#!/usr/bin/env python3
"""Makes rows.jsonl, golden.json and golden.safetensors: EVA's components, ratios and ranks as PEFT has them.

    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 numpy safetensors && ./make_fixtures.py

The model is ../llama/model. PEFT's own `get_eva_state_dict` runs over six batches of two rows, padded, r = 4 and rho = 2, once through
the data: its test of convergence is held off until the last batch. `exact` is the same with the whole decomposition, in float64, in
place of PEFT's randomised one; both are stored. The ranks are PEFT's, and no ratio lies closer to the cut than either's error.
"""
import json
import warnings
import numpy as np
import torch
import peft.tuners.lora.eva as eva
from peft import LoraConfig, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora.config import EvaConfig
from peft.tuners.lora.layer import LoraLayer
from peft.utils.incremental_pca import IncrementalPCA
from safetensors.numpy import save_file
from transformers import LlamaForCausalLM

RANK, RHO, ALPHA, BATCH = 4, 2, 16, 2
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
random = np.random.default_rng(5)

rows = []
for index in range(12):
    count = int(random.integers(24, 60))
    ids = [1] + [int(t) for t in random.integers(3, 64, count - 1)]
    # Labels from the first token on, after a prompt, and with a hole.
    first = [0, 7, 12][index % 3]
    labels = [-100] * first + ids[first:]
    if index % 4 == 3:
        labels[first + 3 : first + 6] = [-100] * 3
    rows.append({"input_ids": ids, "labels": labels})
with open("rows.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)

batches = []
for start in range(0, len(rows), BATCH):
    pair = rows[start : start + BATCH]
    width = max(len(row["input_ids"]) for row in pair)

    def padded(key, value):
        return torch.tensor([row[key] + [value] * (width - len(row[key])) for row in pair])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in pair])
    batches.append({"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask})


def run(exact):
    """PEFT's state, the ratios of every decomposition, and the adapter's ranks and scales."""
    dtype = torch.float64 if exact else torch.float32
    model = LlamaForCausalLM.from_pretrained("../llama/model", dtype=dtype, attn_implementation="eager")
    model = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, init_lora_weights="eva", eva_config=EvaConfig(rho=RHO)))
    hooks = {}
    done = -1  # The first pass looks for equal inputs.

    def forward(model, inputs):
        nonlocal done
        done += 1
        for module in model.modules():
            for hook in module._forward_hooks.values():
                if isinstance(hook, eva.SVDHook):
                    hooks[hook.name] = hook
                    hook.sim_thresh = -2 if done == len(batches) else 2
        model(**inputs)

    partial_fit, lowrank = IncrementalPCA.partial_fit, IncrementalPCA._svd_fn_lowrank
    if exact:
        # PEFT narrows what it hands over to float32; the model's float64 inputs are rounded to it, as gora's are.
        IncrementalPCA.partial_fit = lambda self, x: partial_fit(self, x.double())
        IncrementalPCA._svd_fn_lowrank = lambda self, x: torch.linalg.svd(x, full_matrices=False)
    state = eva.get_eva_state_dict(model, batches, forward_fn=forward, show_progress_bar=False)
    IncrementalPCA.partial_fit, IncrementalPCA._svd_fn_lowrank = partial_fit, lowrank
    assert done == len(batches), done
    tokens = sum(int(((b["labels"] != -100) & (b["attention_mask"] == 1)).sum()) for b in batches)
    assert all(int(hook.svd.n_samples_seen_) == tokens for hook in hooks.values())
    strip = "base_model.model."
    state = {name.removeprefix(strip): value for name, value in state.items()}
    ratios = {name.removeprefix(strip): hook.svd.explained_variance_ratio_.double().tolist() for name, hook in hooks.items()}
    components = {name.removeprefix(strip): hook.svd.components_.double().numpy() for name, hook in hooks.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        initialize_lora_eva_weights(model, eva_state_dict={strip + k: v.float() for k, v in state.items()})
    scalings = {n.removeprefix(strip): m.scaling["default"] for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    return {name: len(value) for name, value in state.items()}, ratios, components, scalings, tokens


ranks, ratios, components, scalings, tokens = run(False)
exact_ranks, exact_ratios, exact_components, _, _ = run(True)
assert ranks == exact_ranks and all(ranks[name] > 0 for name in ratios), ranks
assert all(abs(s - ALPHA / RANK) < 1e-12 for s in scalings.values())
worst = max(abs(a - b) for name in ratios for a, b in zip(ratios[name], exact_ratios[name]))
shared = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
pool = []
for name in ranks:
    kind = name.rsplit(".", 1)[1]
    pool += exact_ratios[name.replace(kind, shared.get(kind, kind))]
pool.sort(reverse=True)
cut = RANK * len(ranks)
# Equal ratios at the cut are those of modules that share an input; the next other one must be away further than the error.
above = min(x for x in pool if x > pool[cut - 1]) - pool[cut - 1]
below = pool[cut - 1] - max(x for x in pool if x < pool[cut - 1])
print("worst ratio", worst, "distances at the cut", above, below, "tie at the cut", pool[cut - 1] == pool[cut], ranks)
assert min(above, below) > 2 * worst
golden = {
    "rank": RANK, "components": RANK * RHO, "alpha": ALPHA, "batch_size": BATCH, "tokens": tokens, "ranks": ranks,
    "scaling": ALPHA / RANK, "peft_ratios": ratios, "exact_ratios": exact_ratios,
}
with open("golden.json", "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
tensors = {f"exact/{name}": np.ascontiguousarray(value, dtype=np.float32) for name, value in exact_components.items()}
tensors |= {f"peft/{name}": np.ascontiguousarray(value, dtype=np.float32) for name, value in components.items()}
save_file(tensors, "golden.safetensors")
