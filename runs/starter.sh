#!/usr/bin/env bash
# The starter release from nothing but the openly licensed starter material; the claim of the model card is this script.
#
#   bash runs/starter.sh [STARTER] [WORK]      two hours on two cores, under three beside other work, 1 GB of disk under WORK
#
# Needs the extras train, faces and eval (pip install -c constraints.txt -e '.[train,faces,eval]'). Every stage leaves
# what it made in WORK and is skipped when that is there, so an interrupted run goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
STARTER=${1:-../shared/starter}
WORK=${2:-build/starter}
RELEASE=src/speech2face/weights/starter
mkdir -p "$WORK/features" "$WORK/face" docs
export PYTHONPATH=src

stage() { # NAME FILE COMMAND...: run the command unless its file is there
    local name=$1 file=$2
    shift 2
    if [ -e "$file" ]; then echo "== $name: there already"; return; fi
    echo "== $name ($(date +%H:%M:%S))"
    "$@"
}

# 1. The face side and its release gate, measured and printed (minutes).
stage "faces" "$WORK/face/face.safetensors" nice python -m recipes.starter.faces --starter "$STARTER" --out "$WORK/face"
# 2. Each voice clean and through seven microphones, rooms and lines, and the frozen encoder's statistics of all of them
#    (an hour).
stage "features" "$WORK/features/features.json" \
    python -m recipes.starter.features --starter "$STARTER" --out "$WORK/features"
# 3. The heads on them, in closed form (minutes).
stage "heads" "$WORK/heads.safetensors" \
    python -m recipes.starter.heads --starter "$STARTER" --features "$WORK/features" --out "$WORK/heads.safetensors"
# 4. The release: half precision, ONNX, calibration, golden tensors, checksums.
python -m recipes.starter.release --starter "$STARTER" --features "$WORK/features" \
    --heads "$WORK/heads.safetensors" --face "$WORK/face" --out "$RELEASE"
# What tells the speakers of one recording apart, from the release's own encoder (minutes).
python -m recipes.starter.speakers --starter "$STARTER" --features "$WORK/features" --out "$RELEASE"
# 5. How far it holds away from home: each source, channel and group of languages learned without, then read (minutes).
python -m recipes.starter.held_out --starter "$STARTER" --features "$WORK/features" --out docs
# 6. Every number of the card on speakers that nothing above has seen, and the card.
python -m recipes.starter.scores --starter "$STARTER" --features "$WORK/features" --out docs
python -m recipes.starter.caution_rates --starter "$STARTER" --out docs/caution_rates.csv
python -m recipes.starter.speaker_sheet --starter "$STARTER" --out docs/images/speakers.png \
    --strip docs/images/voices.jpg
python -m recipes.starter.face_sheet --weights "$RELEASE" --out docs/images
python -m recipes.starter.portrait_gate --starter "$STARTER" --out docs/portrait_gate.csv
python -m recipes.starter.model_card --scores docs/starter_scores.csv --held-out docs/starter_held_out.csv \
    --out "$RELEASE/CARD.md"
# 7. For whom it is wrong, and the outcome into the card (a quarter of an hour).
python -m speech2face audit --data "$STARTER" --out "$WORK/audit" --force --card "$RELEASE/CARD.md"
mkdir -p docs/audit
cp "$WORK"/audit/tables/*.csv "$WORK/audit/numbers.csv" docs/audit/
