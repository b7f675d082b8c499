#!/usr/bin/env bash
# Make the embedded model from nothing, in DIR: recipes/tiny/run.sh DIR
# The same command after a kill goes on where it was. Two cores, about three hours.
set -euo pipefail
DIR=${1:?usage: recipes/tiny/run.sh DIR}
STEPS=${STEPS:-2180} LANGUAGE_STEPS=${LANGUAGE_STEPS:-${STEPS:-2180}}
ALIGN_STEPS=${ALIGN_STEPS:-300} TUNE_STEPS=${TUNE_STEPS:-1300} EACH=${EACH:-300}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 TOKENIZERS_PARALLELISM=false
# glibc keeps freed memory: getting it from the system for every tensor takes a tenth of the time.
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=8589934592

mkdir -p "$DIR/done"
exec 9>"$DIR/lock"
flock -n 9 || { echo "Another run is still going in $DIR." >&2; exit 1; }
set -m  # each background job is a process group, which a kill of this script ends
trap 'for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done' EXIT
trap 'exit 143' TERM INT HUP

# part NAME COMMAND...: run the command, unless it has finished in an earlier run.
part() {
    local name=$1
    shift
    [ -e "$DIR/done/$name" ] || { "$@" && touch "$DIR/done/$name"; }
}

# both: wait for the two parts in the background; a failure of one ends the other.
both() { wait -n && wait -n; }

part tokenizer python -m recipes.tiny.tokenizer "$DIR" & wait $!
part clip python -m recipes.tiny.clip "$DIR" --steps "$STEPS" &
part language python -m recipes.tiny.language "$DIR" --steps "$LANGUAGE_STEPS" &
both
part stages python -m recipes.tiny.stages "$DIR" \
    --align-steps "$ALIGN_STEPS" --tune-steps "$TUNE_STEPS" & wait $!
part labelled python -m recipes.tiny.labelled "$DIR/labelled" & wait $!
part calibration llava-tools calibrate --model "$DIR/model" --device cpu --dtype float32 \
    --data "$DIR/labelled/data.json" --out "$DIR/model/calibration.json" \
    --plot "$DIR/reliability.png" &
part evaluate python -m recipes.tiny.evaluate "$DIR" --each "$EACH" &
both
python -m recipes.tiny.card "$DIR"
