#!/usr/bin/env python3
"""Makes AdaLoRA fixtures for the `llama` model beside this folder, from PEFT in float64.

    ../make_fixtures.py's first lines say what to install; ./make_fixtures.py

`start`: PEFT's folder before the first step: init_r 6, target_r 3, alpha 16, on q, v and down. `training.json`: 24 AdamW steps of rate 5e-3 from it,
with tinit 4, tfinal 6, deltaT 2: losses of the rows alone before each step, gradient norms with the penalty's part, and after each step which
components are left, in the order of the modules' names (`update_and_allocate(t)` after step t, 1 for the first). `training.safetensors`:
gradients at the second step (at the first E is 0, and with it A's and B's part of the loss), values after the last. `pruned`: PEFT's folder then,
with a `rank_pattern`; `delta/<module>` in training.safetensors is its update of the weight.
"""
import json, math, shutil, sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent))
import make_fixtures as base
import torch
from peft import AdaLoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict

STEPS, RATE = 24, 5e-3
FOLDERS = ("start", "pruned")



def make():
    for folder in FOLDERS: shutil.rmtree(here / folder, ignore_errors=True)
    source = here.parent / "llama" / "model"
    rows = [json.loads(line) for line in (here.parent / "llama" / "rows.jsonl").read_text().splitlines()]
    config = AdaLoraConfig(init_r=6, target_r=3, tinit=4, tfinal=6, deltaT=2, beta1=0.85, beta2=0.8, orth_reg_weight=0.3, total_step=STEPS,
                           lora_alpha=16, lora_dropout=0.0, target_modules=["down_proj", "q_proj", "v_proj"], bias="none", task_type="CAUSAL_LM")
    torch.manual_seed(900)
    model = get_peft_model(base.load_model(source), config).double()
    base.write_adapter(here / "start", model, config)
    model = PeftModel.from_pretrained(base.load_model(source), here / "start", is_trainable=True).double()
    tuner, settings = model.base_model, model.peft_config["default"]
    trained = {n.replace(".default", ""): p for n, p in model.named_parameters() if "lora_" in n}
    optimiser = torch.optim.AdamW(list(trained.values()), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=5e-4)

    gaps = []
    kth = torch.kthvalue

    def measured(values, k):
        ordered = values.sort().values
        gaps.append(((ordered[k] - ordered[k - 1]) / ordered[k]).item())
        return kth(values, k=k)

    torch.kthvalue = measured
    losses, norms, masks, tensors = [], [], [], {}
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = base.token_mean_loss(model.get_base_model(), [rows[i] for i in base.STEP_ROWS[step % 2]])
        penalty = [(p @ p.T if "lora_A" in n else p.T @ p) for n, p in trained.items() if "lora_E" not in n]
        penalty = sum(torch.linalg.norm(c - torch.eye(len(c), dtype=c.dtype)) for c in penalty) / len(penalty)
        (loss + settings.orth_reg_weight * penalty).backward()
        losses.append(loss.item())
        norms.append(math.sqrt(sum((p.grad ** 2).sum().item() for p in trained.values())))
        if step == 1: tensors |= {f"gradient/{n}": p.grad.clone() for n, p in trained.items()}
        optimiser.step()
        tuner.update_and_allocate(step + 1)
        pattern = settings.rank_pattern
        masks.append(None if pattern is None else [pattern[n] for n in sorted(pattern)])
    torch.kthvalue = kth
    # In binary32 the same components are chosen only where the threshold is not a near miss.
    assert min(gaps) > 1e-3, gaps
    tensors |= {f"final/{n}": p for n, p in trained.items()}
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            tensors["delta/" + name.removeprefix("base_model.model.")] = module.get_delta_weight("default")
    get_peft_model_state_dict(model)  # as save_pretrained does before it writes the settings: it takes the adapter's name out of rank_pattern
    base.write_adapter(here / "pruned", model, settings)
    base.write_tensors(here / "training.safetensors", tensors)
    base.write_json(here / "training.json", dict(lr=RATE, weight_decay=5e-4, step_rows=base.STEP_ROWS, losses=losses, gradient_norms=norms,
                                                 modules=sorted(n.removeprefix("base_model.model.") for n, m in model.named_modules() if hasattr(m, "get_delta_weight")),
                                                 masks=masks))
    print("gaps", min(gaps), "ranks", [sum(m) for m in masks[-1]])


if __name__ == "__main__":
    with base.Float64(): make()
