"""Makes golden.json: what Transformers, Python's re and str.format, and exact fractions say of what gora-eval's tasks compute.

    pip install torch==2.13.0 transformers==5.23.0 && python3 make_fixtures.py [folder of stories260K]

The model is ../llama/model in float64. With a folder of the checkpoint stories260K also stories.json, whose test skips
where that checkpoint is not beside the project.
"""

import json
import re
import sys
from fractions import Fraction
from math import comb
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

here = Path(__file__).resolve().parent


def beams(model):
    """Best of a search with 2 to 5 beams, for end tokens that come early, late, and several."""
    cases = []
    prompts = [[1], [1, 62, 40, 55, 25, 11, 34], [1, 30], [9, 9, 9, 9], [1, 30, 43, 63, 19, 55, 11, 24, 51, 18, 43], [7, 3, 60]]
    for count, ends, length in [(2, [2], 12), (4, [2], 16), (4, [33, 53, 14], 16), (3, [11], 1), (5, [40, 41], 20), (4, list(range(20, 30)), 9)]:
        for prompt in prompts:
            out = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), num_beams=count, do_sample=False,
                max_new_tokens=length, eos_token_id=ends, pad_token_id=0)
            new = out[0, len(prompt):].tolist()
            # Without the end token, and without padding after it.
            new = new[: next((i for i, token in enumerate(new) if token in ends), len(new))]
            cases.append({"beams": count, "ends": ends, "length": length, "prompt": prompt, "tokens": new})
    return cases


def likelihood(model, ids, context):
    """Sum of log p over what follows the first `context` ids."""
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(context, len(ids)))


def choices(model):
    """Questions whose choices share all of their context, a part of it, and nothing."""
    context = [1, 30, 43, 63, 19, 55]
    questions = [
        [(context + end, len(context)) for end in ([11], [24, 51, 18, 43], [7, 3, 60])],
        [([1, 5, 9], 1), ([1, 6], 1)],
        [([1, 30, 43, 8, 19, 20, 21], 5), ([1, 30, 43, 9, 9, 19, 20, 21], 6)],
        [([4, 5, 6, 7], 3), ([8, 5, 6, 7], 3)],
        [([1] + [(7 * i) % 61 + 2 for i in range(150)] + [end, 5], 150) for end in (3, 4)],
    ]
    return [
        {"choices": [{"ids": ids, "context": n, "log_likelihood": likelihood(model, ids, n)} for ids, n in question]}
        for question in questions
    ]


def pass_at_k():
    """1 - C(n - c, k) / C(n, k) in exact fractions."""
    return [
        {"n": n, "c": c, "k": k, "value": float(1 - Fraction(comb(n - c, k), comb(n, k)))}
        for n, c, k in [(1, 0, 1), (1, 1, 1), (5, 2, 1), (5, 2, 3), (5, 3, 3), (20, 1, 10), (20, 7, 10), (200, 13, 100), (200, 1, 1), (200, 150, 100)]
    ]


def post_processed(text):
    """LoRA-GA's rule in other words: see its eval_humaneval.py."""
    text = re.sub(r"(\"{3}.*?\"{3}|'{3}.*?'{3})", "", text.replace("`" * 3, "").replace("\t", " " * 4), flags=re.DOTALL)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()] or [""]
    depth = [len(line) - len(line.lstrip(" ")) for line in lines]
    base = next((d for line, d in zip(lines, depth) if "def" in line), 0)
    levels = [d for d in sorted(set(depth)) if d > base]
    return "\n".join(" " * 4 * (levels.index(d) + 1 if d > base else 0) + line.lstrip() for line, d in zip(lines, depth))


COMPLETIONS = [
    "", "def f(x):\n  return x", "```python\ndef f(x):\n\tif x:\n\t\treturn 1\n\treturn 2\n```", "    def f(x):\n      '''Doc\n\n  here'''\n      return x  \n",
    'def f(x):\n    """a""" + \'\'\'b\'\'\'\n\n    return """open', "import math\n\n  def g():\n       return 1\n  def h():\n   return 2", "x = 1\r\n  y = 2\u2028   z",
    "return 1", "def f():\n    a = '''x\"\"\"y'''\n    b = \"\"\"z", "  undefined = 1\n deeper", "def f():\n\u00a0\u00a0return 1\n    \u3000x = 2",
]

RATINGS = [
    "Rating: [[5]]", "[[7.5]] and [[3]]", "Rating: [8]", "[[10/10]] so [9]", "no", "[[ 5 ]] [4.]", "[[5]", "[[1.2.3]][6]", "[a][[b]][[2.]]", "[[[3]]]", "",
]


def rating(text):
    found = re.search(r"\[\[(\d+\.?\d*)\]\]", text) or re.search(r"\[(\d+\.?\d*)\]", text)
    return float(found[1]) if found else None


TEMPLATES = ["[Question]\n{question}\n[Answer]\n{answer}", "{{{question_1}}} {answer_1} {{question}} {ref_answer_2}", "{question_2}{answer_2}}}{{"]
PLACES = {
    "question": "a {answer}", "answer": "b }{", "question_1": "a {answer}", "question_2": "c", "answer_1": "b }{", "answer_2": "d{{", "ref_answer_1": "e",
    "ref_answer_2": "f",
}

ENDINGS = ["the man [title] does it.", "[header] How to x [title] y  z[step]", "plain", "[substeps] a [b\nc] d", "  [x]  [y]z ", "a   b    c"]


def cleaned(text):
    """lm-evaluation-harness' rule for HellaSwag in other words."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def stories(folder):
    """Likelihoods of texts, split and tokenised as lm-evaluation-harness does."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    cases = []
    for context, endings in [
        ("Question: What did Lily see?\nAnswer:", [" a big red ball", " the", " nothing at all."]),
        ("Once upon a time, there was a little ", ["girl named Lily", " boy named Tim."]),
        ("", [" Once upon a time", " One day"]),
    ]:
        for ending in endings:
            blanks = len(context) - len(context.rstrip())
            head, tail = (context[:-blanks], context[-blanks:] + ending) if blanks else (context, ending)
            first = tokenizer(head, add_special_tokens=False).input_ids
            whole = tokenizer(head + tail, add_special_tokens=False).input_ids
            ids = [tokenizer.bos_token_id] + first + whole[len(first):]
            cases.append(
                {"context": context, "continuation": ending, "ids": ids, "context_ids": 1 + len(first),
                 "log_likelihood": likelihood(model, ids, 1 + len(first))})
    return cases


def main():
    model = LlamaForCausalLM.from_pretrained(here.parent / "llama" / "model", dtype=torch.float64).eval()
    golden = {
        "beams": beams(model), "choices": choices(model), "pass_at_k": pass_at_k(),
        "completions": [{"answer": text, "completion": post_processed(text)} for text in COMPLETIONS],
        "ratings": [{"text": text, "rating": rating(text)} for text in RATINGS],
        "templates": [{"template": text, "filled": text.format(**PLACES)} for text in TEMPLATES], "places": PLACES,
        "endings": [{"text": text, "cleaned": cleaned(text)} for text in ENDINGS],
    }
    (here / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    if len(sys.argv) > 1:
        (here / "stories.json").write_text(json.dumps(stories(sys.argv[1]), indent=1) + "\n")


main()
