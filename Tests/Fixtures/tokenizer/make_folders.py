"""Writes folders.json: what Transformers' AutoTokenizer (5.23.0, tokenizers 0.23.3) makes of some texts with the files of a checkpoint
folder that speak of its tokenizer. Run in this folder after make_fixtures.py, whose trained.json and pieces it takes."""
import copy
import json
import os
import tempfile

import transformers

transformers.logging.set_verbosity_error()
bases = {"bytes": json.load(open("trained.json")), "pieces": json.load(open("cases.json"))["pieces"]}
texts = ["Bees hum.", " the  cat", "", "<s>the cat</s> the", "<|im_start|>user\nHi 123<|im_end|>\n", "a <pad> b<pad>c", "<unk><image> the",
         "x <end> y", "cafe\u0301 日本 1\u0301", "the<|endoftext|>the", "\u3000the\u00a0<s> "]
token = lambda content, **k: {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **k}
typed = lambda content, **k: {"__type": "AddedToken", **token(content, **k)}
marks = ["<|im_start|>", "<|im_end|>"]


def decoder(base, *more):
    own = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in bases[base]["added_tokens"]}
    top = len(bases[base]["model"]["vocab"])
    return {**own, **{str(top + i): t for i, t in enumerate(more)}}


# name, base, config.json, tokenizer_config.json, changes of tokenizer.json, other files
cases = []
add = lambda name, base, config=None, settings=None, change=None, files=None: cases.append(
    (name, base, {"model_type": "llama", **(config or {})}, settings, change or {}, files or {}))
for base in bases:
    for model in ("llama", "mistral", "qwen2"):
        add(f"no settings, {model}", base, {"model_type": model})
        for name in ("PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer", "NobodysTokenizer"):
            add(f"{name}, {model}", base, {"model_type": model}, {"tokenizer_class": name, "bos_token": "<s>", "eos_token": "</s>"})
    add("class in config.json", base, {"tokenizer_class": "GPT2Tokenizer" if base == "bytes" else "LlamaTokenizer"}, {"eos_token": "</s>"})
    for model in ("qwen3", "gemma2", "gemma3_text"):
        add(f"no settings, {model}", base, {"model_type": model})
        for name in ("PreTrainedTokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "NobodysTokenizer"):
            if base == "pieces" or "Gemma" not in name:
                add(f"{name}, {model}", base, {"model_type": model}, {"tokenizer_class": name, "bos_token": "<s>", "eos_token": "</s>"})
    for name in ("PreTrainedTokenizerFast", "LlamaTokenizer" if base == "pieces" else "GPT2Tokenizer"):
        put = lambda what, settings, **k: add(f"{name}: {what}", base, None, {"tokenizer_class": name, **settings}, **k)
        put("marks in added_tokens_decoder", {"added_tokens_decoder": decoder(base, *map(token, marks))})
        put("flags in added_tokens_decoder", {"added_tokens_decoder": decoder(
            base, token("<|im_start|>", lstrip=True, rstrip=True), token("<end>", special=False, normalized=True, single_word=True))})
        put("added_tokens_decoder with marks alone", {"added_tokens_decoder": {"7": token("the"), "900": token("<end>")}, "bos_token": "<s>"})
        put("an empty added_tokens_decoder", {"added_tokens_decoder": {}, "unk_token": None, "eos_token": None})
        put("additional_special_tokens", {"additional_special_tokens": marks})
        put("extra_special_tokens", {"extra_special_tokens": [*marks, typed("<end>", rstrip=True)], "additional_special_tokens": ["<pad>"]})
        put("named extra_special_tokens", {"extra_special_tokens": {"image_token": "<image>", "end": "<end>"}})
        put("a token of its own", {"image_token": "<image>", "pad_token": typed("<pad>", lstrip=True)})
        put("a special token that is an ordinary one", {"bos_token": "the", "pad_token": "<pad>"})
        for flag in (True, False):
            put(f"add_prefix_space {flag}", {"add_prefix_space": flag})
            put(f"add_bos_token {flag}", {"add_bos_token": flag, "add_eos_token": True, "bos_token": "<s>", "eos_token": "</s>"})
        put("legacy", {"legacy": True})
        put("split_special_tokens", {"split_special_tokens": True, "eos_token": "</s>"})
        put("no post-processor", {"add_bos_token": True, "bos_token": "<s>"}, change={"post_processor": None})
        put("truncation and padding", {}, change={
            "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"}})
        put("special_tokens_map.json", {"pad_token": "<s>"}, files={"special_tokens_map.json": {
            "pad_token": "<pad>", "eos_token": token("</s>", lstrip=True), "additional_special_tokens": ["<|im_start|>"]}})
        put("added_tokens.json", {"pad_token": "<pad>"}, files={"added_tokens.json": {"<end>": 901, "<pad>": 900}})
    if base == "pieces":
        put = lambda what, settings, **k: add(f"GemmaTokenizer: {what}", base, {"model_type": "gemma2"}, {"tokenizer_class": "GemmaTokenizer", **settings}, **k)
        put("its own names", {})
        put("marks in added_tokens_decoder", {"added_tokens_decoder": decoder(base, *map(token, marks)), "bos_token": "<s>"})
        put("an ordinary token", {"bos_token": "the", "pad_token": "<pad>", "mask_token": None})
        put("add_prefix_space", {"add_prefix_space": True, "spaces_between_special_tokens": False})
        put("additional_special_tokens", {"additional_special_tokens": marks, "unk_token": "<unk>"})
        put("no post-processor", {"add_bos_token": True, "bos_token": "<s>"}, change={"post_processor": None})
        put("padding", {"pad_token": None}, change={
            "padding": {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"}})
    add("special_tokens_map.json alone", base, None, None, files={"special_tokens_map.json": {"eos_token": "</s>", "pad_token": "<pad>"}})
    add("ids with gaps", base, None, None, {"added_tokens": bases[base]["added_tokens"] + [
        {"id": 990, **token("<end>")}, {"id": 950, **token("<pad>")}, {"id": 3, **token("<|im_end|>")}]})
    add("two tokens of one id", base, None, None, {"added_tokens": bases[base]["added_tokens"] + [
        {"id": 400, **token("<pad>", lstrip=True)}, {"id": 400, **token("<pad>", rstrip=True)}, {"id": 400, **token("<end>")}]})

written = []
for name, base, config, settings, change, files in cases:
    tokenizer = {**copy.deepcopy(bases[base]), **change}
    with tempfile.TemporaryDirectory() as folder:
        all_files = {"config.json": config, "tokenizer_config.json": settings, "tokenizer.json": tokenizer, **files}
        for file, value in all_files.items():
            if value is not None:
                json.dump(value, open(os.path.join(folder, file), "w"))
        try:
            auto = transformers.AutoTokenizer.from_pretrained(folder)
            rows = []
            for text in texts:
                ids = auto(text, add_special_tokens=False)["input_ids"]
                rows.append([text, ids, auto(text)["input_ids"], auto.decode(ids), auto.decode(ids, skip_special_tokens=True)])
            special = {k: v for k, v in auto.special_tokens_map.items() if isinstance(v, str)}
        except Exception as error:
            print(name, base, type(error).__name__, str(error)[:100])
            continue
    files = {"config.json": config, **({"tokenizer_config.json": settings} if settings is not None else {}), **files}
    written.append({"name": name, "base": base, "change": change, "files": files, "special": special, "rows": rows})
with open("folders.json", "w") as out:
    out.write("[" + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in written) + "]\n")
print(len(written), "folders")
