#!/usr/bin/env bash
# The planted world of docs/planted.md: what an encoder learns of voices whose faces are known, beside what is possible.
#
#   bash runs/planted.sh [WORK]      about an hour and a half of one core, 3 GB of disk under WORK (build/planted)
#
# Needs the extra eval (pip install -c constraints.txt -e '.[eval]'), for the kernel ridges. What is there already is not
# made again, and a training that was interrupted goes on, so the script may be started again at any time.
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=${1:-build/planted}
SCORES=docs/planted_scores.csv
export PYTHONPATH=src OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$WORK"

stage() { # FILE COMMAND...: run the command unless its file is there
    local file=$1
    shift
    if [ -e "$file" ]; then echo "== $file is there"; return; fi
    echo "== $file ($(date +%H:%M:%S))"
    nice "$@"
}
train() { # CONFIG NAME SETTINGS...
    local config=$1 name=$2
    shift 2
    echo "== $name ($(date +%H:%M:%S))"
    nice python -m speech2face train "$config" --set out="$WORK/$name" "$@"
}

# 1. Voices and faces: 8,000 speakers to learn from, 300 unseen ones to be examined and 1,500 others to confirm it; faces
#    alone for the face decoder; the same voices with other people's faces; voices and faces of the harder world.
stage "$WORK/world/manifest.json" python -m recipes.planted.shards --out "$WORK/world" --head "$WORK/head.safetensors" \
    --train 8000 --validation 200 --test 300 --seconds 3 --test-seconds 10
stage "$WORK/confirmation/manifest.json" python -m recipes.planted.shards --out "$WORK/confirmation" \
    --train 0 --validation 0 --confirmation 1500 --test-seconds 6
stage "$WORK/faces/manifest.json" python -m recipes.planted.shards --out "$WORK/faces" \
    --train 1500 --validation 200 --seconds 0 --faces 64
stage "$WORK/shuffled/manifest.json" python -m recipes.planted.shards --out "$WORK/shuffled" \
    --shuffle "$WORK/world" --seconds 3
stage "$WORK/moving/manifest.json" python -m recipes.planted.shards --out "$WORK/moving" --kind movement \
    --train 4800 --validation 200 --test 300 --seconds 3 --test-seconds 6

# 2. Stage one, the face decoder, whose first layer the encoder's loss needs. Stage two, the encoder.
train planted-decoder decoder --set data.manifest="$WORK/faces"
FACE_SIDE=(--set teacher.face_decoder="$WORK/decoder" --set teacher.head="$WORK/head.safetensors")
encoder() { # NAME SETTINGS...
    local name=$1
    shift
    train planted-encoder "$name" --set data.manifest="$WORK/world" "${FACE_SIDE[@]}" "$@"
}
encoder encoder

# 3. The ablation: widths of Table 1 divided by 16 and a tenth of the steps, the learning rate falling as far.
SHORT=(--set "encoder.channels=[4, 4, 8, 8, 8, 16, 32, 32, 32]" --set run.steps=600 --set optimiser.decay_every=9
    --set optimiser.warm_up=50 --set optimiser.ema=0)
encoder short-all "${SHORT[@]}"
encoder short-shuffled "${SHORT[@]}" --set data.manifest="$WORK/shuffled"
encoder short-no-norm "${SHORT[@]}" --set encoder.batch_norm=false
encoder short-paper "${SHORT[@]}" --set encoder_loss.decoder_layer=1 --set encoder_loss.cosine=0.025 \
    --set encoder_loss.distillation=200 --set optimiser.learning_rate=0.001 --set optimiser.beta1=0.5 \
    --set optimiser.epsilon=1e-4 --set optimiser.decay_every=10000 --set optimiser.warm_up=0 --set run.precision=fp32
encoder short-decoder "${SHORT[@]}" --set encoder_loss.cosine=0 --set encoder_loss.distillation=0
encoder short-cosine "${SHORT[@]}" --set encoder_loss.decoder_layer=0 --set encoder_loss.distillation=0
encoder short-distillation "${SHORT[@]}" --set encoder_loss.decoder_layer=0 --set encoder_loss.cosine=0
encoder short-moving "${SHORT[@]}" --set data.manifest="$WORK/moving"  # the harder world, trained as long

# 4. Scores on unseen speakers, and the page. Beside the encoder a kernel ridge, which learns from the same speakers.
FACTS=(--fact date="$(date +%F)" --fact commit="$(git rev-parse --short HEAD)"
    --fact hardware="$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc --all) cores")
score() { nice python -m recipes.planted.scores --out "$SCORES" "${FACTS[@]}" "$@"; }
AVERAGES=(--ridge "no network: mean log spectrum and pitch, kernel ridge=stationary")
ORDER=(--ridge "no network: covariances over time, kernel ridge=movement")
score --world "$WORK/world" --seconds 3 --seconds 6 --seconds 10 --run "all terms=$WORK/encoder" "${AVERAGES[@]}"
score --append --world "$WORK/confirmation" --split confirmation --seconds 3 --seconds 6 --run "all terms=$WORK/encoder" \
    --learn-from "$WORK/world" "${AVERAGES[@]}"
score --append --world "$WORK/moving" --seconds 3 --seconds 6 --run "all terms, short=$WORK/short-moving" \
    "${AVERAGES[@]}" "${ORDER[@]}"
score --append --world "$WORK/world" --seconds 6 --run "all terms, short=$WORK/short-all" --run "shuffled pairs=$WORK/short-shuffled" \
    --run "without batch normalisation=$WORK/short-no-norm" --run "decoder layer alone=$WORK/short-decoder" \
    --run "cosine alone=$WORK/short-cosine" --run "distillation alone=$WORK/short-distillation" \
    --run "the paper's own settings=$WORK/short-paper"
python -m recipes.planted.sheet --world "$WORK/world" --encoder "$WORK/encoder" --decoder "$WORK/decoder" \
    --out docs/images/planted.jpg
