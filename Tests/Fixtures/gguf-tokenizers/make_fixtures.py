#!/usr/bin/env python3
"""Small tokenizers as GGUF files without weights, and the ids that llama.cpp gives for them.

    python -m venv env && env/bin/pip install gguf==0.19.0 xllamacpp==2026.10.11549 numpy
    env/bin/python make_fixtures.py

The vocabularies are those of ../tokenizer: `trained.json` (byte-level) and the pieces of `cases.json` (SentencePiece, with scores that
give its merges their order), each with some more special tokens and words of the user's. llama.cpp is asked through its C functions;
it wants a whole model, which is made beside each file, with random weights, and thrown away.
"""
import ctypes
import json
import random
import tempfile
from pathlib import Path

import numpy
import xllamacpp.xllamacpp
from gguf import GGUFWriter

HERE = Path(__file__).parent
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def write(path, tokenizer, weights):
    writer = GGUFWriter(str(path), "llama")
    size = 32
    writer.add_context_length(256)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(size)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokenizer["tokens"]))
    writer.add_tokenizer_model(tokenizer["model"])
    if "pre" in tokenizer:
        writer.add_tokenizer_pre(tokenizer["pre"])
    writer.add_token_list(tokenizer["tokens"])
    writer.add_token_types(tokenizer["types"])
    if "merges" in tokenizer:
        writer.add_token_merges(tokenizer["merges"])
    if "scores" in tokenizer:
        writer.add_token_scores(tokenizer["scores"])
    for key, value in tokenizer["keys"].items():
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        add(f"tokenizer.ggml.{key}", value)
    for key, value in tokenizer.get("templates", {}).items():
        writer.add_string(key, value)
    if weights:
        shapes = {"token_embd": (len(tokenizer["tokens"]), size), "output_norm": (size,)}
        for name in ["attn_norm", "ffn_norm"]:
            shapes[f"blk.0.{name}"] = (size,)
        for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]:
            shapes[f"blk.0.{name}"] = (size, size)
        for name, shape in shapes.items():
            writer.add_tensor(f"{name}.weight", numpy.full(shape, 0.01, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if weights:
        writer.write_tensors_to_file()
    writer.close()


class Parameters(ctypes.Structure):
    """llama_model_params, which is passed on as it is; it is shorter than this."""

    _fields_ = [("bytes", ctypes.c_char * 192)]


def llama():
    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    library.llama_model_default_params.restype = Parameters
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Parameters]
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    library.llama_model_get_vocab.restype = ctypes.c_void_p
    library.llama_tokenize.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
    library.llama_vocab_is_eog.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.llama_vocab_is_eog.restype = ctypes.c_bool
    library.llama_backend_init()
    return library


def ids(library, vocabulary, text):
    data = text.encode()
    buffer = (ctypes.c_int32 * (len(data) + 16))()
    count = library.llama_tokenize(vocabulary, data, len(data), buffer, len(buffer), True, True)
    return buffer[:count]


def byte_level(pre):
    trained = json.loads((HERE / "../tokenizer/trained.json").read_text())
    vocabulary = trained["model"]["vocab"]
    tokens = [""] * len(vocabulary)
    for token, number in vocabulary.items():
        tokens[number] = token
    types = [NORMAL] * len(tokens)
    for token in trained["added_tokens"]:
        types[token["id"]] = CONTROL
    tokens += ["<|im_end|>", "<tag>", "   ", f"[PAD{len(tokens) + 3}]", "<|endoftext|>"]
    types += [CONTROL, USER, USER, UNUSED, USER]
    merges = [" ".join(merge) for merge in trained["model"]["merges"]]
    return dict(
        model="gpt2", pre=pre, tokens=tokens, types=types, merges=merges,
        keys=dict(bos_token_id=0, eos_token_id=1, padding_token_id=len(vocabulary) + 3))


def sentence_piece(**keys):
    pieces = json.loads((HERE / "../tokenizer/cases.json").read_text())["pieces"]["model"]
    vocabulary = pieces["vocab"]
    tokens = [""] * len(vocabulary)
    for token, number in vocabulary.items():
        tokens[number] = token
    ranks = {"".join(merge): rank for rank, merge in reversed(list(enumerate(pieces["merges"])))}
    scores, types = [], []
    for number, token in enumerate(tokens):
        if number < 3:
            types.append(UNKNOWN if number == 0 else CONTROL)
            scores.append(0.0)
        elif token.startswith("<0x"):
            types.append(BYTE)
            scores.append(0.0)
        else:
            types.append(NORMAL)
            scores.append(-1.0 - ranks[token] if token in ranks else -1000.0 - number)
    tokens += ["<end_of_turn>", "<tag>", "   "]
    types += [USER, USER, USER]
    scores += [0.0, 0.0, 0.0]
    return dict(model="llama", tokens=tokens, types=types, scores=scores, keys=keys)


def texts():
    parts = [
        " ", "  ", "   ", "\n", "\t", "\r\n", "the cats", " and", " dogs", "12", "3", "٣", "½", "'s", "'LL", "don't", ".", "!!", "$", "<", "^",
        "|", "`", "_", "é", "e\u0301", "漢字", "🙂", "👩\u200d🌾", "\u00a0", "\u3000", "<tag>", "<|im_end|>", "</s>", "▁", "x1y", "ǅ", "ⅷ"]
    source = random.Random(1)
    made = [part for part in parts]
    made += ["".join(source.choice(parts) for _ in range(source.randint(2, 9))) for _ in range(110)]
    return list(dict.fromkeys(made))


def main():
    library = llama()
    tokenizers = {
        "gpt-2": byte_level("gpt-2"), "smollm": byte_level("smollm"), "llama-bpe": byte_level("llama-bpe"),
        "deepseek-r1-qwen": byte_level("deepseek-r1-qwen"), "default": byte_level("default"),
        "llama": sentence_piece(bos_token_id=1, eos_token_id=2, unknown_token_id=0, add_bos_token=True),
        "llama-bare": sentence_piece(add_space_prefix=False, add_bos_token=False, eot_token_id=320),
    }
    tokenizers["smollm"]["templates"] = {
        "tokenizer.chat_template": "{{ messages[0].content }}{{ eos_token }}", "tokenizer.chat_template.tool_use": "{{ tools }}"}
    tokenizers["llama"]["templates"] = {"tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}"}
    cases = {}
    for name, tokenizer in tokenizers.items():
        write(HERE / f"{name}.gguf", tokenizer, weights=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write(path, tokenizer, weights=True)
            model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
            vocabulary = library.llama_model_get_vocab(model)
            cases[name] = {
                "ends": [number for number in range(len(tokenizer["tokens"])) if library.llama_vocab_is_eog(vocabulary, number)],
                "rows": [[text, ids(library, vocabulary, text)] for text in texts()],
            }
    lines = [f"{json.dumps(name)}: " + json.dumps(case, ensure_ascii=False) for name, case in cases.items()]
    (HERE / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
