#!/usr/bin/env python3
"""Makes DoRA fixtures for the `llama` and `qwen2` models beside this folder: a PEFT folder each, and ten AdamW steps from it in float64.

    ../make_fixtures.py's first lines say what to install; ./make_fixtures.py

`<model>/adapter`: use_dora, rsLoRA, r 4, alpha 16, on q, k, v, o and down (qwen2: q, k, v, which have biases, and gate); A and B random,
magnitudes those of PEFT times 0.8 to 1.2. `<model>/training.json`: losses before each step and gradient norms; rate 1e-3 for A, 4e-3 for B and
magnitudes. `<model>/training.safetensors`: gradients at the first step and values after the tenth; `merged/<weight>`: PEFT's merged weights at
the start. `<model>/dropout.json`: loss of row 0 in training with lora_dropout 0.4, whose masks come from gora's hash (`gora_dropout` in
elementwise.c) with the `keys` named there by module; `<model>/dropout.safetensors`: its gradients.
"""
import math, shutil, sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent))
import make_fixtures as base
import torch
from peft import LoraConfig, PeftModel, get_peft_model

TARGETS = {"llama": ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"], "qwen2": ["q_proj", "k_proj", "v_proj", "gate_proj"]}


DROPOUT = 0.4


def mask(key, count):
    """0, or 1/(1 − rate), for each of so many inputs."""
    def mixed(x):
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        return x ^ (x >> 16)

    low, high = key & 0xFFFFFFFF, key >> 32
    kept = [mixed(mixed((i + low) & 0xFFFFFFFF) ^ high) >= int(DROPOUT * 2**32) for i in range(count)]
    return torch.tensor(kept).double() / (1 - DROPOUT)


class Masked(torch.nn.Dropout):
    """Dropout with a given mask."""
    def __init__(self, key):
        super().__init__(DROPOUT)
        self.key = key

    def forward(self, x):
        return x * mask(self.key, x.numel()).reshape(x.shape) if self.training else x


def make_dropout(name):
    folder, rows = here / name, [__import__("json").loads(line) for line in (here.parent / name / "rows.jsonl").read_text().splitlines()]
    model = PeftModel.from_pretrained(base.load_model(here.parent / name / "model"), folder / "adapter", is_trainable=True).double()
    keys = {}
    for n, module in model.named_modules():
        if hasattr(module, "lora_dropout") and len(module.lora_dropout):
            # PEFT has an Identity for a rate of 0, and asks for that.
            keys[n.removeprefix("base_model.model.")] = key = (len(keys) + 1) * 0x9E3779B97F4A7C15 % 2**64
            module.lora_dropout["default"] = Masked(key)
    model.train()
    loss = base.row_loss(model, rows[0])
    loss.backward()
    tensors = {n.replace(".default", "").removesuffix(".weight") if "magnitude" in n else n.replace(".default", ""): p.grad
               for n, p in model.named_parameters() if p.requires_grad}
    base.write_tensors(folder / "dropout.safetensors", tensors)
    base.write_json(folder / "dropout.json", dict(rate=DROPOUT, loss=loss.item(), keys={n: str(key) for n, key in keys.items()}))


def make(name):
    source, folder = here.parent / name / "model", here / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rows = [__import__("json").loads(line) for line in (here.parent / name / "rows.jsonl").read_text().splitlines()]
    config = LoraConfig(r=4, lora_alpha=16, target_modules=sorted(TARGETS[name]), use_rslora=True, use_dora=True, lora_dropout=0.0,
                        bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(base.load_model(source), config).double()
    generator = torch.Generator().manual_seed(700)
    for n, p in sorted(model.named_parameters(), key=lambda pair: pair[0]):
        if "lora_magnitude" in n:
            p.data = p.data * (0.8 + 0.4 * torch.rand(p.shape, generator=generator).double())
        elif "lora_" in n:
            spread = 1 / math.sqrt(p.shape[1]) if "lora_A" in n else 0.05
            p.data = (spread * torch.randn(p.shape, generator=generator)).double()
    base.write_adapter(folder / "adapter", model, config)

    model = PeftModel.from_pretrained(base.load_model(source), folder / "adapter", is_trainable=True).double()
    trained = {n.replace(".default", "").removesuffix(".weight") if "magnitude" in n else n.replace(".default", ""): p
               for n, p in model.named_parameters() if p.requires_grad}
    hyperparameters = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=5e-4)
    groups = [dict(params=[p for n, p in trained.items() if "lora_A" in n], lr=1e-3),
              dict(params=[p for n, p in trained.items() if "lora_A" not in n], lr=4e-3)]
    tensors = {}

    def keep():
        for n, p in trained.items():
            tensors[f"gradient/{n}"] = p.grad.clone()

    result = base.train(model, rows, torch.optim.AdamW(groups, **hyperparameters), steps=10, after_first=keep)
    tensors |= {f"final/{n}": p for n, p in trained.items()}
    merged = PeftModel.from_pretrained(base.load_model(source), folder / "adapter").double().merge_and_unload()
    for n, p in merged.named_parameters():
        if n.split(".")[-2] in TARGETS[name] and n.endswith(".weight"):
            tensors[f"merged/{n}"] = p
    base.write_tensors(folder / "training.safetensors", tensors)
    base.write_json(folder / "training.json", dict(optimiser="AdamW", lr_a=1e-3, lr_b=4e-3, **hyperparameters, step_rows=base.STEP_ROWS, **result))


if __name__ == "__main__":
    for name in TARGETS:
        with base.Float64():
            make(name)
            make_dropout(name)
