#!/usr/bin/env bash
# Makes the example recordings again: flite speaks, FFmpeg packs. On Debian: apt-get install flite ffmpeg
set -euo pipefail
cd "$(dirname "$0")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

speak() { # voice text file
    flite -voice "$1" -t "$2" -o "$folder/speech.wav"
    shift 2
    ffmpeg -loglevel error -y -i "$folder/speech.wav" -map_metadata -1 -fflags +bitexact -flags:a +bitexact "$@"
}

speak slt "Hello. This voice was made by a computer. Nobody is speaking here, and the face you will see is nobody's face." \
    -c:a libmp3lame -b:a 32k female.mp3
speak slt "The quick brown fox jumps over the lazy dog, and nobody in the quiet town ever asked it why." \
    -c:a libopus -b:a 24k -application voip female.opus
speak rms "Hello. This voice was made by a computer. Nobody is speaking here, and the face you will see is nobody's face." \
    -c:a aac -b:a 32k male.m4a
speak rms "A recording goes in, and a portrait comes out. It shows an average, and it does not show a person." \
    -c:a flac -sample_fmt s16 male.flac
speak awb "Good morning. I am calling about the weather. It will rain until noon, and then the sun will come out." \
    -ar 8000 -c:a pcm_mulaw telephone.wav
