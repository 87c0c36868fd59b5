#!/bin/bash
# What does a conversion cost beside copying the same files?
#
#   benchmarks/end_to_end.sh [FOLDER]     (20 GB of room; root for loop mounts)
#
# Makes its inputs, runs each contender in turn, side by side, and prints
# ratios of wall time to `cp -r --reflink=never` of the same input, the median
# of ROUNDS (3), and the peak memory. Page cache warm, --nofsync. Before each run
# the device is given time to catch up (sync), so that none pays for another.
# ONLY=REGEX runs the rows whose name it matches.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds="${ROUNDS:-3}"
base="$(mktemp -d "${1:-/tmp}/windlass-bench.XXXXXX")"
mounts=()
cleanup() {
  local mount
  for mount in "${mounts[@]}"; do umount "$mount" || true; done
  rm -rf "$base"
}
trap cleanup EXIT

tools/bazel build -c opt //benchmarks:convert //benchmarks:bare_copy \
  //benchmarks:make_checkpoint 2>"$base/log" || { cat "$base/log"; exit 1; }
bin="$base/bin"
mkdir "$bin"
cp bazel-bin/benchmarks/{convert,bare_copy,make_checkpoint} "$bin/"
export PATH="$bin:$PATH"

# timed COMMAND...: seconds and peak kB, of one run into a fresh $out.
timed() {
  rm -rf "$out"
  sync
  /usr/bin/time -f '%e %M' -o "$base/time" "$@" >/dev/null
  cat "$base/time"
  rm -rf "$out"
}

median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# contend NAME INPUT COMMAND...: rounds of cp, bare copy and the command in turn.
contend() {
  local name="$1" input="$2" round
  shift 2
  [[ "$name" =~ ${ONLY:-.} ]] || return 0
  : >"$base/cp"; : >"$base/bare"; : >"$base/ours"
  for ((round = 0; round < rounds; ++round)); do
    timed cp -r --reflink=never "$input" "$out" >>"$base/cp"
    timed bare_copy 2 1024 pread "$input" "$out" >>"$base/bare"
    timed "$@" "$input" "$out" >>"$base/ours"
  done
  awk -v name="$name" -v cp="$(median <"$base/cp")" \
    -v bare="$(median <"$base/bare")" -v ours="$(median <"$base/ours")" \
    -v kb="$(cut -d ' ' -f 2 "$base/ours" | sort -g | tail -n 1)" 'BEGIN {
      printf "| %s | %.2f s | %.2f s | %.2f s | %.2f | %.2f | %.0f MiB |\n",
        name, cp, bare, ours, ours / cp, ours / bare, kb / 1024 }'
}

# alone NAME COMMAND...: the median of a command that nothing is compared with.
alone() {
  local name="$1" round
  shift
  [[ "$name" =~ ${ONLY:-.} ]] || return 0
  : >"$base/ours"
  for ((round = 0; round < rounds; ++round)); do timed "$@" >>"$base/ours"; done
  awk -v name="$name" -v ours="$(median <"$base/ours")" \
    -v kb="$(cut -d ' ' -f 2 "$base/ours" | sort -g | tail -n 1)" 'BEGIN {
      printf "| %s | %.2f s | %.0f MiB |\n", name, ours, kb / 1024 }'
}

out="$base/out"
in="$base/in"
native=(convert --to=native --nofsync)

echo "machine: $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 2 ^ 20}' /proc/meminfo)," \
  "$(awk -F ': ' '/model name/ {print $2; exit}' /proc/cpuinfo)," \
  "$(stat -f -c %T "$base"), kernel $(uname -r)"
echo
echo "| work | cp | bare copy | windlass | to cp | to bare | peak |"
echo "|---|---|---|---|---|---|---|"
make_checkpoint qwen3_5 6750 4 "$in"
contend "rename, 6.75 GB, 2 threads" "$in" "${native[@]}" --threads=2
contend "rename, 6.75 GB, 1 thread" "$in" "${native[@]}" --threads=1
contend "cast all to F32, 6.75 GB" "$in" "${native[@]}" --adapter=cast_to_f32
contend "rename + xxh3, 6.75 GB" "$in" "${native[@]}" --checksum=xxh3
rm -rf "$in"
make_checkpoint qwen3_5_bf16 6750 4 "$in"
contend "rename + upcast, 6.75 GB" "$in" "${native[@]}"
rm -rf "$in"
make_checkpoint qwen3_5 3400 4 "$in"
contend "rename, 3.4 GB" "$in" "${native[@]}"
rm -rf "$in"
make_checkpoint qwen3_moe 6750 4 "$in"
contend "merge 128 experts, 6.75 GB" "$in" "${native[@]}"
rm -rf "$in"

for fs in xfs btrfs; do
  if ! command -v "mkfs.$fs" >/dev/null || ((EUID != 0)); then
    echo "| rename on $fs | not run: needs root and mkfs.$fs | | | | | |"
    continue
  fi
  truncate -s 30G "$base/$fs.img"
  "mkfs.$fs" -q "$base/$fs.img" 2>/dev/null
  mkdir "$base/$fs"
  mount -o loop "$base/$fs.img" "$base/$fs"
  mounts+=("$base/$fs")
  out="$base/$fs/out"
  make_checkpoint qwen3_5 6750 4 "$base/$fs/in"
  contend "rename on $fs, 6.75 GB" "$base/$fs/in" "${native[@]}"
  umount "$base/$fs"
  mounts=()
  rm -f "$base/$fs.img"
  out="$base/out"
done

echo
echo "| work | time | peak |"
echo "|---|---|---|"
make_checkpoint --headers qwen3_moe 150000t 160 "$in"
alone "plan, 150,000 tensors in 160 shards" \
  convert --to=native --dry_run "$in" "$out"
rm -rf "$in"
for tensors in 1000 10000 100000 1000000; do
  make_checkpoint --headers qwen3_moe "${tensors}t" 16 "$in"
  alone "plan, $tensors tensors in 16 shards" \
    convert --to=native --dry_run "$in" "$out"
  rm -rf "$in"
done
for mb in 1000 2000 4000 8000; do
  make_checkpoint qwen3_5 "$mb" 4 "$in"
  alone "rename, $mb MB" "${native[@]}" "$in" "$out"
  if ((mb == 8000)); then
    rounds=1 alone "in place, $mb MB" convert --to=native --in_place "$in"
  fi
  rm -rf "$in"
done
