#!/usr/bin/env python3
"""What a user would run instead of gora: PyTorch, Transformers and PEFT on the CPU.

Does the work of gora-grad (gradients of the target weights), of gora-train (steps of LoRA with AdamW) and of
generation, on a checkpoint folder that `gora-bench make-model` has made, and prints one line of JSON: its speed,
its peak memory, its first losses. `gora-bench` calls it; by hand:

    peer/bin/python peft_peer.py grad --model DIR --batch 1 --seq 512 --dtype bf16 --steps 4
    peer/bin/python peft_peer.py train --model DIR --data rows.jsonl --batch 8 --dtype bf16 --rank 8
    peer/bin/python peft_peer.py generate --model DIR --prompt-len 64 --new 128 --batch 8
    peer/bin/python peft_peer.py versions

With --data (lines of input_ids and labels, as gora reads them) a batch is padded to its longest row, and
tokens_per_s counts real tokens. Without it the ids are random. The first --warmup steps do not count.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["grad", "train", "generate", "versions"])
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--targets", default="q_proj,k_proj,v_proj,o_proj")
    parser.add_argument("--prompt-len", type=int, default=64)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def batches(a, torch, vocabulary):
    """Yields (keyword arguments of the model, real tokens) for ever."""
    if not a.data:
        generator = torch.Generator().manual_seed(a.seed)
        while True:
            ids = torch.randint(3, vocabulary, (a.batch, a.seq), generator=generator)
            yield dict(input_ids=ids, labels=ids), ids.numel()
    with open(a.data) as lines:
        rows = itertools.cycle([json.loads(line) for line in lines])
    while True:
        part = list(itertools.islice(rows, a.batch))
        longest = max(len(row["input_ids"]) for row in part)

        def padded(key, value):
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in part])

        lengths = torch.tensor([[len(row["input_ids"])] for row in part])
        mask = (torch.arange(longest)[None, :] < lengths).long()
        yield dict(input_ids=padded("input_ids", 0), labels=padded("labels", -100), attention_mask=mask), int(lengths.sum())


def main():
    a = arguments()
    import peft
    import torch
    import transformers

    libraries = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    if a.mode == "versions":
        print(json.dumps(dict(libraries=libraries)))
        return
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype)
    targets = a.targets.split(",")
    losses = []

    if a.mode == "generate":
        ids = torch.randint(3, model.config.vocab_size, (a.batch, a.prompt_len))
        model.eval()

        def step():
            with torch.no_grad():
                out = model.generate(
                    ids, max_new_tokens=a.new, min_new_tokens=a.new, do_sample=False, pad_token_id=0)
            return (out.shape[1] - a.prompt_len) * a.batch

    else:
        data = batches(a, torch, model.config.vocab_size)
        optimizer = None
        if a.mode == "grad":
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name.endswith(".weight") and name.split(".")[-2] in targets)
        else:
            model = peft.get_peft_model(
                model,
                peft.LoraConfig(
                    r=a.rank, lora_alpha=16, target_modules=targets, use_rslora=True, task_type="CAUSAL_LM"))
            learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
            optimizer = torch.optim.AdamW(learnt, lr=5e-5, weight_decay=5e-4)

        def step():
            batch, tokens = next(data)
            loss = model(**batch).loss
            loss.backward()
            if optimizer:
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            return tokens

    rates = []
    for index in range(a.warmup + a.steps):
        start = time.perf_counter()
        tokens = step()
        if index >= a.warmup:
            rates.append(tokens / (time.perf_counter() - start))
    print(json.dumps(dict(
        libraries=libraries, tokens_per_s=statistics.median(rates),
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, losses=losses[:4])))


main()
