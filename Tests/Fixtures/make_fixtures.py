#!/usr/bin/env python3
"""Makes the fixtures of this folder: tiny random models and what PyTorch says about them.

    python3 -m venv fixtures-venv
    fixtures-venv/bin/pip install "torch==2.13.0" transformers==5.23.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6
    fixtures-venv/bin/python make_fixtures.py [OUT]        # OUT: this folder unless given

(PyTorch's CPU build is enough.) Each run with these versions gives the same bytes. README.md says what each file holds.

Transformers computes rotary tables, norms, softmax and loss in float32 whatever the model's dtype. Here the whole
computation runs in float64, its modelling code unchanged, inside `Float64`; weights stay the float32 (or bf16) numbers of
the file. Results are stored as float32 tensors and as JSON numbers of 12 significant digits.
"""
import json, math, shutil, sys
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb, eager_attention_forward
from transformers.utils import logging

VOCABULARY, EOS, GREEDY_TOKENS = 64, 2, 20
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
STEP_ROWS = ((0, 1, 2), (3, 4, 5))      # the rows of even and of odd optimiser steps

SHAPE = {"hidden_act": "silu", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY,
         "max_position_embeddings": 256, "initializer_range": 0.15, "attention_dropout": 0.0, "use_cache": True,
         "bos_token_id": 1, "eos_token_id": EOS}
MODELS = {      # config.json as it is written, by hand: both spellings of the rotary settings are in use
    "llama": dict(SHAPE, architectures=["LlamaForCausalLM"], model_type="llama", num_key_value_heads=2, intermediate_size=56,
                  rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=False, mlp_bias=False, pretraining_tp=1,
                  rope_theta=10000.0, rope_scaling=None, torch_dtype="float32"),
    "llama3": dict(SHAPE, architectures=["LlamaForCausalLM"], model_type="llama", num_key_value_heads=2, head_dim=12,
                   intermediate_size=48, rms_norm_eps=1e-5, tie_word_embeddings=False, attention_bias=False, mlp_bias=False,
                   rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                        high_freq_factor=4.0, original_max_position_embeddings=128), dtype="float32"),
    "qwen2": dict(SHAPE, architectures=["Qwen2ForCausalLM"], model_type="qwen2", num_key_value_heads=1, intermediate_size=48,
                  rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False, sliding_window=None,
                  rope_parameters=dict(rope_type="default", rope_theta=1000000.0), dtype="float32"),
    "mistral": dict(SHAPE, architectures=["MistralForCausalLM"], model_type="mistral", num_key_value_heads=4,
                    intermediate_size=48, rms_norm_eps=1e-5, tie_word_embeddings=False, sliding_window=None, rope_theta=10000.0,
                    rope_scaling={"type": "linear", "factor": 2.0}, torch_dtype="float32"),
}
ADAPTERS = {    # llama: gora's `native` profile, full names; qwen2: PEFT's own habits, patterns that match by their end
    "llama": dict(rank_pattern={"model.layers.0.self_attn.q_proj": 8, "model.layers.0.self_attn.k_proj": 2,
                                "model.layers.1.self_attn.v_proj": 6, "model.layers.1.self_attn.o_proj": 1}),
    "qwen2": dict(rank_pattern={"layers.0.self_attn.v_proj": 3, "o_proj": 5}, alpha_pattern={r"layers\.1\..*\.q_proj": 8}),
}


class Float64(TorchFunctionMode):
    """Inside it, what asks torch for float32 gets float64; but a view of bytes as float32, as file readers take, stays one."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.view:
            return function(*arguments, **(keywords or {}))
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        widen = lambda x: torch.float64 if x is torch.float32 else x
        return function(*map(widen, arguments), **{k: widen(v) for k, v in (keywords or {}).items()})


def rounded(x):
    """JSON numbers of 12 significant digits, so that a last bit does not change the file."""
    if isinstance(x, torch.Tensor): x = x.tolist()
    if isinstance(x, dict): return {k: rounded(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [rounded(v) for v in x]
    return float(f"{x:.12g}") if isinstance(x, float) else x


def write_json(path, value):
    """One key of the top level a line."""
    path.write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in rounded(value).items()) + "\n}\n")


def write_tensors(path, tensors):
    """Float64 leaves as float32; by `type`, since `Float64` would answer `to(torch.float32)` with float64."""
    narrow = lambda t: t.type("torch.FloatTensor") if t.dtype == torch.float64 else t
    save_file({n: narrow(t.detach()).contiguous().clone() for n, t in tensors.items()}, path, metadata={"format": "pt"})


def close(a, b, what, tolerance=1e-9):
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    error = ((a - b).norm() / b.norm()).item()
    assert error < tolerance, f"{what}: relative error {error:.2e}, at most {tolerance:.0e} expected"


# Models and rows

def make_model(folder, config, seed):
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    generator = torch.Generator().manual_seed(seed)     # queries and keys are larger still: attention that is far from uniform
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager")
    for name, p in model.named_parameters():    # norms around 1 and biases around 0, far enough that a forgotten one shows
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name: p.data = 1 + 0.3 * noise
        elif name.endswith(".bias"): p.data = 0.5 * noise
        else: p.data = config["initializer_range"] * (2 if "q_proj" in name or "k_proj" in name else 1) * noise
    write_tensors(folder / "model.safetensors", dict(model.named_parameters()))


def make_bf16_model(folder, source):
    """The weights of `source` rounded to bf16, in two files with an index; layer 1's MLP and the final norm in the second."""
    folder.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    write_json(folder / "config.json", dict(config, torch_dtype="bfloat16"))
    weights = {n: t.to(torch.bfloat16) for n, t in sorted(load_file(source / "model.safetensors").items())}
    second = lambda n: n.startswith("model.layers.1.mlp") or n == "model.norm.weight"
    shard = {n: f"model-0000{2 if second(n) else 1}-of-00002.safetensors" for n in weights}
    for file in sorted(set(shard.values())):
        write_tensors(folder / file, {n: t for n, t in weights.items() if shard[n] == file})
    index = {"metadata": {"total_size": sum(2 * t.numel() for t in weights.values())}, "weight_map": shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def load_model(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)     # its table in float64
    assert model.model.rotary_emb.inv_freq.dtype == torch.float64
    stored = {n: t for file in folder.glob("*.safetensors") for n, t in load_file(file).items()}
    for n, p in model.named_parameters():
        assert p.dtype == torch.float64 and torch.equal(p, stored.pop(n).double()), n
    assert not stored
    return model


def make_rows(path, seed):
    """Six rows: ragged, in no order of length, masked at the start; one learns all of it, one has a hole, one a single label."""
    rng = np.random.default_rng(seed)
    lengths, prefixes = (17, 5, 40, 11, 29, 8), (6, 4, 15, 0, 9, 3)
    rows = []
    for n, k in zip(lengths, prefixes):
        ids = [1] + rng.integers(3, VOCABULARY, n - 1).tolist()
        rows.append(dict(input_ids=ids, labels=[-100] * k + ids[k:]))
    rows[4]["labels"][15:18] = [-100] * 3
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return rows


# Losses. Labels are those of the file; as in transformers, the one at position i is predicted at position i - 1.

def label_count(row):
    return sum(label != -100 for label in row["labels"][1:])


def row_loss(model, row):
    """Mean over the row's labels, by the model's own loss."""
    return model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss


def token_mean_loss(model, rows):
    """Mean over all labels of all rows, each row on its own: no padding."""
    return sum(row_loss(model, r) * label_count(r) for r in rows) / sum(map(label_count, rows))


def gradients(model, loss):
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return dict(zip((n for n, _ in named), torch.autograd.grad(loss, [p for _, p in named])))


# Goldens

def make_golden(out, name):
    folder = out / name
    rows = make_rows(folder / "rows.jsonl", seed=100 + list(MODELS).index(name.removesuffix("-bf16")))
    model = load_model(folder / "model")
    if name == "mistral":       # the linear scaling is honoured: positions at half speed
        d = np.arange(0, 8, 2) / 8
        close(model.model.rotary_emb.inv_freq, 10000.0 ** -d / 2, "linear scaling")

    hidden = {}
    keep = lambda key: lambda module, inputs, output: hidden.__setitem__(key, output[0])
    modules = {"hidden/embedding": model.model.embed_tokens, "hidden/norm": model.model.norm}
    modules |= {f"hidden/layer.{i}": layer for i, layer in enumerate(model.model.layers)}
    hooks = [module.register_forward_hook(keep(key)) for key, module in modules.items()]
    logits = [model(input_ids=torch.tensor([rows[0]["input_ids"]])).logits[0]]
    for h in hooks: h.remove()
    logits += [model(input_ids=torch.tensor([r["input_ids"]])).logits[0] for r in rows[1:]]

    losses = [row_loss(model, r) for r in rows]
    for row, l, loss in zip(rows, logits, losses):      # transformers' loss, once more in two lines
        terms = [-(l[i - 1].log_softmax(-1)[t]) for i, t in enumerate(row["labels"]) if i and t != -100]
        close(loss.detach(), (sum(terms) / len(terms)).detach(), "row loss")
    total = token_mean_loss(model, rows)
    gradient = gradients(model, total)
    check_by_differences(model, rows, gradient)
    continuations = greedy_continuations(model, rows)

    write_tensors(folder / "golden.safetensors",
                  {"logits": torch.cat(logits)} | hidden | {f"gradient/{n}": g for n, g in gradient.items()})
    write_json(folder / "golden.json", dict(
        row_tokens=[len(r["input_ids"]) for r in rows], row_labels=[label_count(r) for r in rows],
        row_losses=[l.item() for l in losses], token_mean_loss=total.item(),
        inverse_frequencies=model.model.rotary_emb.inv_freq, greedy=continuations))
    return model, rows


def check_by_differences(model, rows, gradient):
    """The gradient along one random direction per parameter, by central differences: nothing is detached or in float32."""
    generator = torch.Generator().manual_seed(7)
    for name, p in model.named_parameters():
        direction = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        start, step, values = p.data.clone(), 1e-4, []
        for sign in (1, -1):
            p.data = start + sign * step * direction
            with torch.no_grad(): values.append(token_mean_loss(model, rows).item())
        p.data = start
        slope, expected = (values[0] - values[1]) / (2 * step), (gradient[name] * direction).sum().item()
        assert abs(slope - expected) < 1e-6 * gradient[name].norm().item() + 1e-9, (name, slope, expected)


def greedy_continuations(model, rows):
    """Two prompts, 20 tokens each, none of them EOS, the first choice always ahead of the second by a margin f32 cannot lose."""
    rng, found = np.random.default_rng(11), []
    while len(found) < 2:
        prompt = [1] + rng.integers(3, VOCABULARY, (6, 13)[len(found)]).tolist()
        with torch.no_grad():
            ids = torch.tensor([prompt])
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=GREEDY_TOKENS,
                                    pad_token_id=0)[0].tolist()
            logits = model(input_ids=torch.tensor([answer])).logits[0, len(prompt) - 1:-1]
        tokens, (top, choice) = answer[len(prompt):], logits.topk(2)
        margin = (top[:, 0] - top[:, 1]).min().item()
        if len(tokens) == GREEDY_TOKENS and EOS not in tokens and margin > 0.05 and len(set(tokens)) > 4:
            assert choice[:, 0].tolist() == tokens      # with and without the cache
            found.append(dict(prompt=prompt, tokens=tokens, smallest_margin=margin))
    return found


def make_gora_gradient(out, model, rows):
    """gora-grad's G: mean over micro-batches of one row each of the gradient of that row's mean loss."""
    total = sum(row_loss(model, r) for r in rows) / len(rows)
    gradient = {n: g for n, g in gradients(model, total).items() if n.split(".")[-2] in ATTENTION}
    write_tensors(out / "llama" / "gora_gradient.safetensors", gradient)


def train(model, rows, optimiser, steps, after_first=None):
    """Loss before each step and the gradient's norm over all that is trained."""
    losses, norms = [], []
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for step in range(steps):
        optimiser.zero_grad()
        loss = token_mean_loss(model, [rows[i] for i in STEP_ROWS[step % 2]])
        loss.backward()
        losses.append(loss.item())
        norms.append(math.sqrt(sum((p.grad ** 2).sum().item() for p in parameters)))
        if after_first and step == 0: after_first()
        optimiser.step()
    return dict(losses=losses, gradient_norms=norms)


def make_full_training(out, rows):
    model = load_model(out / "llama" / "model")
    hyperparameters = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    result = train(model, rows, torch.optim.AdamW(model.parameters(), **hyperparameters), steps=5)
    kept = ("model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight", "model.layers.0.input_layernorm.weight",
            "model.norm.weight")
    write_tensors(out / "llama" / "full_training.safetensors", {n: p for n, p in model.named_parameters() if n in kept})
    write_json(out / "llama" / "full_training.json", dict(optimiser="AdamW", **hyperparameters, step_rows=STEP_ROWS, **result))


def make_lora_training(out, name, rows):
    folder = out / name
    config = LoraConfig(r=4, lora_alpha=16, target_modules=sorted(ATTENTION), use_rslora=True, lora_dropout=0.0, bias="none",
                        task_type="CAUSAL_LM", **ADAPTERS[name])
    model = get_peft_model(load_model(folder / "model"), config).double()
    generator = torch.Generator().manual_seed(300 + list(MODELS).index(name))
    for n, p in sorted(model.named_parameters(), key=lambda pair: pair[0]):
        if "lora_" in n:
            spread = 1 / math.sqrt(p.shape[1]) if "lora_A" in n else 0.05
            p.data = (spread * torch.randn(p.shape, generator=generator)).double()
    write_adapter(folder / "adapter", model, config)

    # Read back, as anyone would
    model = PeftModel.from_pretrained(load_model(folder / "model"), folder / "adapter", is_trainable=True).double()
    names = get_peft_model_state_dict(model).keys()
    trained = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    assert sorted(trained) == sorted(names)
    modules = {n.removeprefix("base_model.model."): m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    ranks = {n: m.lora_A["default"].weight.shape[0] for n, m in modules.items()}
    scalings = {n: m.scaling["default"] for n, m in modules.items()}
    hyperparameters = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=5e-4)
    groups = [dict(params=[p for n, p in trained.items() if "lora_A" in n], lr=1e-3),
              dict(params=[p for n, p in trained.items() if "lora_B" in n], lr=16e-3)]
    tensors = {}
    def keep_gradients():
        for n, p in trained.items(): tensors[f"gradient/{n}"] = p.grad.clone()
    result = train(model, rows, torch.optim.AdamW(groups, **hyperparameters), steps=10, after_first=keep_gradients)
    tensors |= {f"final/{n}": p for n, p in trained.items()}
    write_tensors(folder / "lora_training.safetensors", tensors)
    write_json(folder / "lora_training.json", dict(
        optimiser="AdamW", lr_a=1e-3, lr_b=16e-3, **hyperparameters, step_rows=STEP_ROWS, ranks=ranks,
        scalings=scalings, **result))


def write_adapter(folder, model, config):
    """PEFT's two files, without what depends on the machine or on the order of a set."""
    folder.mkdir()
    keys = dict(config.to_dict(), base_model_name_or_path=None, target_modules=sorted(config.target_modules), inference_mode=True)
    plain = {k: sorted(v) if isinstance(v, set) else getattr(v, "value", v) for k, v in sorted(keys.items())}
    (folder / "adapter_config.json").write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")
    write_tensors(folder / "adapter_model.safetensors", get_peft_model_state_dict(model))


# Small kernels

def make_kernels(path):
    generator = torch.Generator().manual_seed(5)
    def numbers(*shape):        # four decimals: what the JSON says is what was computed with
        return (torch.randn(shape, generator=generator, dtype=torch.float64) * 1e4).round().div(1e4).requires_grad_()
    def backward(output, *inputs):
        d = numbers(*output.shape)
        return d, torch.autograd.grad(output, inputs, d)
    kernels = {}

    gate, up = (numbers(24) for _ in range(2))
    gate.data *= 3
    y = torch.nn.functional.silu(gate) * up
    d, (d_gate, d_up) = backward(y, gate, up)
    kernels["swiglu"] = dict(gate=gate, up=up, output=y, d_output=d, d_gate=d_gate, d_up=d_up)

    norm, x = LlamaRMSNorm(12, eps=1e-3), numbers(3, 12)
    x.data *= torch.tensor([1.0, 0.02, 30.0], dtype=torch.float64)[:, None]     # the second row shows where epsilon goes
    norm.weight = torch.nn.Parameter(1 + 0.3 * numbers(12).detach())
    y = norm(x)
    d, (d_x, d_w) = backward(y, x, norm.weight)
    kernels["rms_norm"] = dict(rows=3, columns=12, epsilon=1e-3, x=x, weight=norm.weight, output=y, d_output=d,
                               d_x=d_x, d_weight=d_w)

    for key, factor, theta in (("default", None, 10000.0), ("linear", 4.0, 10000.0), ("llama3.1", 8.0, 500000.0),
                               ("llama3.2", 32.0, 500000.0)):
        rope = dict(rope_type=key.split(".")[0], rope_theta=theta)
        if factor: rope["factor"] = factor
        if key.startswith("llama"): rope |= dict(low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
        config = LlamaConfig(hidden_size=128, num_attention_heads=2, max_position_embeddings=131072, rope_parameters=rope)
        if key == "default":
            frequencies = theta ** -(torch.arange(0, 64, 2, dtype=torch.float64) / 64)
        else:
            frequencies, factor_of_attention = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config)
            assert factor_of_attention == 1.0 and frequencies.dtype == torch.float64
        kernels[f"rope_{key}"] = dict(head_dim=64, rope_parameters=rope, inverse_frequencies=frequencies)

    positions, head_dim = torch.tensor([0, 1, 37]), 8
    angles = positions[:, None] * (10000.0 ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim))
    angles = torch.cat((angles, angles), -1)
    x = numbers(1, 1, 3, head_dim)
    y, _ = apply_rotary_pos_emb(x, x, angles.cos()[None], angles.sin()[None])
    d, (d_x,) = backward(y, x)
    kernels["rotary"] = dict(head_dim=head_dim, rope_theta=10000.0, positions=positions, x=x, output=y, d_output=d, d_x=d_x)

    tokens, heads, groups, head_dim = 5, 2, 1, 4
    q, k, v = (numbers(1, n, tokens, head_dim) for n in (heads, groups, groups))
    q.data *= 2
    mask = torch.full((tokens, tokens), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    module = torch.nn.Module()
    module.num_key_value_groups, module.training = heads // groups, False
    y, _ = eager_attention_forward(module, q, k, v, mask, scaling=head_dim ** -0.5)      # [1, tokens, heads, head_dim]
    d, (d_q, d_k, d_v) = backward(y, q, k, v)
    token_major = lambda t: t.transpose(1, 2)
    kernels["attention"] = dict(tokens=tokens, heads=heads, key_value_heads=groups, head_dim=head_dim,
                                q=token_major(q), k=token_major(k), v=token_major(v), output=y, d_output=d,
                                d_q=token_major(d_q), d_k=token_major(d_k), d_v=token_major(d_v))

    logits, labels = numbers(4, 10), torch.tensor([3, -100, 9, 0])
    logits.data *= 4
    logits.data[3] += 90        # exp of it is past float32's range
    loss = torch.nn.functional.cross_entropy(logits, labels)
    kernels["cross_entropy"] = dict(rows=4, vocabulary=10, logits=logits, labels=labels, mean_loss=loss.item(),
                                    d_logits=torch.autograd.grad(loss, logits)[0])

    flat = lambda v: v.detach().flatten().tolist() if isinstance(v, torch.Tensor) else v
    kernels = {k: {n: flat(v) for n, v in values.items()} for k, values in kernels.items()}
    assert all(len(v) <= 64 for values in kernels.values() for v in values.values() if isinstance(v, list))
    write_json(path, kernels)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)        # one order of summation
    torch.use_deterministic_algorithms(True)
    for name in [*MODELS, "llama-bf16"]: shutil.rmtree(out / name, ignore_errors=True)
    for seed, (name, config) in enumerate(MODELS.items()): make_model(out / name / "model", config, seed)
    make_bf16_model(out / "llama-bf16" / "model", out / "llama" / "model")
    with Float64():
        rows = {}
        for name in [*MODELS, "llama-bf16"]:
            model, rows[name] = make_golden(out, name)
            if name == "llama": make_gora_gradient(out, model, rows[name])
        for name in ADAPTERS: make_lora_training(out, name, rows[name])
        make_full_training(out, rows["llama"])
        make_kernels(out / "kernels.json")


if __name__ == "__main__":
    main()
