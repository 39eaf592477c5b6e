# What the scripts share: where they are, how they speak, what they remember.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
MEMORY=$ROOT/.make # one file for each step that need not be done again
cd "$ROOT"
mkdir -p "$MEMORY"

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# step SENTENCE COMMAND…: do it, say how long it took, and show what it said only if it failed.
# A function given as COMMAND must chain its parts with &&: `set -e` sleeps inside a condition.
step() {
  local sentence=$1 log=$MEMORY/last-step.log started=$EPOCHREALTIME took
  shift
  printf '%s … ' "$sentence"
  if ! "$@" >"$log" 2>&1 </dev/null 9>&-; then
    printf 'failed\n'
    cat "$log" >&2
    exit 1
  fi
  took=$(((${EPOCHREALTIME/[.,]/} - ${started/[.,]/}) / 100000))
  printf '%d.%d s\n' $((took / 10)) $((took % 10))
}

# fingerprint PATH…: one hash of the files' names and contents.
fingerprint() {
  find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

is_done() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# One preparation at a time in a checkout, until the script ends or closes descriptor 9.
take_turn() {
  exec 9>"$MEMORY/lock"
  flock 9
}
