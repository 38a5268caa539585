#!/bin/sh
# The main job, as a person would type it: plan a site, simulate its build-out, train, talk.
set -eu
out=${1:-out}

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

step() {
    printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

mkdir -p "$out"
step colossus plan examples/memphis.yaml
step colossus simulate examples/memphis.yaml --out "$out/memphis"
rm -rf "$out/tiny"
step colossus train examples/tiny.yaml --out "$out/tiny"
step colossus chat "$out/tiny" --temperature 0.6 --seed 1 --prompt "Hi! How are you today?"
step colossus chat "$out/tiny" --temperature 0.6 --seed 1 --prompt "What do you do for fun?"
step colossus chat "$out/tiny" --temperature 0.6 --seed 1 --prompt "What kind of music do you like?"

printf '\nThe site, day by day:  %s\n' "$out/memphis/index.html"
printf 'Go on talking:         %s chat %s\n' ".venv/bin/colossus" "$out/tiny"
