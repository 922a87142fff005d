#!/usr/bin/env python3
"""Random blocks of every type as gguf-py decodes them, and the tiny models of this folder's parent as GGUF files.

    python -m venv env && env/bin/pip install gguf==0.19.0 safetensors==0.8.0 numpy torch transformers==5.23.0 peft==0.21.2
    env/bin/python make_fixtures.py

The files are laid out as llama.cpp's converter lays them out: rows of q and k of architecture llama permuted, Llama 3's rotary scaling
as divisors in rope_freqs.weight, no output.weight where the embeddings are tied. gguf-py decodes K types and does not encode them: that is
done here, in a simple way.
"""
import importlib.util
import json
import math
import tempfile
from pathlib import Path

import numpy
from gguf import GGMLQuantizationType as Type, GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Bytes of a block at which its f16 scales stand.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
BLOCKS = 24


def make_blocks():
    """Random bits; scales are finite, some of them subnormal or zero."""
    random = numpy.random.default_rng(1)
    tensors = {}
    for name in TYPES:
        kind = Type[name]
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (BLOCKS, size), dtype=numpy.uint8)
        for at in SCALES[name]:
            scales = random.normal(0, 0.02, BLOCKS).astype(numpy.float16)
            scales[:4] = [0, 3e-7, -6e-5, 65504]
            blocks[:, at : at + 2] = scales.view(numpy.uint8).reshape(BLOCKS, 2)
        tensors[f"{name}/blocks"] = blocks
        tensors[f"{name}/values"] = quants.dequantize(blocks, kind).astype(numpy.float32).reshape(BLOCKS, elements)
    save_file(tensors, HERE / "blocks.safetensors")


def scaled(values, top):
    """The f16 scale with which integers 0 to `top` reach the largest of each row's values, and those integers."""
    scale = (values.max(axis=1, keepdims=True) / top).astype(numpy.float16)
    return scale, numpy.rint(values / numpy.maximum(scale.astype(numpy.float32), 1e-20)).clip(0, top).astype(numpy.uint8)


def encode_q45_k(values, bits):
    """Q4_K and Q5_K: eight parts of 32 with a scale and a minimum each."""
    parts = values.reshape(-1, 8, 32)
    low = numpy.minimum(parts.min(axis=2), 0)
    d, scales = scaled((parts.max(axis=2) - low) / (2**bits - 1), 63)
    least, minima = scaled(-low, 63)
    step = d.astype(numpy.float32) * scales
    offset = least.astype(numpy.float32) * minima
    codes = numpy.rint((parts + offset[..., None]) / numpy.maximum(step, 1e-20)[..., None]).clip(0, 2**bits - 1).astype(numpy.uint8)
    packed = numpy.zeros((len(parts), 12), numpy.uint8)
    packed[:, :4] = scales[:, :4] | scales[:, 4:] >> 4 << 6
    packed[:, 4:8] = minima[:, :4] | minima[:, 4:] >> 4 << 6
    packed[:, 8:] = scales[:, 4:] & 15 | (minima[:, 4:] & 15) << 4
    fifth = (codes >> 4 << numpy.arange(8, dtype=numpy.uint8)[:, None]).sum(axis=1, dtype=numpy.uint8)
    nibbles = (codes[:, ::2] & 15 | (codes[:, 1::2] & 15) << 4).reshape(-1, 128)
    fields = [d.view(numpy.uint8), least.view(numpy.uint8), packed] + [fifth] * (bits == 5) + [nibbles]
    return numpy.concatenate(fields, axis=1)


def encode_q6_k(values):
    """Sixteen parts of 16 with a signed scale each; of these every second is made negative here."""
    parts = values.reshape(-1, 16, 16)
    d, scales = scaled(numpy.abs(parts).max(axis=2) / 31, 127)
    signed = scales.astype(numpy.int8) * numpy.tile(numpy.array([1, -1], numpy.int8), 8)
    step = d.astype(numpy.float32) * signed
    codes = numpy.rint(parts / numpy.where(step == 0, 1, step)[..., None]).clip(-32, 31).astype(numpy.int8) + 32
    quarters = codes.astype(numpy.uint8).reshape(-1, 2, 4, 32)
    low = numpy.concatenate([quarters[:, :, :2] & 15 | (quarters[:, :, 2:] & 15) << 4], axis=2).reshape(-1, 128)
    high = (quarters >> 4 << numpy.arange(0, 8, 2, dtype=numpy.uint8)[:, None]).sum(axis=2, dtype=numpy.uint8).reshape(-1, 64)
    return numpy.concatenate([low, high, signed.view(numpy.uint8), d.view(numpy.uint8)], axis=1)


def encode(values, kind):
    if kind not in (Type.Q4_K, Type.Q5_K, Type.Q6_K):
        return quants.quantize(values, kind)
    blocks = encode_q6_k(values) if kind == Type.Q6_K else encode_q45_k(values, 4 if kind == Type.Q4_K else 5)
    return blocks.reshape(values.shape[0], -1)


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}


GEMMA = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}


def gguf_name(name, arch):
    for own, other in [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")]:
        if name.startswith(own + "."):
            return name.replace(own, other)
    _, _, layer, rest = name.split(".", 3)
    module, suffix = rest.rsplit(".", 1)
    names = {**NAMES, **GEMMA} if arch.startswith("gemma") else NAMES
    return f"blk.{layer}.{names[module]}.{suffix}"


def permuted(weights, heads):
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def divisors(rope, head_size):
    """Llama 3's scaling of each frequency (Transformers' _compute_llama3_parameters), as what it is divided by."""
    result = []
    for pair in range(head_size // 2):
        frequency = rope["rope_theta"] ** (-2 * pair / head_size)
        length, original = 2 * math.pi / frequency, rope["original_max_position_embeddings"]
        low, high = original / rope["low_freq_factor"], original / rope["high_freq_factor"]
        if length < high:
            result.append(1.0)
        elif length > low:
            result.append(rope["factor"])
        else:
            smooth = (original / length - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            result.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return numpy.array(result, numpy.float32)


def make_model(folder, path, kinds=lambda name: "F32", **split):
    """Writes the model of a folder; returns its weights as a reader decodes them, by their names at Hugging Face."""
    config = json.loads((HERE.parent / folder / "model/config.json").read_text())
    return write_model(config, load_file(HERE.parent / folder / "model/model.safetensors"), path, kinds, **split)


def make_family(kind, case, path, **change):
    """Writes the model of a case of ../families, changed, without the biases that it leaves aside."""
    golden = json.loads((HERE.parent / "families/golden.json").read_text())
    config = {"model_type": kind, **golden["shape"], **golden["cases"][case]["change"], **change}
    weights = load_file(HERE.parent / f"families/{kind}.safetensors")
    write_model(config, {name: w for name, w in weights.items() if not name.endswith(".bias")}, path)


def write_model(config, weights, path, kinds=lambda name: "F32", **split):
    arch = config["model_type"].removesuffix("_text") if config["model_type"].startswith(("qwen", "gemma")) else "llama"
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    writer = GGUFWriter(path, arch, **split)
    writer.add_type("model")
    writer.add_quantization_version(2)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config.get("rope_parameters") or {}
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta", 10000)))
    scaling = config.get("rope_scaling") or {}
    if scaling.get("type") == "linear":
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        writer.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("rope_type") == "linear":
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        writer.add_rope_scaling_factor(scaling["factor"])
    if arch.startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
        for key in ["attn_logit_softcapping", "final_logit_softcapping"]:
            if key in config:
                writer.add_float32(f"{arch}.{key}", config[key])
        if "sliding_window_pattern" in config:
            writer.add_uint32(f"{arch}.attention.sliding_window_pattern", config["sliding_window_pattern"])
        if "rope_local_base_freq" in config:
            writer.add_float32(f"{arch}.rope.freq_base_swa", config["rope_local_base_freq"])
    if rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", divisors(rope, head_size))
    writer.add_eos_token_id(2)
    decoded = {}
    for name in sorted(weights):
        values = weights[name].astype(numpy.float32)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        kind = Type[kinds(name)] if values.ndim == 2 else Type.F32
        if kind != Type.F32 and values.shape[1] % GGML_QUANT_SIZES[kind][0] != 0:
            kind = Type.F16
        is_permuted = arch == "llama" and (".q_proj." in name or ".k_proj." in name)
        count = heads if ".q_proj." in name else kv
        data = encode(permuted(values, count) if is_permuted else values, kind)
        writer.add_tensor(gguf_name(name, arch), data, raw_dtype=kind)
        # Blocks lie within rows, so that those of the rows as they were are the same.
        decoded[name] = quants.dequantize(encode(values, kind), kind).astype(numpy.float32).reshape(values.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return decoded


MIXED = {
    "embed_tokens": "Q8_0", "q_proj": "Q4_1", "k_proj": "Q5_0", "v_proj": "BF16", "o_proj": "Q5_1", "gate_proj": "Q4_0", "up_proj": "Q8_0",
    "down_proj": "F16",
}


def make_tiny(path):
    """A model of 1 layer and a few kilobytes with a vocabulary and several types."""
    random = numpy.random.default_rng(2)
    writer = GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_string("llama.rope.scaling.type", "linear")
    writer.add_rope_scaling_factor(2.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([chr(ord("a") + i) for i in range(6)] + ["ab", "<|end|>"])
    writer.add_token_merges(["a b"])
    writer.add_token_types([1] * 7 + [3])
    writer.add_eos_token_id(7)
    writer.add_add_bos_token(False)
    shapes = {
        "token_embd": (8, 32, "Q8_0"), "blk.0.attn_q": (32, 32, "Q4_0"), "blk.0.attn_k": (16, 32, "Q4_1"), "blk.0.attn_v": (16, 32, "Q5_0"),
        "blk.0.attn_output": (32, 32, "Q5_1"), "blk.0.ffn_gate": (32, 32, "F16"), "blk.0.ffn_up": (32, 32, "BF16"),
        "blk.0.ffn_down": (32, 32, "Q8_0"),
    }
    for name, (rows, columns, kind) in shapes.items():
        values = random.normal(0, 0.1, (rows, columns)).astype(numpy.float32)
        writer.add_tensor(f"{name}.weight", quants.quantize(values, Type[kind]), raw_dtype=Type[kind])
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"]:
        writer.add_tensor(f"{name}.weight", numpy.ones(32, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


K_TYPES = {
    "embed_tokens": "Q6_K", "q_proj": "Q6_K", "k_proj": "Q4_K", "v_proj": "Q5_K", "o_proj": "Q5_1", "gate_proj": "Q4_K", "up_proj": "Q5_K",
    "down_proj": "Q8_0",
}


def make_k_types():
    """A model of 256 columns in K types, and what Transformers says in float64 of the weights that gguf-py decodes."""
    spec = importlib.util.spec_from_file_location("models", HERE.parent / "make_fixtures.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    config = {
        **models.MODELS["llama"], "hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "initializer_range": 0.06,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        models.make_model(folder, config, seed=20)
        kinds = lambda name: K_TYPES[name.split(".")[-2]]
        decoded = write_model(config, load_file(folder / "model.safetensors"), HERE / "k-types.gguf", kinds)
        save_file(decoded, folder / "model.safetensors", metadata={"format": "pt"})
        with models.Float64():
            model = models.load_model(folder)
            rows = [json.loads(line) for line in (HERE.parent / "llama/rows.jsonl").read_text().splitlines()]
            loss = models.token_mean_loss(model, rows)
            norms = {n: g.norm().item() for n, g in models.gradients(model, loss).items()}
            greedy = models.greedy_continuations(model, rows)
        models.write_json(HERE / "k-types.json", dict(token_mean_loss=loss.item(), gradient_norms=norms, greedy=greedy))


def main():
    make_k_types()
    make_tiny(HERE / "tiny.gguf")
    make_blocks()
    for folder in ["llama3", "qwen2", "mistral"]:
        make_model(folder, HERE / f"{folder}.gguf")
    make_family("qwen3", "qwen3", HERE / "qwen3.gguf")
    # Scores are divided by the root of the size of a head, as llama.cpp has it.
    for kind, case in [("gemma2", "gemma2"), ("gemma3_text", "gemma3")]:
        make_family(kind, case, HERE / f"{case}.gguf", query_pre_attn_scalar=8)
    mixed = make_model(
        "llama", HERE / "mixed.gguf", lambda name: MIXED[name.split(".")[-2]], split_max_tensors=12, small_first_shard=True)
    save_file(mixed, HERE / "mixed.safetensors", metadata={"format": "pt"})


main()
