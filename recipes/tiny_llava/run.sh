#!/usr/bin/env bash
# Make the embedded model from nothing, in DIR: recipes/tiny_llava/run.sh DIR
# The same command after a kill resumes where it was. It takes about two hours on two cores.
set -euo pipefail
DIR=${1:?usage: recipes/tiny_llava/run.sh DIR}
CLIP_STEPS=${CLIP_STEPS:-3600} LANGUAGE_STEPS=${LANGUAGE_STEPS:-5400}
ALIGN_STEPS=${ALIGN_STEPS:-150} TUNE_STEPS=${TUNE_STEPS:-2400} EACH=${EACH:-300}
ALIGN_BATCH=64 TUNE_BATCH=24 PORT=$((20000 + $$ % 12000))
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 TOKENIZERS_PARALLELISM=false
# glibc keeps freed memory: getting it from the system for every tensor takes a tenth of the time.
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=8589934592

mkdir -p "$DIR/done"
exec 9>"$DIR/lock"  # all that runs here inherits it, so two runs never write at once
flock -w 10 9 || { echo "Another run is still going in $DIR." >&2; exit 1; }
set -m  # each background job is a process group, which the end of this script ends and awaits
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done; wait || true' EXIT
trap 'exit 143' TERM INT HUP

# part NAME COMMAND...: run the command, unless it has finished in an earlier run.
part() {
    local name=$1
    shift
    [ -e "$DIR/done/$name" ] || { "$@" && touch "$DIR/done/$name"; }
}

# both: wait for two background jobs; a failure of one ends the script, and so the other.
both() { wait -n && wait -n; }

# stage NAME OUT OPTION...: a stage of LLaVA 1.5, in two processes; it resumes from DIR/OUT.work.
stage() {
    local name=$1 out=$2 rank
    shift 2
    rm -rf "${DIR:?}/$out"  # a kill may have left half of it
    for rank in 0 1; do
        RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$PORT \
            ACCELERATE_USE_CPU=true python -m llava_tools train "$name" "$@" \
            --data "$DIR/$name/data.json" --images "$DIR/$name/images" --out "$DIR/$out" \
            --save-every 50 --no-gradient-checkpointing --device cpu --local-files-only \
            2>&1 | tee -a "$DIR/$name.log" &
    done
    both
}

part tokenizer python -m recipes.tiny_llava.tokenizer "$DIR" & wait $!
part clip python -m recipes.tiny_llava.clip "$DIR" --steps "$CLIP_STEPS" &
{
    part language python -m recipes.tiny_llava.language "$DIR" --steps "$LANGUAGE_STEPS" &&
    part captions python -m recipes.tiny_llava.records "$DIR/align" align $((ALIGN_STEPS * ALIGN_BATCH)) &&
    part conversations python -m recipes.tiny_llava.records "$DIR/tune" tune $((TUNE_STEPS * TUNE_BATCH)) &&
    part labelled python -m recipes.tiny_llava.labelled "$DIR/labelled"
} &
both
part align stage align aligned --vision "$DIR/clip" --language "$DIR/language" \
    --learning-rate 2e-3 --batch-size $ALIGN_BATCH --micro-batch-size 16
part tune stage tune tuned --model "$DIR/aligned" --full \
    --learning-rate 1e-3 --projector-learning-rate 5e-4 --batch-size $TUNE_BATCH --micro-batch-size 6
part export python -m recipes.tiny_llava.export "$DIR" & wait $!
part calibration python -m llava_tools calibrate --model "$DIR/model" --device cpu --dtype float32 \
    --data "$DIR/labelled/data.json" --out "$DIR/model/calibration.json" \
    --plot "$DIR/reliability.png" &
part evaluate python -m recipes.tiny_llava.evaluate \
    --model "$DIR/model" --out "$DIR/figures.json" --each "$EACH" &
both
python -m recipes.tiny_llava.card "$DIR"
