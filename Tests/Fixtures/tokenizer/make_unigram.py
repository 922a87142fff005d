"""Writes unigram.json, clip.json and, to be changed by a fuzzer, tiny_unigram.json and tiny_clip.json: small tokenizers cut out of the real ones of T5 and CLIP, and what HF tokenizers (0.23.3) and
Transformers' tokenizer classes (5.23.0) make of some strings with them. Run in this folder, with the folder of the real ones (t5, clip):

    python make_unigram.py ../../../../shared/data/tokenizers"""
import base64
import copy
import json
import os
import struct
import sys
import tempfile

import transformers
from tokenizers import Tokenizer

transformers.logging.set_verbosity_error()
source = sys.argv[1]
texts = [
    "", " ", "\n", "hello world", " hello  world ", "the cat sat on the mat", "12345 + 678 = 13023", "It's John's, we'll see", "DON'T WE'RE",
    "a\n\n  b\t c\r\n", "café naïve", "cafe\u0301", "e\u0301\u0301", "日本語 テキスト", "привет мир", "👍🏽 ok", "\u200b\u00a0\u3000x", "a</s> b",
    "▁a▁▁b", "½²Ⅷ٣", "ﬁne", "ﬁ\u0301", "ﬁ\u0301\u0301\u0301", "①② x", "\u1100\u1161\u11a8", "\x00a", "A\u030a\u0301", "ΑΣ İ ǅ", "thethethe " * 4,
    "<pad>x <unk> y", "cola sentence: The book was bought by John.", "a{b}c~d <e>", "a photo of a cat.", "<|startoftext|>a<|endoftext|> b",
    "\u1e9b\u0323", "abababababab", "\u0085x", "{~", "~日", "\u3000 the",
]


def part_of_charsmap(charsmap, letters):
    """The entries for `letters` of a precompiled_charsmap, as another: a double array of one block a node, darts-clone's units."""
    size = struct.unpack("<I", charsmap[:4])[0]
    units = struct.unpack(f"<{size // 4}I", charsmap[4:4 + size])
    replacements = charsmap[4 + size:]
    offset = lambda unit: (unit >> 10) << ((unit & 512) >> 6)
    entries = {}
    for letter in letters:
        key, at = letter.encode(), offset(units[0])
        for i, byte in enumerate(key):
            at ^= byte
            if units[at] & 0x800000FF != byte:
                break
            at ^= offset(units[at])
            if units[at ^ offset(0)] and units[(at)] >> 31 and i + 1 == len(key):
                start = units[at] & 0x7FFFFFFF
                entries[key] = replacements[start:replacements.index(b"\0", start)]
    tree, texts = {}, b""
    for key, value in entries.items():
        node = tree
        for byte in key:
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += value + b"\0"
    blocks = []  # block b holds the units of the node whose base is 256 b

    def write(node):
        base = len(blocks)
        blocks.append([0] * 256)
        for byte, child in sorted(node.items()):
            if byte == 0:
                blocks[base][0] = 1 << 31 | child
            else:
                to = write(child)
                at = base * 256 + byte
                blocks[base][byte] = (at ^ (to * 256)) << 10 | (256 if 0 in child else 0) | byte
        return base

    blocks.append([0] * 256)  # the root unit alone
    root = write(tree)
    blocks[0][0] = root * 256 << 10
    flat = [unit for block in blocks for unit in block]
    return struct.pack(f"<I{len(flat)}I", 4 * len(flat), *flat) + texts


t5 = json.load(open(f"{source}/t5/tokenizer.json"))
whole = Tokenizer.from_file(f"{source}/t5/tokenizer.json")
used = {0, 1, 2, 3} | {i for text in texts for i in whole.encode(text).ids}
characters = {c for text in texts for c in whole.normalizer.normalize_str(text)}
pieces = [p for i, p in enumerate(t5["model"]["vocab"][:32000]) if i in used or len(p[0]) == 1 and p[0] in characters or i < 200]
charsmap = part_of_charsmap(base64.b64decode(t5["normalizer"]["precompiled_charsmap"]), sorted({"\n", "\t", "\r", "é", "e\u0301", "ﬁ", "½", "²", "Ⅷ", "①", "②",
    "\u00a0", "\u3000", "\u200b", "A\u030a", "\u1e9b\u0323", "a\u0300"}))
t5["normalizer"]["precompiled_charsmap"] = base64.b64encode(charsmap).decode()
t5["model"]["vocab"] = pieces
t5["added_tokens"] = t5["added_tokens"][:3]

clip = json.load(open(f"{source}/clip/tokenizer.json"))
whole = Tokenizer.from_file(f"{source}/clip/tokenizer.json")
merges = [tuple(m.split(" ")) for m in clip["model"]["merges"]]
wanted = {t for text in texts for t in whole.encode(text).tokens}
kept = []
for left, right in reversed(merges):
    if left + right in wanted:
        wanted |= {left, right}
        kept.append(f"{left} {right}")
bytes_ = [t for t, i in sorted(clip["model"]["vocab"].items(), key=lambda item: item[1]) if i < 512]
vocabulary = bytes_ + [m.replace(" ", "", 1) for m in reversed(kept)] + ["<|startoftext|>", "<|endoftext|>"]
clip["model"].update(vocab={t: i for i, t in enumerate(vocabulary)}, merges=kept[::-1])
for token in clip["added_tokens"]:
    token["id"] = vocabulary.index(token["content"])
for key, token in (("cls", "<|startoftext|>"), ("sep", "<|endoftext|>")):
    clip["post_processor"][key] = [token, vocabulary.index(token)]


def rows(tokenizer):
    """text, ids, with special tokens, decoded, decoded without special tokens, offsets in bytes; null where normalisation is no
    one-to-one replacement of characters, for which HF's offsets drift."""
    hf = Tokenizer.from_str(json.dumps(tokenizer))
    bare = Tokenizer.from_str(json.dumps({**tokenizer, "post_processor": None}))
    written = []
    for text in texts:
        ids = hf.encode(text, add_special_tokens=False).ids
        normal = [hf.normalizer.normalize_str(c) if hf.normalizer else c for c in text]
        aligned = all(len(c) == 1 for c in normal) and (not hf.normalizer or "".join(normal) == hf.normalizer.normalize_str(text))
        offsets = [len(text[:end].encode()) for pair in bare.encode(text).offsets for end in pair] if aligned else None
        written.append([text, ids, hf.encode(text).ids, hf.decode(ids, skip_special_tokens=False), hf.decode(ids), offsets])
    return written


def folder_rows(tokenizer, config, settings):
    with tempfile.TemporaryDirectory() as folder:
        for file, value in (("config.json", config), ("tokenizer_config.json", settings), ("tokenizer.json", tokenizer)):
            if value is not None:
                json.dump(value, open(os.path.join(folder, file), "w"))
        auto = transformers.AutoTokenizer.from_pretrained(folder)
        written = []
        for text in texts + ["x <extra_id_0><extra_id_99> y <foo>"]:
            ids = auto(text, add_special_tokens=False)["input_ids"]
            written.append([text, ids, auto(text)["input_ids"], auto.decode(ids), auto.decode(ids, skip_special_tokens=True)])
        return {k: v for k, v in auto.special_tokens_map.items() if isinstance(v, str)}, written


metaspace = lambda scheme, split: {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
changes = {"t5": [("plain", {})], "clip": [("plain", {})]}
for scheme in ("always", "first", "never"):
    for split in (True, False):
        step = metaspace(scheme, split)
        changes["t5"].append((f"metaspace {scheme} {split}", {"pre_tokenizer": step, "decoder": step}))
        steps = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, step]}
        changes["t5"].append((f"white space, metaspace {scheme} {split}", {"pre_tokenizer": steps, "decoder": step}))
bytes_of_t5 = pieces + [[f"<0x{i:02X}>", -20.0 - i / 256] for i in range(256)]
changes["t5"].append(("byte fallback", {"model": {"type": "Unigram", "unk_id": 2, "vocab": bytes_of_t5, "byte_fallback": True}, "decoder": {
    "type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace("always", True)]}}))
changes["t5"].append(("bytes without fallback", {"model": {"type": "Unigram", "unk_id": 2, "vocab": bytes_of_t5, "byte_fallback": False}}))
changes["t5"].append(("ties and an unknown piece of several", {"normalizer": None, "pre_tokenizer": None, "model": {"type": "Unigram", "unk_id": 0, "vocab": [
    ["<unk>", 0.0], ["a", -1.0], ["b", -1.0], ["ab", -2.0], ["ba", -2.0], ["aba", -3.0], ["bab", -2.5], ["日本", -40.0], [" ", -1.5], ["t", -3.0], ["th", -3.5], ["the", -9.0], ["e", -2.0], ["h", -7.5]]}}))
changes["t5"].append(("no type", {"model": {"unk_id": 2, "vocab": pieces}}))
changes["clip"].append(("a template", {"post_processor": {"type": "TemplateProcessing", "single": [
    {"SpecialToken": {"id": "<|startoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {t: {"id": t, "ids": [vocabulary.index(t)], "tokens": [t]} for t in ("<|startoftext|>", "<|endoftext|>")}}}))
changes["clip"].append(("characters without bytes", {"pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None}))
extra = [f"<extra_id_{i}>" for i in range(100)]
folders = {
    "t5": [("no settings", {"model_type": "t5"}, None), ("its class", {"model_type": "t5"}, {"tokenizer_class": "T5TokenizerFast", "eos_token": "</s>", "extra_ids": 3}),
           ("listed", {"model_type": "t5"}, {"tokenizer_class": "T5Tokenizer", "additional_special_tokens": extra, "extra_ids": 100}),
           ("others listed", {"model_type": "t5"}, {"tokenizer_class": "T5Tokenizer", "extra_special_tokens": ["<foo>"]}),
           ("as it is", {"model_type": "llama"}, {"tokenizer_class": "PreTrainedTokenizerFast"})],
    "clip": [("no settings", {"model_type": "clip"}, None),
             ("its class", {"model_type": "clip"}, {"tokenizer_class": "CLIPTokenizer", "unk_token": {"content": "<|endoftext|>", "__type": "AddedToken", "normalized": True,
                 "lstrip": False, "rstrip": False, "single_word": False}, "bos_token": "<|startoftext|>", "pad_token": "!", "extra_special_tokens": ["<foo>"]})],
}
whole_map = base64.b64decode(json.load(open(f"{source}/t5/tokenizer.json"))["normalizer"]["precompiled_charsmap"])
tiny = copy.deepcopy(t5)
tiny["normalizer"]["precompiled_charsmap"] = base64.b64encode(part_of_charsmap(whole_map, ["\n", "é"])).decode()
tiny["model"].update(vocab=pieces[:4] + [p for p in pieces if p[0] in ("e", "l", "o", "he", "▁He", "▁the", "wor", "1")] + [["<0x0A>", -9.0]], byte_fallback=True)
with open("tiny_unigram.json", "w") as out:
    json.dump(tiny, out, ensure_ascii=False, separators=(",", ":"))
tiny = copy.deepcopy(clip)
tiny["model"].update(vocab={t: i for i, t in enumerate(["h", "e", "l", "o</w>", "he", "hel", "<|startoftext|>", "<|endoftext|>"])}, merges=["h e", "he l"])
for token in tiny["added_tokens"]:
    token["id"] = 6 + (token["content"] == "<|endoftext|>")
tiny["post_processor"].update(cls=["<|startoftext|>", 6], sep=["<|endoftext|>", 7])
with open("tiny_clip.json", "w") as out:
    json.dump(tiny, out, ensure_ascii=False, separators=(",", ":"))
for name, base in (("t5", t5), ("clip", clip)):
    cases = [{"name": what, "change": change, "rows": rows({**copy.deepcopy(base), **change})} for what, change in changes[name]]
    written = []
    for what, config, settings in folders[name]:
        special, made = folder_rows(base, config, settings)
        written.append({"name": what, "files": {"config.json": config, **({"tokenizer_config.json": settings} if settings else {})}, "special": special, "rows": made})
    file = {"tokenizer": base, "cases": cases, "folders": written}
    with open({"t5": "unigram.json", "clip": "clip.json"}[name], "w") as out:
        json.dump(file, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")
