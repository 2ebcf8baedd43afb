#!/usr/bin/env bash
# The paper's recipe scaled down, from nothing to a portrait: planted shards, face decoder, voice encoder with all three
# terms of its loss, release, `speech2face portrait`. Shows that the parts fit together, not that anything is learned.
#
#   bash runs/smoke.sh [WORK]      under two minutes on two cores; WORK (build/smoke) is made anew
#
# Needs the extra train (pip install -c constraints.txt -e '.[train]'). SOURCES= tries an installed package instead.
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=${1:-build/smoke}
export PYTHONPATH=${SOURCES-src} OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
rm -rf "$WORK"
mkdir -p "$WORK"

# 1. 96 people to learn from and 24 others: 3 s of speech, a face of 32 pixels and a face embedding of 64 numbers each.
python -m recipes.planted.shards --out "$WORK/world" --head "$WORK/head.safetensors" \
    --train 96 --validation 24 --seconds 3 --faces 32

# 2. Stage one: the face decoder. Stage two: the voice encoder, the face side frozen.
DATA=(--set data.manifest="$WORK/world" --set run.precision=fp32) # half precision may be slower
SHORT=(--set run.evaluate_clips=24 --set run.log_every=10 --set optimiser.decay_every=1000 --set optimiser.warm_up=0
    --set optimiser.epsilon=1e-8)
python -m speech2face train planted-decoder "${DATA[@]}" "${SHORT[@]}" --set out="$WORK/decoder" \
    --set run.steps=80
python -m speech2face train planted-encoder "${DATA[@]}" "${SHORT[@]}" --set out="$WORK/encoder" \
    --set "encoder.channels=[4, 4, 8, 8, 8, 16, 32, 32, 32]" --set optimiser.ema=0 --set run.steps=20 \
    --set teacher.face_decoder="$WORK/decoder" --set teacher.head="$WORK/head.safetensors"

# 3. A release of both, and a portrait of somebody whom neither has seen.
python -m speech2face export "$WORK/encoder" --decoder "$WORK/decoder" --out "$WORK/release" --licence CC0-1.0 --name smoke
tar -xf "$WORK/world/validation-000000.tar" -C "$WORK" planted-10000000.wav
python -m speech2face portrait "$WORK/planted-10000000.wav" --model "$WORK/release" --out "$WORK/portrait"
ls -l "$WORK/portrait"
