#!/bin/sh
# Runs what the EXAMPLES sections of the man pages say: every `.Dl` line and every `.Bd -literal` block, page by page, in a folder
# with a small `model/`, `train.jsonl` and `test.jsonl`. What a page's examples write, its later examples find, and so do those of
# the pages after it in the order of the flow.
#
#   Tests/man/run-examples.sh [page ...]        GORA_BIN: the folder of the tools (default: the newest build)
#
# Lines that start with "$ " are commands and the others their output where a block has such lines; else all lines are commands.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

if [ -z "${GORA_BIN-}" ]; then
  GORA_BIN=$root/.build/debug
  if [ ! -x "$GORA_BIN/gora-plan" ] || [ "$root/.build/release/gora-plan" -nt "$GORA_BIN/gora-plan" ]; then
    GORA_BIN=$root/.build/release
  fi
fi
PATH=$GORA_BIN:$PATH
export PATH

if [ $# -eq 0 ]; then
  set -- gora-grad.1 gora-score.1 gora-plan.1 gora-init.1 gora-train.1 gora-eval.1 gora-export.1 gora-report.1 \
    gora-gradient.5 gora-score.5 gora-plan.5 gora-adapter.5 gora-gguf.5 gora.7
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# The model that the examples run on: two layers, trained for a moment.
gora-problems --split train --count 96 -o train.jsonl
gora-problems --split test --count 12 -o test.jsonl
mkdir tokenizer
gora-problems --tokenizer --count 60 --vocab 280 -o tokenizer/tokenizer.json
cat > config.json <<'END'
{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64,
  "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "vocab_size": 280, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1
}
END
gora-train --quiet --method full --from-config config.json --model tokenizer --data train.jsonl --max-length 256 \
  --max-steps 4 --batch-size 8 --lr 3e-3 -o model
# One of images, with the same tokenizer for the texts of its two classes.
mkdir -p images/train images/test
for set in train test; do
  mkdir images/$set/texture images/$set/traffic_sign
  for image in texture.jpg weave.jpg rgb.png; do cp "$root/Tests/Fixtures/images/$image" images/$set/texture; done
  for image in sign.ppm ship.jpg; do cp "$root/Tests/Fixtures/images/$image" images/$set/traffic_sign; done
done
cat > clip.json <<'END'
{
  "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 32,
  "text_config": {"vocab_size": 280, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "eos_token_id": 2},
  "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8}
}
END
mkdir clip-tokenizer
cp tokenizer/tokenizer.json clip-tokenizer
echo '{"tokenizer_class": "PreTrainedTokenizerFast"}' > clip-tokenizer/tokenizer_config.json
gora-train --quiet --method full --from-config clip.json --model clip-tokenizer --data images/train --max-steps 4 --batch-size 4 \
  --lr 1e-3 -o clip
# One in a GGUF file, with rows of its token ids.
cp "$root/Tests/Fixtures/gguf/qwen2.gguf" model.gguf
cp "$root/Tests/Fixtures/qwen2/rows.jsonl" rows.jsonl

# The commands of a page's EXAMPLES, one a line, continued lines joined by the shell itself.
commands() {
  awk '
    /^\.Sh / { examples = ($0 == ".Sh EXAMPLES") }
    !examples { next }
    /^\.Dl / { print substr($0, 5); next }
    /^\.Bd .*-literal/ { literal = 1; prompted = 0; next }
    /^\.Ed/ { literal = 0; continued = 0; next }
    !literal { next }
    /^\$ / { prompted = 1; $0 = substr($0, 3); print; continued = /\\e$/; next }
    prompted && !continued { next }
    { print; continued = /\\e$/ }
  ' "$1" | sed -e 's/\\e$/\\/' -e 's/\\e/\\/g' -e 's/\\&//g' -e 's/\\-/-/g' -e 's/\\(aq/'\''/g' -e 's/\\(dq/"/g' -e 's/\\(ti/~/g' \
    -e 's/\\(ha/^/g'
}

failed=0
for page in "$@"; do
  commands "$root/man/$page" > "$page.sh"
  if [ ! -s "$page.sh" ]; then continue; fi
  if sh -eu "$page.sh" > "$page.log" 2>&1 < /dev/null; then
    printf 'examples of %s: %d lines ran\n' "$page" "$(wc -l < "$page.sh")"
  else
    status=$?
    printf 'examples of %s: exit status %d\n' "$page" "$status" >&2
    sed 's/^/  | /' "$page.sh" "$page.log" >&2
    failed=1
  fi
done
exit $failed
