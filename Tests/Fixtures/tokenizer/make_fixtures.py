"""Writes cases.json: what HF tokenizers (0.23.3) makes of some strings with the settings that the real models have
and those they lack. Run in this folder; trained.json comes from BPETrainerTests (GORA_UPDATE_FIXTURES=1)."""
import copy
import json

from tokenizers import Tokenizer

texts = [
    "", " ", "  ", "\n", "hello world", " hello  world ", "the cat sat on the mat", "12345 + 678 = 13023",
    "x=12,y=3.5%", "It's John's, we'll see", "DON'T WE'RE I'LL 'ſ", "a\n\n  b\t c\r\n", "café naïve", "cafe\u0301",
    "\u1f77 and \u03af", "日本語 テキスト", "привет мир", "👍🏽 ok 👨‍👩‍👧", "\u200b\u00a0\u3000x", "<s>a</s> b", "a <tool> b<tool>c",
    "foo food foo", "foo,foo foo", "a<end>  b <end>", "foo bar", "see foo bar!", "é éé  é x", "▁a▁▁b", "a ▁ b", "½²Ⅷ٣",
    "\x00\x07", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "thethethe " * 12,
    "<0x41><0x0A>", "<|im_end|>", "Q: 3 apples cost $4.50?\nA: #### 42", "end ", "def f(x):\n    return x**2\n",
    "naïve <tool>\u3000<end>\u2003x", "żółć ñandú",
]
trained = json.load(open("trained.json"))
letters = sorted({c for t in texts for c in t if c.isascii() and c.isalpha()} | set("é0123456789"))
pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + ["▁"] + letters
merges = [["t", "h"], ["▁", "t"], ["▁t", "h"], ["th", "e"], ["▁th", "e"], ["▁", "▁"], ["▁▁", "▁▁"], ["o", "r"], ["a", "a"],
          ["aa", "aa"], ["▁", "a"], ["e", "r"], ["l", "l"], ["o", "o"], ["h", "e"], ["▁t", "he"]]
pieces += [p for p in dict.fromkeys(a + b for a, b in merges) if p not in pieces]
special = lambda i, c, **k: {"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                             "special": True, **k}
sp = copy.deepcopy(trained)
sp["added_tokens"] = [special(i, c) for i, c in enumerate(pieces[:3])]
sp["normalizer"] = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
sp["pre_tokenizer"] = None
sp["post_processor"]["special_tokens"]["<s>"]["ids"] = [1]
sp["decoder"] = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
sp["model"].update(vocab={p: i for i, p in enumerate(pieces)}, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)

bytelevel = lambda prefix, regex: {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}
sequence = lambda *steps: {"type": "Sequence", "pretokenizers": list(steps)}
split = lambda pattern, behavior, invert: {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
regex = json.loads(json.dumps(trained))["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
variants = [("bytes", "plain", {}), ("pieces", "plain", {})]
for prefix in (True, False):
    variants.append(("bytes", f"gpt2 {prefix}", {"pre_tokenizer": bytelevel(prefix, True)}))
    digits = {"type": "Digits", "individual_digits": prefix}
    variants.append(("bytes", f"digits {prefix}", {"pre_tokenizer": sequence(digits, bytelevel(False, True))}))
variants.append(("bytes", "llama3", {"pre_tokenizer": sequence(
    split({"Regex": regex.replace("|\\p{N}|", "|\\p{N}{1,3}|")}, "Isolated", False), bytelevel(False, False))}))
variants.append(("bytes", "nfc", {"normalizer": {"type": "NFC"}}))
variants.append(("bytes", "no decoder", {"decoder": None}))
for i, behavior in enumerate(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]):
    for invert in (False, True):
        pattern = [{"String": " "}, {"Regex": "\\p{N}"}, {"String": "the"}][(i + invert) % 3]
        variants.append(("bytes", f"{behavior} {invert}", {
            "pre_tokenizer": sequence(split(pattern, behavior, invert), bytelevel(False, False))}))
for scheme in ("always", "first", "never"):
    for splits in (True, False):
        step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}
        variants.append(("pieces", f"metaspace {scheme} {splits}", {"normalizer": None, "pre_tokenizer": step, "decoder": step}))
for fuse in (True, False):
    variants.append(("pieces", f"unknown {fuse}", {"model": {"byte_fallback": False, "fuse_unk": fuse}}))
variants.append(("pieces", "merges across words", {"model": {
    "vocab": {**sp["model"]["vocab"], "e▁": len(pieces), "e▁t": len(pieces) + 1}, "merges": [["e", "▁"], ["e▁", "t"]] + merges}}))
variants.append(("bytes", "ignore merges", {"model": {"ignore_merges": True, "merges": []}}))
for base, tokenizer in (("bytes", trained), ("pieces", sp)):
    for kind in ("BertProcessing", "RobertaProcessing"):
        more = {"trim_offsets": False, "add_prefix_space": False} if kind[0] == "R" else {}
        variants.append((base, kind, {"post_processor": {"type": kind, "sep": ["</s>", 1], "cls": ["<s>", 0], **more}}))
    n = len(tokenizer["model"]["vocab"])
    variants.append((base, "added tokens", {"added_tokens": tokenizer["added_tokens"] + [
        special(n, "<tool>", lstrip=True), special(n + 1, "foo", single_word=True, special=False),
        special(n + 2, "<end>", rstrip=True), special(n + 3, "foo bar", special=False, normalized=True),
        special(n + 4, "éé", special=False, normalized=True, lstrip=True, rstrip=True),
        special(n + 5, "sat on", special=False, normalized=True, single_word=True)]}))

    variants.append((base, "added tokens in stripped blanks", {"added_tokens": tokenizer["added_tokens"] + [
        special(n, "<end>", rstrip=True), special(n + 1, " b", lstrip=True), special(n + 2, "  <end>", single_word=True)]}))
    variants.append((base, "ids that nobody gives", {"added_tokens": tokenizer["added_tokens"] + [
        special(n + 50, "<tool>"), special(n + 50, "<end>"), special(2, "foo", special=False, normalized=True)]}))

cases = []
for base, name, change in variants:
    tokenizer = copy.deepcopy(trained if base == "bytes" else sp)
    for key, value in change.items():
        tokenizer[key] = {**tokenizer["model"], **value} if key == "model" else value
    hf = Tokenizer.from_str(json.dumps(tokenizer))
    # Offsets are compared as they are before the post-processor, which trims blanks off them.
    bare = Tokenizer.from_str(json.dumps({**tokenizer, "post_processor": None}))
    rows = []
    for text in texts:
        ids = hf.encode(text, add_special_tokens=False).ids
        offsets = [len(text[:end].encode()) for pair in bare.encode(text).offsets for end in pair]
        rows.append([text, ids, hf.encode(text).ids, hf.decode(ids, skip_special_tokens=False), hf.decode(ids), offsets])
    cases.append({"base": base, "name": name, "change": change, "rows": rows})
with open("cases.json", "w") as out:
    out.write('{"pieces": ' + json.dumps(sp, ensure_ascii=False) + ',\n"cases": [\n')
    for i, case in enumerate(cases):
        rows = case.pop("rows")
        out.write(json.dumps(case, ensure_ascii=False)[:-1] + ', "rows": [\n')
        out.write(",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows))
        out.write("]}" + (",\n" if i + 1 < len(cases) else "\n"))
    out.write("]}\n")
