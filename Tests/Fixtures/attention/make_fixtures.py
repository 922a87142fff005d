#!/usr/bin/env python3
"""Makes the fixtures of this folder: windows, rotary kinds and configurations as Transformers reads them.

    fixtures-venv/bin/python make_fixtures.py [OUT]        # the environment of ../make_fixtures.py; OUT: this folder unless given

One set of small weights for each model type; a case is a change of config.json. The computation runs in float64, as in
../make_fixtures.py, each row on its own and with a rotary embedding of its own, since Transformers' remembers the longest row.
"""
import json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import numpy as np
import torch
from make_fixtures import Float64, rounded, write_tensors
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

VOCABULARY, GREEDY_TOKENS = 48, 24
SHAPE = {"hidden_act": "silu", "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
         "head_dim": 8, "intermediate_size": 20, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
         "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
ROWS = (7, 40, 300)
PROMPT = 9
LONG_ROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.0, 2.5, 6.0, 9.0]}
CASES = {
    "window-1": ("mistral", {"sliding_window": 1}),
    "window-5": ("mistral", {"sliding_window": 5}),
    "window-129": ("mistral", {"sliding_window": 129}),
    "window-1000": ("mistral", {"sliding_window": 1000}),
    "window-null": ("mistral", {"sliding_window": None}),
    # With layer_types, Transformers takes a mistral for a ministral.
    "mistral-types": ("mistral", {"sliding_window": 11, "layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    "qwen2-upper": ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen2-off": ("qwen2", {"use_sliding_window": False, "sliding_window": 6, "max_window_layers": 0}),
    "qwen2-types": ("qwen2", {"use_sliding_window": True, "sliding_window": 10,
                              "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "linear": ("llama", {"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.5}}),
    "dynamic": ("llama", {"max_position_embeddings": 16, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "llama3": ("llama", {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}),
    "yarn": ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
    "yarn-mscale": ("qwen2", {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 0.3,
                              "beta_fast": 16, "beta_slow": 2, "truncate": False, "original_max_position_embeddings": 64}}),
    "longrope": ("llama", {"original_max_position_embeddings": 16, "rope_scaling": LONG_ROPE}),
    "proportional": ("llama", {"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0,
                                                   "rope_theta": 100.0}}),
}

# What config.json says in checkpoints that are in use, and in spellings that Transformers reads; sizes as they are there.
LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "intermediate_size": 11008,
         "vocab_size": 32000, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
MISTRAL = {"model_type": "mistral", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
           "intermediate_size": 14336, "vocab_size": 32000, "rms_norm_eps": 1e-5, "hidden_act": "silu"}
QWEN2 = {"model_type": "qwen2", "hidden_size": 3584, "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
         "intermediate_size": 18944, "vocab_size": 152064, "rms_norm_eps": 1e-6, "hidden_act": "silu"}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32768}
CONFIGS = {
    "llama, nothing but its type": {"model_type": "llama"},
    "mistral, nothing but its type": {"model_type": "mistral"},
    "qwen2, nothing but its type": {"model_type": "qwen2"},
    "Mistral 7B v0.1": dict(MISTRAL, max_position_embeddings=32768, rope_theta=10000.0, sliding_window=4096),
    "Mistral 7B v0.2, v0.3": dict(MISTRAL, vocab_size=32768, max_position_embeddings=32768, rope_theta=1000000.0, sliding_window=None),
    "Mistral Nemo": dict(MISTRAL, hidden_size=5120, num_hidden_layers=40, head_dim=128, vocab_size=131072, rope_theta=1000000.0,
                         max_position_embeddings=1024000, sliding_window=None),
    "Zephyr, no window named": dict(MISTRAL, max_position_embeddings=32768, rope_theta=10000.0, pad_token_id=2),
    "llama, null heads": dict(LLAMA, num_key_value_heads=None),
    "Qwen2.5 7B": dict(QWEN2, max_position_embeddings=32768, max_window_layers=28, rope_theta=1000000.0, sliding_window=131072,
                       use_sliding_window=False, bos_token_id=151643, eos_token_id=151645),
    "Qwen2.5 7B with yarn": dict(QWEN2, max_position_embeddings=32768, rope_theta=1000000.0, use_sliding_window=False,
                                 rope_scaling=dict(YARN, type="yarn")),
    "qwen2, upper layers": dict(QWEN2, use_sliding_window=True, max_window_layers=21),
    "qwen2, null window": dict(QWEN2, use_sliding_window=True, max_window_layers=21, sliding_window=None),
    "Llama 2 7B": dict(LLAMA, max_position_embeddings=4096, pretraining_tp=1, rope_scaling=None, bos_token_id=1, eos_token_id=2),
    "Llama 3.1 8B Instruct": dict(LLAMA, vocab_size=128256, num_key_value_heads=8, intermediate_size=14336, rope_theta=500000.0,
                                  max_position_embeddings=131072, bos_token_id=128000, eos_token_id=[128001, 128008, 128009],
                                  rope_scaling={"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                "original_max_position_embeddings": 8192, "rope_type": "llama3"}),
    "CodeLlama": dict(LLAMA, vocab_size=32016, max_position_embeddings=16384, rope_theta=1000000),
    "DeepSeek Coder": dict(LLAMA, vocab_size=32256, max_position_embeddings=16384, rope_theta=100000,
                           rope_scaling={"factor": 4.0, "type": "linear"}, bos_token_id=32013, eos_token_id=32014),
    "Yi 6B": dict(LLAMA, num_key_value_heads=4, vocab_size=64000, max_position_embeddings=4096, rope_theta=5000000.0, pad_token_id=0),
    "swish, -1": dict(LLAMA, hidden_act="swish", pad_token_id=-1, bos_token_id=-1),
    "no tokens": dict(LLAMA, bos_token_id=None, eos_token_id=None),
    "attention bias": dict(LLAMA, attention_bias=True, mlp_bias=True),
    "attention bias of mistral": dict(MISTRAL, attention_bias=True, mlp_bias=True),
    "other families' keys": dict(LLAMA, attention_multiplier=0.1, residual_multiplier=0.2, logits_scaling=4.0, sliding_window=128),
    "base inside rope_scaling": dict(LLAMA, rope_theta=20000.0, rope_scaling={"rope_type": "linear", "factor": 2.0, "rope_theta": 30000.0}),
    "rope_scaling before rope_parameters": dict(LLAMA, rope_scaling={"rope_type": "linear", "factor": 2.0},
                                                rope_parameters={"rope_type": "default", "rope_theta": 70000.0}),
    "empty rope_scaling": dict(LLAMA, rope_scaling={}, rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 70000.0}),
    "base beside rope_parameters": dict(LLAMA, rope_theta=20000.0, rope_parameters={"rope_type": "linear", "factor": 3.0}),
    "rope_type before type": dict(LLAMA, rope_scaling={"rope_type": "linear", "type": "dynamic", "factor": 3.0}),
    "no rope_type": dict(LLAMA, rope_scaling={"factor": 3.0}),
    "default ignores partial_rotary_factor": dict(LLAMA, partial_rotary_factor=0.5),
    "llama3 without its length": dict(LLAMA, max_position_embeddings=8192, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    "yarn without its length": dict(LLAMA, max_position_embeddings=8192, rope_scaling={"rope_type": "yarn", "factor": 2.0}),
    "yarn, no factor": dict(LLAMA, max_position_embeddings=8192, rope_scaling={
        "rope_type": "yarn", "factor": None, "original_max_position_embeddings": 1024}),
    "yarn, attention_factor": dict(LLAMA, rope_scaling={"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.9,
                                                        "original_max_position_embeddings": 512}),
    "yarn, length beside": dict(LLAMA, original_max_position_embeddings=256, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}),
    "longrope by ratio": dict(LLAMA, max_position_embeddings=131072, original_max_position_embeddings=4096, rope_scaling={
        "type": "longrope", "short_factor": [1.0 + i / 64 for i in range(64)], "long_factor": [1.0 + i for i in range(64)]}),
    "longrope by factor": dict(LLAMA, max_position_embeddings=8192, rope_scaling={
        "type": "longrope", "factor": 16.0, "short_factor": [1.0] * 64, "long_factor": [2.0] * 64}),
    "longrope, attention_factor": dict(LLAMA, max_position_embeddings=8192, rope_scaling={
        "type": "longrope", "attention_factor": 1.5, "short_factor": [1.0] * 64, "long_factor": [2.0] * 64}),
    "dynamic": dict(LLAMA, max_position_embeddings=2048, rope_scaling={"type": "dynamic", "factor": 4.0}),
}
LENGTHS = (1, 5000, 200000)      # rows for which frequencies are taken


def read_config(members, folder):
    (folder / "config.json").write_text(json.dumps(members))
    return AutoConfig.from_pretrained(folder)


def rotary(config):
    import importlib
    kind = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2"}[config.model_type]
    module = importlib.import_module(f"transformers.models.{config.model_type}.modeling_{config.model_type}")
    return getattr(module, f"{kind}RotaryEmbedding")(config)


def said(members, folder):
    """What Transformers makes of a configuration."""
    config = read_config(members, folder)
    frequencies = []
    with Float64():
        for length in LENGTHS:
            embedding = rotary(config)
            embedding(torch.zeros(1), torch.tensor([[length - 1]]))
            frequencies.append(embedding.inv_freq.double()[[0, 1, 9, 20, 40, -1]].tolist())
        scaling = float(embedding.attention_scaling)
    layers, window = config.num_hidden_layers, getattr(config, "sliding_window", None)
    windows = {"llama": lambda: [None] * layers, "mistral": lambda: [window] * layers,
               "qwen2": lambda: [window if kind == "sliding_attention" else None for kind in config.layer_types]}[config.model_type]()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    eos = config.eos_token_id
    return {"config": members, "hidden": config.hidden_size, "intermediate": config.intermediate_size, "layers": layers,
            "heads": config.num_attention_heads, "key_value_heads": config.num_key_value_heads,
            "head_size": model.model.layers[0].self_attn.head_dim, "vocabulary": config.vocab_size, "epsilon": config.rms_norm_eps,
            "max_positions": config.max_position_embeddings, "bos": config.bos_token_id,
            "eos": eos if isinstance(eos, list) else [] if eos is None else [eos], "windows": windows,
            "parameters": sum(p.numel() for p in model.parameters()), "attention_factor": scaling, "frequencies": frequencies}


def make_weights(kind, folder, seed):
    config = read_config(dict(SHAPE, model_type=kind, architectures=[{"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2"}[kind]
                                                                     + "ForCausalLM"]), folder)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    for name, p in model.named_parameters():    # queries and keys large: attention that is far from uniform
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name: p.data = 1 + 0.3 * noise
        elif name.endswith(".bias"): p.data = 0.5 * noise
        else: p.data = (0.45 if "q_proj" in name or "k_proj" in name else 0.2) * noise
    write_tensors(folder / "model.safetensors", dict(model.named_parameters()))


def run(kind, change, folder, rows):
    """Logits of each row's last four tokens, gradients of the mean loss, a greedy continuation."""
    config = read_config(dict(SHAPE, model_type=kind, **change), folder)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float64, attn_implementation="eager").eval()
    def fresh(): model.model.rotary_emb = type(model.model.rotary_emb)(config)
    logits, loss = [], 0
    for row in rows:
        fresh()
        out = model(input_ids=torch.tensor([row]), use_cache=False).logits[0]
        logits.append(out[-4:])
        loss = loss + torch.nn.functional.cross_entropy(out[:-1], torch.tensor(row[1:]), reduction="sum")
    (loss / sum(len(row) - 1 for row in rows)).backward()
    fresh()
    prompt = rows[1][:PROMPT]
    answer = model.generate(torch.tensor([prompt]), max_new_tokens=GREEDY_TOKENS, do_sample=False, pad_token_id=0, eos_token_id=None,
                            return_dict_in_generate=True, output_logits=True)
    margin = min((best[0, 0] - best[0, 1]).item() for best in (step.topk(2).values for step in answer.logits))
    named = dict(model.named_parameters())
    kept = ["model.embed_tokens.weight"] + [f"model.layers.{i}.self_attn.{p}_proj.weight" for i in (0, 2) for p in "qkv"]
    tensors = {"logits": torch.cat(logits), **{f"gradient/{n}": named[n].grad for n in kept}}
    return tensors, {"type": kind, "change": change, "loss": loss.item() / sum(len(row) - 1 for row in rows),
                     "greedy": answer.sequences[0, PROMPT:].tolist(), "smallest_margin": margin}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    logging.set_verbosity_error()
    scratch = Path("/tmp") / "gora-attention-fixtures"
    for kind in ("llama", "mistral", "qwen2"):
        (scratch / kind).mkdir(parents=True, exist_ok=True)
        make_weights(kind, scratch / kind, {"llama": 1, "mistral": 2, "qwen2": 3}[kind])
        (out / f"{kind}.safetensors").write_bytes((scratch / kind / "model.safetensors").read_bytes())
    rng = np.random.default_rng(7)
    rows = [[1] + rng.integers(3, VOCABULARY, n - 1).tolist() for n in ROWS]
    tensors, cases = {}, {}
    with Float64():
        for name, (kind, change) in CASES.items():
            found, cases[name] = run(kind, change, scratch / kind, rows)
            tensors.update({f"{name}/{key}": value for key, value in found.items()})
            assert cases[name]["smallest_margin"] > 1e-4, (name, cases[name]["smallest_margin"])
    write_tensors(out / "golden.safetensors", tensors)
    configs = {name: said(members, scratch) for name, members in CONFIGS.items()}
    lines = lambda table: "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in rounded(table).items()) + "\n  }"
    shape = json.dumps(SHAPE)
    (out / "golden.json").write_text(f'{{\n  "shape": {shape},\n  "rows": {json.dumps(rows)},\n  "prompt": {PROMPT},\n  "lengths": '
                                     f'{json.dumps(LENGTHS)},\n  "cases": {lines(cases)},\n  "configs": {lines(configs)}\n}}\n')


if __name__ == "__main__":
    main()
