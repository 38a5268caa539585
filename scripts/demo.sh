#!/bin/sh
# The main job, as a person would type it: plan a site, simulate its build-out, train, talk.
set -eu
out=${1:-out}

step() {
    printf '\n\033[1m==> %s\033[0m\n' "$*"
    "$@"
}

mkdir -p "$out"
step colossus plan examples/memphis.yaml
step colossus simulate examples/memphis.yaml --out "$out/memphis"
rm -rf "$out/tiny"
step colossus train examples/tiny.yaml --out "$out/tiny"
step colossus chat "$out/tiny" --prompt "Hi! How are you today?" --seed 1
step colossus chat "$out/tiny" --prompt "What do you like to do on weekends?" --seed 1
step colossus chat "$out/tiny" --prompt "Do you have any pets?" --seed 1

printf '\nThe site, day by day:  %s\n' "$out/memphis"
printf 'Go on talking:         %s chat %s\n' ".venv/bin/colossus" "$out/tiny"
