#!/usr/bin/env python3
"""Chats as token ids, with what of them is learnt, by Transformers' apply_chat_template: writes chats.json beside this script.

Needs transformers (5.23). The tokenizer is ../tokenizer/trained.json with the marks of ChatML. What is learnt is told by Transformers
itself: each template is rendered a second time with {% generation %} around its answers (return_assistant_tokens_mask); gora gets the
template without.
"""
import json, os, tempfile
from transformers import PreTrainedTokenizerFast

here = os.path.dirname(os.path.abspath(__file__))
tokenizer = json.load(open(os.path.join(here, "..", "tokenizer", "trained.json")))
size = len(tokenizer["model"]["vocab"])
for i, mark in enumerate(["<|im_start|>", "<|im_end|>"]):
    tokenizer["added_tokens"].append({"id": size + i, "content": mark, "special": True, "normalized": False, "single_word": False,
                                      "lstrip": False, "rstrip": False})
folder = tempfile.mkdtemp()
json.dump(tokenizer, open(os.path.join(folder, "tokenizer.json"), "w"))
json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"},
          open(os.path.join(folder, "tokenizer_config.json"), "w"))
t = PreTrainedTokenizerFast.from_pretrained(folder)

# G and E become {% generation %} and {% endgeneration %}, or nothing.
CHATML = ("{% if tools %}<|im_start|>system\n{% for f in tools %}{{ f | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
          "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}G"
          "{{ m.content or '' }}{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>E"
          "{% else %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}"
          "<|im_end|>{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
TURNS = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content + '\n' }}{% elif m.role == 'user' %}"
         "[{{ m.content | trim }}]{% else %}G {{ m.content }}{{ eos_token }}E{% endif %}{% endfor %}")
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, None]}}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds \u00e9.", "parameters": {"type": "object"}}}
U, A = {"role": "user", "content": " How many? "}, {"role": "assistant", "content": "It is 42."}
ROWS = [
    {"messages": [U, A]},
    {"messages": [{"role": "system", "content": "Be kind."}, U, A, {"role": "user", "content": "So?"}, {"role": "assistant", "content": "Yes"}]},
    {"messages": [U, A, U]},
    {"messages": [U, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "3.5"}, A], "tools": [TOOL]},
    {"messages": [U, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}, {"role": "tool", "content": "3.5"}, A],
     "tools": json.dumps([TOOL])},
    {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Short."}, {"type": "text", "text": " Very."}]}, U, A]},
    {"conversations": [{"from": "human", "value": " How many? "}, {"from": "gpt", "value": "It is 42."}], "system": "Be kind."},
    {"instruction": "Add.", "input": "1, 2", "output": "3", "history": [["Hi", "Hello"]], "system": "Be kind."},
    {"query": "So?", "response": "Yes", "history": [["Hi", "Hello"], ["Well", "Yes"]]},
    {"messages": [U, {**A, "weight": 0}, U, A]},
]


def chat(row):
    """The row as messages, those that are learnt, and its tools."""
    if "messages" in row:
        m = row["messages"]
        m = m[:max(i for i, x in enumerate(m) if x["role"] == "assistant") + 1]
        return m, [x.get("weight") != 0 for x in m], json.loads(row["tools"]) if isinstance(row.get("tools"), str) else row.get("tools")
    m = [{"role": "system", "content": row["system"]}] if "system" in row else []
    learnt = [False] * len(m)
    if "conversations" in row:
        for x in row["conversations"]:
            m.append({"role": {"human": "user", "gpt": "assistant"}[x["from"]], "content": x["value"]})
            learnt.append(True)
        return m, learnt, None
    for q, a in row["history"]:
        m += [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        learnt += [False, False]
    q = row.get("query", row.get("instruction")) + ("\n" + row["input"] if row.get("input") else "")
    return m + [{"role": "user", "content": q}, {"role": "assistant", "content": row.get("response", row.get("output"))}], learnt + [False, True], None


cases = []
for name, source in {"chatml": CHATML, "turns": TURNS}.items():
    plain = source.replace("G{{", "{{").replace("G {{", " {{").replace("<|im_end|>E", "<|im_end|>").replace("}}E", "}}")
    marked = source.replace("G{{", "{% generation %}{{").replace("G {{", "{% generation %} {{").replace("<|im_end|>E", "<|im_end|>{% endgeneration %}").replace("}}E", "}}{% endgeneration %}")
    for row in ROWS:
        messages, learnt, tools = chat(row)
        if name == "turns" and (tools or any(not isinstance(m["content"], str) for m in messages)):
            continue
        ids = t.apply_chat_template(messages, tools=tools, chat_template=plain, tokenize=True, return_dict=True)["input_ids"]
        e = t.apply_chat_template(messages, tools=tools, chat_template=marked, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        assert ids == e["input_ids"]
        labels, answer, before = [], -1, 0
        answers = [l for m, l in zip(messages, learnt) if m["role"] == "assistant"]
        for i, on in zip(ids, e["assistant_masks"]):
            answer += on and not before
            before = on
            labels.append(i if on and answers[answer] else -100)
        assert answer + 1 == len(answers)
        cases.append({"template": plain, "row": row, "ids": ids, "labels": labels})
with open(os.path.join(here, "chats.json"), "w") as f:
    f.write('{"added_tokens": ' + json.dumps(tokenizer["added_tokens"]) + ',\n "cases": [\n')
    f.write(",\n".join(json.dumps(c) for c in cases) + "]}\n")
