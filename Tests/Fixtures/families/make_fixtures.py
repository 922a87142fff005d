#!/usr/bin/env python3
"""Makes the fixtures of this folder: Qwen3, Gemma 2 and Gemma 3 as Transformers runs and reads them.

    fixtures-venv/bin/python make_fixtures.py [OUT]        # the environment of ../make_fixtures.py; OUT: this folder unless given

One set of small weights for each model type, biases among them, which cases without `attention_bias` leave aside; a case is a change
of config.json. The computation runs in float64, as in ../make_fixtures.py, each row on its own and with a rotary embedding of its own,
since Transformers' remembers the longest row.
"""
import importlib, json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import numpy as np
import torch
from make_fixtures import Float64, rounded, write_tensors
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

VOCABULARY, GREEDY_TOKENS = 48, 24
SHAPE = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
         "intermediate_size": 20, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1,
         "eos_token_id": 2}
KINDS = {"qwen3": "Qwen3", "gemma2": "Gemma2", "gemma3_text": "Gemma3"}
ROWS, PROMPTS = (7, 40, 300), (3, 9, 20)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
CAPS = {"query_pre_attn_scalar": 6, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 4.0}
CASES = {
    "qwen3": ("qwen3", {}),
    "qwen3-windows": ("qwen3", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1, "tie_word_embeddings": True}),
    "qwen3-bias": ("qwen3", {"attention_bias": True, "rope_theta": 1e6, "rope_scaling": YARN}),
    "gemma2": ("gemma2", dict(CAPS, sliding_window=5)),
    "gemma2-no-caps": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True,
                                  "sliding_window": 130, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
    "gemma2-silu": ("gemma2", {"query_pre_attn_scalar": 8, "hidden_activation": "silu", "tie_word_embeddings": False}),
    "gemma3": ("gemma3_text", {"query_pre_attn_scalar": 6, "sliding_window": 5, "sliding_window_pattern": 2,
                               "rope_theta": 5e5, "rope_local_base_freq": 100.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "gemma3-layers": ("gemma3_text", {"sliding_window": 7, "final_logit_softcapping": 3.0, "attention_bias": True,
                                      "layer_types": ["full_attention", "sliding_attention", "full_attention"],
                                      "rope_parameters": {"full_attention": dict(YARN, rope_theta=2000.0),
                                                          "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}}),
    "gemma3-dynamic": ("gemma3_text", {"sliding_window": 12, "sliding_window_pattern": 3, "max_position_embeddings": 16,
                                       "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
}

# config.json of checkpoints that are in use, and of unusual spellings; sizes as they are there.
QWEN3 = {"model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_act": "silu", "max_position_embeddings": 40960,
         "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000, "use_sliding_window": False, "sliding_window": None,
         "vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645, "num_key_value_heads": 8}
GEMMA2 = {"model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "rope_theta": 10000.0,
          "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096, "vocab_size": 256000, "eos_token_id": 1}
GEMMA3 = {"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "rope_theta": 1000000, "rope_local_base_freq": 10000,
          "max_position_embeddings": 32768, "vocab_size": 262144, "sliding_window": 512, "sliding_window_pattern": 6,
          "eos_token_id": [1, 106], "attn_logit_softcapping": None, "final_logit_softcapping": None}
CONFIGS = {
    "qwen3, nothing but its type": {"model_type": "qwen3"},
    "gemma2, nothing but its type": {"model_type": "gemma2"},
    "gemma3_text, nothing but its type": {"model_type": "gemma3_text"},
    "Qwen3 0.6B": dict(QWEN3, hidden_size=1024, intermediate_size=3072, num_attention_heads=16, num_hidden_layers=28,
                       max_window_layers=28, tie_word_embeddings=True),
    "Qwen3 8B with yarn": dict(QWEN3, hidden_size=4096, intermediate_size=12288, num_attention_heads=32, num_hidden_layers=36,
                               max_window_layers=36, tie_word_embeddings=False,
                               rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}),
    "qwen3, upper layers": dict(QWEN3, hidden_size=1024, num_attention_heads=16, use_sliding_window=True, sliding_window=4096,
                                num_key_value_heads=None),
    "Gemma 2 2B": dict(GEMMA2, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8,
                       num_key_value_heads=4, head_dim=256, query_pre_attn_scalar=256, max_position_embeddings=8192),
    "Gemma 2 27B": dict(GEMMA2, hidden_size=4608, intermediate_size=36864, num_hidden_layers=46, num_attention_heads=32,
                        num_key_value_heads=16, head_dim=128, query_pre_attn_scalar=144, max_position_embeddings=8192),
    "gemma2, null caps": dict(GEMMA2, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True),
    "Gemma 3 1B": dict(GEMMA3, hidden_size=1152, intermediate_size=6912, num_hidden_layers=26, num_attention_heads=4,
                       num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256, rope_scaling=None),
    "Gemma 3 270M": dict(GEMMA3, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
                         num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256, use_bidirectional_attention=False,
                         layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 3),
    "Gemma 3 4B's text": dict(GEMMA3, hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, sliding_window=1024,
                              max_position_embeddings=131072, rope_scaling={"factor": 8.0, "rope_type": "linear"}),
    "gemma3_text, sets for both kinds of layers": dict(
        {k: v for k, v in GEMMA3.items() if not k.startswith("rope")},
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0}}),
    "gemma3_text, one set": {"model_type": "gemma3_text", "rope_theta": 3e5,
                             "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}},
}
LENGTHS = (1, 200000)      # rows for which frequencies are taken


def read_config(members, folder):
    (folder / "config.json").write_text(json.dumps(members))
    return AutoConfig.from_pretrained(folder)


def rotary(config):
    kind = KINDS[config.model_type]
    name = {"gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    return getattr(importlib.import_module(f"transformers.models.{name}.modeling_{name}"), f"{kind}RotaryEmbedding")(config)


def frequencies(config, layers):
    """Of the layers that see all, or that have windows, in rows of each length."""
    found = []
    with Float64():
        for length in LENGTHS:
            embedding, arguments = rotary(config), (torch.zeros(1), torch.tensor([[length - 1]]))
            if config.model_type == "gemma3_text":
                embedding(*arguments, layers)
                found.append(getattr(embedding, f"{layers}_inv_freq"))
            else:
                embedding(*arguments)
                found.append(embedding.inv_freq)
    return [f.double()[[0, 1, 9, 20, 40, -1]].tolist() for f in found]


def said(members, folder):
    """What Transformers makes of a configuration."""
    config = read_config(members, folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    attention = model.model.layers[0].self_attn
    eos, none = config.eos_token_id, torch.nn.Identity()
    return {"config": members, "hidden": config.hidden_size, "intermediate": config.intermediate_size,
            "layers": config.num_hidden_layers, "heads": config.num_attention_heads, "key_value_heads": config.num_key_value_heads,
            "head_size": attention.head_dim, "vocabulary": config.vocab_size, "epsilon": config.rms_norm_eps,
            "max_positions": config.max_position_embeddings, "bos": config.bos_token_id, "tied": config.tie_word_embeddings,
            "eos": eos if isinstance(eos, list) else [] if eos is None else [eos],
            "windows": [config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types],
            "parameters": sum(p.numel() for p in model.parameters()), "scaling": attention.scaling,
            "embedding_scale": getattr(model.model.embed_tokens, "scalar_embed_scale", 1.0),
            "attention_cap": getattr(config, "attn_logit_softcapping", None) if config.model_type == "gemma2" else None,
            "logit_cap": getattr(config, "final_logit_softcapping", None),
            "frequencies": frequencies(config, "full_attention"), "sliding_frequencies": frequencies(config, "sliding_attention")}


def make_weights(kind, folder, seed):
    config = read_config(dict(SHAPE, model_type=kind, attention_bias=True, tie_word_embeddings=False,
                              architectures=[KINDS[kind] + "ForCausalLM"]), folder)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    center = 0 if "gemma" in kind else 1
    for name, p in model.named_parameters():    # queries and keys large: attention that is far from uniform
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name: p.data = center + 0.3 * noise
        elif name.endswith(".bias"): p.data = 0.5 * noise
        else: p.data = (0.45 if "q_proj" in name or "k_proj" in name else 0.2) * noise
    write_tensors(folder / "model.safetensors", dict(model.named_parameters()))


def run(kind, change, folder, rows):
    """Logits of each row's last four tokens, all gradients of the mean loss, greedy continuations."""
    config = read_config(dict(SHAPE, model_type=kind, **change), folder)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float64, attn_implementation="eager").eval()
    def fresh():
        model.model.rotary_emb = type(model.model.rotary_emb)(config)
        if hasattr(model.model.embed_tokens, "embed_scale"):
            model.model.embed_tokens.embed_scale = torch.tensor(config.hidden_size ** 0.5, dtype=torch.float64)
    def loss():
        total = 0
        for row in rows:
            fresh()
            out = model(input_ids=torch.tensor([row]), use_cache=False).logits[0]
            logits.append(out[-4:])
            total = total + torch.nn.functional.cross_entropy(out[:-1], torch.tensor(row[1:]), reduction="sum")
        return total / sum(len(row) - 1 for row in rows)
    logits = []
    value = loss()
    value.backward()
    # The gradient along one direction of all parameters, by central differences: nothing is detached or in float32.
    generator = torch.Generator().manual_seed(7)
    directions = {n: torch.randn(p.shape, generator=generator).double() for n, p in model.named_parameters()}
    slope, kept, sides = sum((p.grad * directions[n]).sum().item() for n, p in model.named_parameters()), list(logits), []
    for sign in (1, -2, 1):
        for n, p in model.named_parameters(): p.data += sign * 1e-6 * directions[n]
        with torch.no_grad(): sides.append(loss().item())
    assert abs((sides[0] - sides[1]) / 2e-6 - slope) < 1e-4 * abs(slope) + 1e-7, ((sides[0] - sides[1]) / 2e-6, slope)
    greedy, margin = [], 1.0
    for length in PROMPTS:
        fresh()
        answer = model.generate(torch.tensor([rows[1][:length]]), max_new_tokens=GREEDY_TOKENS, do_sample=False, pad_token_id=0,
                                eos_token_id=None, return_dict_in_generate=True, output_logits=True)
        margin = min([margin] + [(best[0, 0] - best[0, 1]).item() for best in (step.topk(2).values for step in answer.logits)])
        greedy.append(answer.sequences[0, length:].tolist())
    tensors = {"logits": torch.cat(kept), **{f"gradient/{n}": p.grad for n, p in model.named_parameters()}}
    return tensors, {"type": kind, "change": change, "loss": value.item(), "greedy": greedy, "smallest_margin": margin}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    scratch = Path("/tmp") / "gora-families-fixtures"
    for seed, kind in enumerate(KINDS):
        (scratch / kind).mkdir(parents=True, exist_ok=True)
        make_weights(kind, scratch / kind, 1 + seed)
        (out / f"{kind}.safetensors").write_bytes((scratch / kind / "model.safetensors").read_bytes())
    rng = np.random.default_rng(7)
    rows = [[1] + rng.integers(3, VOCABULARY, n - 1).tolist() for n in ROWS]
    tensors, cases = {}, {}
    with Float64():
        for name, (kind, change) in CASES.items():
            found, cases[name] = run(kind, change, scratch / kind, rows)
            tensors.update({f"{name}/{key}": value for key, value in found.items()})
            print(name, cases[name]["loss"], cases[name]["smallest_margin"], file=sys.stderr)
            assert cases[name]["smallest_margin"] > 1e-4, (name, cases[name]["smallest_margin"])
    write_tensors(out / "golden.safetensors", tensors)
    configs = {name: said(members, scratch) for name, members in CONFIGS.items()}
    lines = lambda table: "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in rounded(table).items()) + "\n  }"
    (out / "golden.json").write_text(f'{{\n  "shape": {json.dumps(SHAPE)},\n  "rows": {json.dumps(rows)},\n  "prompts": {json.dumps(PROMPTS)},'
                                     f'\n  "lengths": {json.dumps(LENGTHS)},\n  "cases": {lines(cases)},\n  "configs": {lines(configs)}\n}}\n')


if __name__ == "__main__":
    main()
