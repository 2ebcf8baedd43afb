#!/usr/bin/env bash
# Learning from a few hundred pairs, from nothing to a portrait: planted people whose faces follow their voices in part,
# `learn`, its card, and a portrait of somebody who was not among them; then the same voices with other people's faces,
# from which nothing must be learned.
#
#   bash runs/learn.sh [WORK] [PEOPLE]     under five minutes on two cores with 120 people; WORK (build/learn) is made anew
#
# Needs the extra eval (pip install -c constraints.txt -e '.[eval]').
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=${1:-build/learn}
PEOPLE=${2:-120}
export PYTHONPATH=src OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
rm -rf "$WORK"
mkdir -p "$WORK"

# 1. People of whom nobody exists: 4 s of speech, a drawn face of 512 pixels and its landmarks each.
python -m recipes.planted.pairs --out "$WORK/pairs" --people "$PEOPLE"
python -m recipes.planted.pairs --out "$WORK/shuffled" --people "$PEOPLE" --shuffle
python -m recipes.planted.pairs --out "$WORK/other" --people 1 --seed 1

# 2. What their pairs teach, and what somebody else's faces teach.
python -m speech2face learn --data "$WORK/pairs" --out "$WORK/model" --weights-licence CC0-1.0 --name planted
python -m speech2face learn --data "$WORK/shuffled" --out "$WORK/nothing" --weights-licence CC0-1.0 --name shuffled

# 3. The same from sums over people alone, which hold no voice and no photograph.
python -m speech2face learn --data "$WORK/pairs" --sums-only --out "$WORK/pairs.sums"
python -m speech2face learn --add "$WORK/pairs.sums" --out "$WORK/from-sums" --weights-licence CC0-1.0 --name sums

# 4. From a table of recordings and photographs, as somebody has them; without --landmarks dlib finds the faces.
python -m recipes.planted.pairs --out "$WORK/table" --people 48 --table
python -m speech2face learn --pairs "$WORK/table/pairs.csv" --landmarks "$WORK/table/landmarks.json" \
    --out "$WORK/from-table" --weights-licence CC0-1.0 --name table

# 5. A portrait of somebody who is in none of them.
tar -xf "$WORK/other/train-000000.tar" -C "$WORK" planted-00000.wav
python -m speech2face portrait "$WORK/planted-00000.wav" --model "$WORK/model" --out "$WORK/portrait" --samples 3
ls -l "$WORK/portrait"
