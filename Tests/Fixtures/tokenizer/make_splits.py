"""Writes splits.json: where tokenizers 0.23.3 cuts some texts by regular expressions of published models and by others. Run in this
folder after make_fixtures.py, whose texts it takes."""
import json

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

texts = list(dict.fromkeys(row[0] for row in json.load(open("cases.json"))["cases"][0]["rows"]))
texts += ["XMLHttpRequest fooBar ÀÉÎ ǅ ʰa ﬁ", "I'LL 'Tis it'ſ K'K", "a_b/c//d\n\n\n e", "1234567 1,234.5 ½ ٣٤", "中文 混合 text，标点。", "\u0301a b\u0301c", "a\u2028b\u0085c\u001fd", "<|startoftext|>a<|endoftext|><|endo"]
upper, lower = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
words = contractions + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
cased = r"[^\r\n\p{L}\p{N}]?[" + upper + "]*[" + lower + "]+%s|[^\\r\\n\\p{L}\\p{N}]?[" + upper + "]+[" + lower + r"]*%s|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
expressions = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", words % r"\p{N}{1,3}", words % r"\p{N}", r"\p{N}",
    cased % ("", "", r"\p{N}"), cased % (contractions + "?", contractions + "?", r"\p{N}{1,3}"),
    r"\p{N}{1,3}", r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥]+", r"[0-9][0-9][0-9]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯ]+", r"[^\S ]+", r"\P{L}+",
    r"a+?", r"(?:th|the|t)e?", r"(?:the|th|t)", r"\d+|\D", r"e(?=\s)", r"[\p{L}\p{M}]+|[^\p{L}\p{M}]", r"a{2,3}", r" {2,}", r"(?i:k|s)+", r".", r"\.", r"[.\-,]",
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", r"\s+",
]
refused = [r"a*", r"(?<=a)b", r"\bthe\b", r"^a", r"a++", r"(a)\1", r"[a&&b]", r"[[:alpha:]]", r"\p{Han}", r"\X", r"(?i:ss)", r"(?i:é)", r"(?=ab)a", "(a"]
cuts = []
for i, expression in enumerate(expressions):
    behavior = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"][i % 5 if i > 5 else 0]
    split = Split(Regex(expression), behavior)
    ends = [[len(t[:place].encode()) for _, pair in split.pre_tokenize_str(t) for place in pair] for t in texts]
    cuts.append({"expression": expression, "behavior": behavior.title().replace("_", "").replace("with", "With"), "cuts": ends})
with open("splits.json", "w") as out:
    json.dump({"texts": texts, "refused": refused}, out, ensure_ascii=False)
    out.seek(out.tell() - 1)
    out.write(',\n"splits": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cuts) + "\n]}\n")
