"""Writes matching.json: which modules PEFT 0.21.2 adapts by some configurations, which keys of rank_pattern it applies to them, and
what Python's re says of regular expressions."""
import json
import re

from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.other import get_pattern_key

layer = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
names = [f"model.layers.{i}.{m}" for i in (0, 1, 2, 10, 11, 21) for m in layer] + [
    "lm_head", "model.layers.1.experts.10.up_proj", "model.h.3.q_proj", "h.2.q_proj", "q_proj", "model.blocks.layers.2.q_proj"]
configs = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["proj", "lm_head", "1.self_attn.q_proj", "model.layers.2.mlp.up_proj"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [2, 3, 10]},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": 1},
    {"target_modules": ["q_proj", "up_proj", "lm_head"], "layers_to_transform": [2, 10], "layers_pattern": "layers"},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [2, 3, 10], "layers_pattern": ["h", "experts"]},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [2], "layers_pattern": ["blocks.layers"]},
    {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [], "layers_pattern": []},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["k_proj", "1.self_attn.q_proj"]},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*layers\.(1|21)\..*"},
    {"target_modules": r".*(q|v)_proj"},
    {"target_modules": r"model\.layers\.\d+\.self_attn\.[qkv]_proj"},
    {"target_modules": r"model\.layers\.(?:[02]|1[01])\.mlp\.(up|down)_proj$"},
    {"target_modules": "q_proj"},
    {"target_modules": r"^.*\.(?P<part>self_attn)\.\w_proj", "exclude_modules": ["o_proj"]},
]
keys = [
    "q_proj", "^q_proj", "model.layers.1.self_attn.q_proj", "^model.layers.1.self_attn.q_proj", "1.self_attn.q_proj", "layers.1.*", "proj",
    r"model\.layers\.1\..*q_proj", "layers.1..self_attn.q_proj", "(q|v)_proj", "q_proj$", "[qk]_proj", r"layers\.\d\.mlp\..*", "o?_proj",
    r"layers\.1\d?\.self_attn\.(q|k)_proj", ".*", "", ".", "a|up_proj", r"(self_attn\.)?[^.]+_proj", r"1{2}\.mlp\.\w+", "^.*layers.2.*",
]
expressions = [
    "a*", "a+b?", "(a|b)*c", "(?:ab){2}", "(ab){1,2}c", "a{,2}b", "a{2,}", "a{b", "a{1,2", "[]a]+", "[^]a]+", "[a-c-]+", r"[\d.]+", r"\w+\b.\w+", r"a\Bb",
    r"\Aab\Z", "^ab$", "a|", "|a", "(|a)b", "(a*)*b", "(a?){3}", r"[\w-]+", r"a\.b", r"\s*a", "a.b", "(?P<x>a)b", "ab??", "a+?b", "", "x*y*z*", "[a-]b", r"[\]]",
    "(a", "a)", "*a", "a**", "[b-a]", "a{3,2}", "(?=a)b", r"(a)\1", "(?i)A", "a++", r"\q", "[a", "(?<!a)b", "a\\",
]
texts = ["", "a", "b", "ab", "aab", "abb", "abab", "ababc", "cab", "abc", "ac", "c", "a{b", "a{1,2", "]", "]]a", "b-c", "3.14", "a.b", "a-b", "a\nb", "é3", " a", "aaa", "y", "xz", "-b"]
written = {"names": names, "configs": [], "keys": [], "texts": texts, "expressions": []}
for config in configs:
    lora = LoraConfig(**config)
    adapted = [n for n in names if (found := check_target_module_exists(lora, n)) and not isinstance(found, _ExcludedModule)]
    written["configs"].append({"config": config, "adapted": adapted})
for key in keys:
    written["keys"].append({"key": key, "matches": [n for n in names if get_pattern_key([key], n) == key and re.match(rf"(.*\.)?({key})$", n)]})
for expression in expressions:
    try:
        matches = [bool(re.fullmatch(expression, t)) for t in texts]
    except re.error:
        matches = None
    written["expressions"].append({"expression": expression, "matches": matches})
json.dump(written, open("matching.json", "w"), indent=0)
