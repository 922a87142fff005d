#!/bin/sh
# Checks the pages of man/ against the tools: every long option of a tool has an entry in its page and the reverse, every page that
# is referred to exists, and the sections stand in the suite's order. `mandoc -Tlint` is the Makefile's lint-man.
#
#   man/check.sh        GORA_BIN: the folder of the tools (default: the newest build)
set -eu
cd "$(dirname "$0")"

if [ -z "${GORA_BIN-}" ]; then
  GORA_BIN=../.build/debug
  if [ ! -x "$GORA_BIN/gora-plan" ] || [ ../.build/release/gora-plan -nt "$GORA_BIN/gora-plan" ]; then
    GORA_BIN=../.build/release
  fi
fi

failures=$(mktemp)
scratch=$(mktemp -d)
trap 'rm -rf "$failures" "$scratch"' EXIT
fail() { printf 'man: %s\n' "$*" | tee -a "$failures" >&2; }

for page in gora-*.1; do
  tool=${page%.1}
  "$GORA_BIN/$tool" --experimental-dump-help > "$scratch/dump" || { fail "$tool does not run"; continue; }
  # Names of kind "long": the line before says so.
  awk '/"kind" : "long"/ { long = 1; next } long { split($0, part, "\""); print part[4]; long = 0 }' "$scratch/dump" |
    sort -u > "$scratch/options"
  # `.It Fl o , Fl -output Ar file`
  awk '/^\.It Fl / { for (i = 2; i < NF; i++) if ($i == "Fl" && $(i + 1) ~ /^-/) print substr($(i + 1), 2) }' "$page" |
    sort > "$scratch/entries"
  sort -u "$scratch/entries" > "$scratch/documented"
  for option in $(comm -23 "$scratch/options" "$scratch/documented"); do fail "$page does not describe --$option"; done
  for option in $(comm -13 "$scratch/options" "$scratch/documented"); do fail "$page describes --$option, which $tool has not"; done
  for option in $(uniq -d "$scratch/entries"); do fail "$page describes --$option twice"; done
done

# `.Xr gora-plan 1 ,`
awk '/^\.Xr gora/ { print FILENAME, $2 "." $3 }' gora*.[157] | while read -r page target; do
  if [ ! -e "$target" ]; then fail "$page refers to $target, which is not there"; fi
done

for page in gora*.[157]; do
  awk -v page="$page" '
    BEGIN {
      count = split("NAME,SYNOPSIS,DESCRIPTION,OPTIONS,ENVIRONMENT,FILES,EXIT STATUS,EXAMPLES,DIAGNOSTICS,SEE ALSO,HISTORY", name, ",")
      for (i = 1; i <= count; i++) place[name[i]] = i
    }
    /^\.Sh / {
      section = substr($0, 5)
      if (!(section in place)) { print page " has a section " section; next }
      if (place[section] < last) print page ": section " section " is out of order"
      last = place[section]
    }' "$page"
done > "$scratch/sections"
while read -r line; do fail "$line"; done < "$scratch/sections"

if [ -s "$failures" ]; then exit 1; fi
