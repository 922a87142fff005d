#!/usr/bin/env python3
"""Makes the fixtures of this folder: T5 and mT5 as Transformers runs and reads them.

    fixtures-venv/bin/python make_fixtures.py [OUT]        # the environment of ../make_fixtures.py; OUT: this folder unless given

Two sets of small weights, with a plain feed-forward part and with a gated one; a case is a change of config.json. The computation runs in
float64, each row on its own without padding; that a padded batch with its attention_mask gives the same is checked here. Labels of −100
are not learnt and stand as pads in the decoder's input. `t5-base`-like weights are tied, `v1.1`-like ones have a head of their own.
"""
import json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import numpy as np
import torch
from make_fixtures import Float64, rounded, write_tensors
from safetensors.torch import load_file
from transformers import AutoConfig, T5ForConditionalGeneration, MT5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.utils import logging

VOCABULARY, GREEDY_TOKENS = 40, 20
# Heads times their size is not the hidden size, and the stacks are not equally high.
SHAPE = {"d_model": 20, "d_kv": 6, "d_ff": 24, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 3, "vocab_size": VOCABULARY,
         "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "dropout_rate": 0.0}
SOURCES, TARGETS = (9, 300, 1, 140), (5, 3, 150, 1)
CASES = {
    "v1.0": ("plain", {}),
    "v1.0-buckets": ("plain", {"relative_attention_num_buckets": 20, "relative_attention_max_distance": 50, "layer_norm_epsilon": 1e-5}),
    "v1.1": ("gated", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "v1.1-silu-scaled": ("gated", {"feed_forward_proj": "gated-silu"}),
    "mt5": ("gated", {"model_type": "mt5", "tie_word_embeddings": True, "decoder_start_token_id": 3}),
}
CONFIGS = {
    "t5, nothing but its type": {"model_type": "t5"},
    "mt5, nothing but its type": {"model_type": "mt5"},
    "T5 base": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_ff": 3072, "d_kv": 64, "d_model": 768,
                "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0, "is_encoder_decoder": True,
                "layer_norm_epsilon": 1e-06, "n_positions": 512, "num_heads": 12, "num_layers": 12, "output_past": True, "pad_token_id": 0,
                "relative_attention_num_buckets": 32, "vocab_size": 32128},
    "T5 v1.1 small": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64, "d_model": 512,
                      "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 8, "num_heads": 6,
                      "num_layers": 8, "tie_word_embeddings": False, "vocab_size": 32128, "pad_token_id": 0, "eos_token_id": 1},
    "Flan-UL2": {"model_type": "t5", "d_ff": 16384, "d_kv": 256, "d_model": 4096, "decoder_start_token_id": 0, "feed_forward_proj":
                 "gated-silu", "num_decoder_layers": 32, "num_heads": 16, "num_layers": 32, "tie_word_embeddings": False,
                 "vocab_size": 32128, "dropout_rate": 0.0},
    "mT5 small": {"model_type": "mt5", "d_ff": 1024, "d_kv": 64, "d_model": 512, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 8,
                  "num_heads": 6, "num_layers": 8, "tie_word_embeddings": False, "vocab_size": 250112},
    "fewer decoder layers": {"model_type": "t5", "num_layers": 12, "num_decoder_layers": 2, "initializer_factor": 0.5},
}
# Numbers of buckets and greatest distances; each in both directions and in one.
BUCKETS = ((32, 128), (20, 50), (8, 20), (64, 300))


def read_config(members, folder):
    (folder / "config.json").write_text(json.dumps(members))
    return AutoConfig.from_pretrained(folder)


def kind(config):
    return MT5ForConditionalGeneration if config.model_type == "mt5" else T5ForConditionalGeneration


def make_weights(name, members, folder, seed):
    """Queries and keys so large that attention is far from uniform, embeddings so that logits are not flat."""
    config = read_config(dict(SHAPE, model_type="t5", **members), folder)
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    model = T5ForConditionalGeneration(config)
    for key in sorted(set(model.state_dict()) - {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}):
        if key == "lm_head.weight" and name == "plain": continue
        shape = model.state_dict()[key].shape
        noise = torch.randn(shape, generator=generator)
        if "norm" in key: weights[key] = 1 + 0.3 * noise
        elif "relative" in key: weights[key] = noise
        elif key == "shared.weight": weights[key] = noise
        elif key == "lm_head.weight": weights[key] = 0.5 * noise
        elif key.endswith((".q.weight", ".k.weight")): weights[key] = 0.2 * noise
        else: weights[key] = (0.7 if name == "plain" else 0.3) * noise
    write_tensors(folder / "model.safetensors", weights)


def run(change, folder, sources, targets):
    """Logits of each row's last two tokens, all gradients of the mean loss over labels, greedy continuations."""
    config = read_config({**SHAPE, "model_type": "t5", **change}, folder)
    model = kind(config).from_pretrained(folder, config=config, dtype=torch.float64, attn_implementation="eager").eval()
    learnt = sum(sum(label != -100 for label in row) for row in targets)
    losses, kept = [], []
    def loss():
        total = 0
        losses.clear(), kept.clear()
        for source, labels in zip(sources, targets):
            out = model(input_ids=torch.tensor([source]), labels=torch.tensor([labels]))
            count = sum(label != -100 for label in labels)
            losses.append(out.loss.item())
            kept.append(out.logits[0, -2:].detach())
            total = total + out.loss * count
        return total / learnt
    value = loss()
    value.backward()
    tensors = {"logits": torch.cat(kept), **{f"gradient/{n}": p.grad for n, p in model.named_parameters()}}
    row_losses = list(losses)
    # A padded batch with its mask says the same.
    pad = lambda rows, fill: torch.tensor([row + [fill] * (max(map(len, rows)) - len(row)) for row in rows])
    with torch.no_grad():
        batch = model(input_ids=pad(sources, 0), attention_mask=pad([[1] * len(s) for s in sources], 0), labels=pad(targets, -100))
    assert abs(batch.loss.item() - value.item()) < 1e-12, (batch.loss.item(), value.item())
    # The gradient along one direction of all parameters, by central differences; small steps, as ReLU has a kink.
    generator = torch.Generator().manual_seed(7)
    directions = {n: torch.randn(p.shape, generator=generator).double() for n, p in model.named_parameters()}
    slope, sides = sum((p.grad * directions[n]).sum().item() for n, p in model.named_parameters()), []
    for sign in (1, -2, 1):
        for n, p in model.named_parameters(): p.data += sign * 1e-8 * directions[n]
        with torch.no_grad(): sides.append(loss().item())
    assert abs((sides[0] - sides[1]) / 2e-8 - slope) < 1e-5 * abs(slope) + 1e-6, ((sides[0] - sides[1]) / 2e-8, slope)
    greedy, margin = [], 1.0
    for source in sources:      # without the cache, which 5.23 makes as high as the encoder
        answer = model.generate(torch.tensor([source]), max_new_tokens=GREEDY_TOKENS, do_sample=False, eos_token_id=None, use_cache=False,
                                return_dict_in_generate=True, output_logits=True)
        margin = min([margin] + [(best[0, 0] - best[0, 1]).item() for best in (step.topk(2).values for step in answer.logits)])
        greedy.append(answer.sequences[0, 1:].tolist())
    return tensors, {"loss": value.item(), "row_losses": row_losses, "greedy": greedy, "smallest_margin": margin}


def said(members, folder):
    """What Transformers makes of a configuration. A head of its own, which 5.x ties whatever config.json says, is not counted."""
    config = read_config(members, folder)
    with torch.device("meta"):
        model = kind(config)(config)
    linears = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    return {"config": members, "hidden": config.d_model, "intermediate": config.d_ff, "layers": config.num_layers,
            "decoder_layers": config.num_decoder_layers, "heads": config.num_heads, "head_size": config.d_kv,
            "vocabulary": config.vocab_size, "epsilon": config.layer_norm_epsilon, "eos": config.eos_token_id,
            "buckets": config.relative_attention_num_buckets, "distance": config.relative_attention_max_distance,
            "gated": config.is_gated_act, "activation": config.dense_act_fn, "factor": config.initializer_factor,
            "scales": getattr(config, "scale_decoder_outputs", False), "parameters": sum(p.numel() for p in model.parameters()),
            "linears": len(linears), "first_linears": linears[:7], "last_linears": linears[-11:]}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    scratch = Path("/tmp") / "gora-t5-fixtures"
    for seed, (name, members) in enumerate({"plain": {}, "gated": {"feed_forward_proj": "gated-gelu"}}.items()):
        (scratch / name).mkdir(parents=True, exist_ok=True)
        make_weights(name, members, scratch / name, 1 + seed)
        (out / f"{name}.safetensors").write_bytes((scratch / name / "model.safetensors").read_bytes())
    rng = np.random.default_rng(7)
    sources = [rng.integers(2, VOCABULARY, n - 1).tolist() + [1] for n in SOURCES]
    targets = [rng.integers(2, VOCABULARY, n - 1).tolist() + [1] for n in TARGETS]
    targets[2][4:40] = [-100] * 36     # a hole
    targets[0][0] = -100
    tensors, cases = {}, {}
    with Float64():
        for name, (weights, change) in CASES.items():
            folder = scratch / weights
            if "relative_attention_num_buckets" in change:      # the first rows of the tables
                folder = scratch / name
                folder.mkdir(exist_ok=True)
                state = load_file(scratch / weights / "model.safetensors")
                for key in state:
                    if "relative" in key: state[key] = state[key][:change["relative_attention_num_buckets"]].clone()
                write_tensors(folder / "model.safetensors", state)
            found, case = run(change, folder, sources, targets)
            cases[name] = {"weights": weights, "change": change, **case}
            tensors.update({f"{name}/{key}": value for key, value in found.items()})
            print(name, case["loss"], case["smallest_margin"], file=sys.stderr)
            assert case["smallest_margin"] > 1e-4, (name, case["smallest_margin"])
    write_tensors(out / "golden.safetensors", tensors)
    configs = {name: said(members, scratch) for name, members in CONFIGS.items()}
    distances = torch.arange(-400, 401)
    buckets = [{"buckets": n, "distance": far, "bidirectional": both,
                "of": T5Attention._relative_position_bucket(distances, both, n, far).tolist()}
               for n, far in BUCKETS for both in (True, False)]
    lines = lambda table: "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in rounded(table).items()) + "\n  }"
    (out / "golden.json").write_text(
        f'{{\n  "shape": {json.dumps(SHAPE)},\n  "sources": {json.dumps(sources)},\n  "targets": {json.dumps(targets)},'
        f'\n  "cases": {lines(cases)},\n  "configs": {lines(configs)},\n  "distances": [{distances[0]}, {distances[-1]}],'
        f'\n  "buckets": {json.dumps(buckets)}\n}}\n')


if __name__ == "__main__":
    main()
