#!/bin/bash
# What does a conversion cost beside copying the same files?
#
#   benchmarks/end_to_end.sh [FOLDER]     (21 GB of room; root for loop mounts)
#
# Makes its inputs, runs each contender in turn, side by side, and prints
# ratios of wall time to `cp -r --reflink=never` of the same input, the median
# of ROUNDS (3), that of processor time, which a busy machine changes least, and
# the peak memory. Page cache warm, --nofsync. Before each run the device is
# given time to catch up (sync), so that none pays for another.
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
  //benchmarks:make_checkpoint //tools:diff //tools:inspect 2>"$base/log" ||
  { cat "$base/log"; exit 1; }
bin="$base/bin"
mkdir "$bin"
cp bazel-bin/benchmarks/{convert,bare_copy,make_checkpoint} \
  bazel-bin/tools/{diff,inspect} "$bin/"
export PATH="$bin:$PATH"

# timed COMMAND...: seconds, peak kB and seconds of processors, of one run into a
# fresh $out.
timed() {
  rm -rf "$out"
  sync
  /usr/bin/time -f '%e %M %U %S' -o "$base/time" "$@" >/dev/null
  awk '{ print $1, $2, $3 + $4 }' "$base/time"
  rm -rf "$out"
}

# median [COLUMN]: of what timed has printed.
median() {
  cut -d ' ' -f "${1:-1}" | sort -g |
    awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

wanted() { [[ "$1" =~ ${ONLY:-.} ]]; }

# input ARGUMENTS...: make_checkpoint's, into $in unless it is there already.
# What stands behind a "|" are flags of convert: $in is what it makes of that.
made=""
input() {
  [[ "$made" == "$in $*" ]] && return
  local arguments="$*"
  made="$in $*"
  rm -rf "$in" "$out"
  make_checkpoint ${arguments%%|*} "$in"
  [[ "$arguments" == *"|"* ]] || return 0
  convert --nofsync ${arguments#*|} "$in" "$out" >/dev/null
  rm -rf "$in"
  mv "$out" "$in"
}

# What is possible at best: two threads, preallocated files, a buffer; or, for
# what writes other bytes than it reads, as many bytes of nothing.
bare_copy=(bare_copy 2 1024 pread)
bare_write=(bash -c 'mkdir "$1" && for i in 1 2; do
  dd if=/dev/zero of="$1/$i" bs=1M count=6600 status=none & done; wait')
bare=("${bare_copy[@]}")

# contend NAME INPUT COMMAND...: rounds of cp, bare copy and the command in turn.
contend() {
  local name="$1" arguments="$2" round
  shift 2
  wanted "$name" || return 0
  input $arguments
  : >"$base/cp"; : >"$base/bare"; : >"$base/ours"
  for ((round = 0; round < rounds; ++round)); do
    timed cp -r --reflink=never "$in" "$out" >>"$base/cp"
    timed "${bare[@]}" "$in" "$out" >>"$base/bare"
    timed "$@" "$in" "$out" >>"$base/ours"
  done
  awk -v name="$name" -v cp="$(median <"$base/cp")" \
    -v bare="$(median <"$base/bare")" -v ours="$(median <"$base/ours")" \
    -v cp_work="$(median 3 <"$base/cp")" \
    -v our_work="$(median 3 <"$base/ours")" \
    -v kb="$(cut -d ' ' -f 2 "$base/ours" | sort -g | tail -n 1)" 'BEGIN {
      printf "| %s | %.2f s | %.2f s | %.2f s | %.3f | %.3f | %.2f | %.0f MiB |\n",
        name, cp, bare, ours, ours / cp, ours / bare,
        our_work / (cp_work > 0 ? cp_work : 0.01), kb / 1024 }'
}

# alone NAME INPUT COMMAND...: a command that nothing is compared with.
alone() {
  local name="$1" arguments="$2" round
  shift 2
  wanted "$name" || return 0
  input $arguments
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
echo "| work | cp | bare copy | windlass | to cp | to bare | processors | peak |"
echo "|---|---|---|---|---|---|---|---|"
rename="qwen3_5 6750 4"
contend "rename, 6.75 GB, 2 threads" "$rename" "${native[@]}" --threads=2
contend "rename, 6.75 GB, 1 thread" "$rename" "${native[@]}" --threads=1
contend "rename + xxh3, 6.75 GB" "$rename" "${native[@]}" --checksum=xxh3
bare=("${bare_write[@]}")
contend "cast all to F32, 6.75 GB" "$rename" \
  "${native[@]}" --adapter=cast_to_f32
bare=("${bare_copy[@]}")
contend "rename + upcast, 6.75 GB" "qwen3_5_bf16 6750 4" "${native[@]}"
contend "rename, 3.4 GB" "qwen3_5 3400 4" "${native[@]}"
contend "merge 128 experts, 6.75 GB" "qwen3_moe 6750 4" "${native[@]}"

same=(convert --to=same --nofsync)
dcp="--output_format=dcp --num_shards=4"
contend "DCP of 4 ranks to HF, 6.75 GB" "$rename | --to=native $dcp" \
  convert --to=hf --nofsync
contend "DCP to HF, 128 experts split, 6.75 GB" \
  "qwen3_moe 6750 4 | --to=native $dcp" convert --to=hf --nofsync
for files in 1 4; do
  contend "$files .bin to safetensors, 6.75 GB" \
    "qwen3_5 6750 $files | --to=same --output_format=torch" "${same[@]}"
done
contend "HF to DCP of 4 ranks, 6.75 GB" "$rename" "${same[@]}" $dcp
for files in 1 4; do
  contend "HF to $files .bin, 6.75 GB" "qwen3_5 6750 $files" \
    "${same[@]}" --output_format=torch
done

for fs in xfs btrfs; do
  wanted "rename on $fs, 6.75 GB" || continue
  if ! command -v "mkfs.$fs" >/dev/null || ((EUID != 0)); then
    echo "| rename on $fs | not run: needs root and mkfs.$fs | | | | | | |"
    continue
  fi
  rm -rf "$in"
  truncate -s 30G "$base/$fs.img"
  "mkfs.$fs" -q "$base/$fs.img" 2>/dev/null
  mkdir "$base/$fs"
  mount -o loop "$base/$fs.img" "$base/$fs"
  mounts+=("$base/$fs")
  in="$base/$fs/in"
  out="$base/$fs/out"
  contend "rename on $fs, 6.75 GB" "$rename" "${native[@]}"
  umount "$base/$fs"
  mounts=()
  rm -f "$base/$fs.img"
done
in="$base/in"
out="$base/out"

echo
echo "| work | time | peak |"
echo "|---|---|---|"
dry=(convert --to=native --dry_run "$in" "$out")
alone "plan, 150,000 tensors in 160 shards" \
  "--headers qwen3_moe 150000t 160" "${dry[@]}"
alone "plan, DeepSeek-V3 in FP8, 91,000 tensors" \
  "--headers deepseek_v3 91000t 163" "${dry[@]}"
alone "plan, Kimi-K2.5 in INT4, 207,000 tensors" \
  "--headers kimi_k25_vl 207000t 64" "${dry[@]}"
for tensors in 1000 10000 100000 1000000; do
  alone "plan, $tensors tensors in 16 shards" \
    "--headers qwen3_moe ${tensors}t 16" "${dry[@]}"
done
small="small 20000t 1 | --to=same --num_shards=8 --output_format"
alone "consolidation, 20,000 tensors in 8 ranks' safetensors" \
  "$small=dcp_safetensors" "${same[@]}" "$in" "$out"
alone "inspect, DCP of 160,000 chunks" "$small=dcp" inspect --summary "$in"
shards="--headers qwen3_moe 100000t 1000"
alone "inspect, 100,000 tensors in 1,000 shards" "$shards" inspect "$in"
alone "the same, --json" "$shards" inspect --json "$in"
for mb in 1000 2000 4000 8000; do
  for threads in 2 1; do
    alone "rename, $mb MB, threads: $threads" "qwen3_5 $mb 4" \
      "${native[@]}" "--threads=$threads" "$in" "$out"
  done
done
# The input changes: once each way, so that the header grows and then has room.
rounds=1
for to in native hf; do
  alone "in place to $to, 8000 MB" "qwen3_5 8000 4" \
    convert "--to=$to" --in_place "$in"
done

# Two equal checkpoints, and cmp on the same files.
compare_files() {
  local file
  for file in "$1"/*; do cmp "$file" "$2/${file##*/}"; done
}
if wanted "diff, 6.75 GB"; then
  rounds="${ROUNDS:-3}"
  input $rename
  cp -r --reflink=never "$in" "$base/same"
  : >"$base/cmp"; : >"$base/ours"
  export -f compare_files
  for ((round = 0; round < rounds; ++round)); do
    timed bash -c 'compare_files "$@"' - "$in" "$base/same" >>"$base/cmp"
    timed diff --threads=2 "$in" "$base/same" >>"$base/ours"
  done
  awk -v cmp="$(median <"$base/cmp")" -v ours="$(median <"$base/ours")" \
    -v kb="$(cut -d ' ' -f 2 "$base/ours" | sort -g | tail -n 1)" 'BEGIN {
      print "\n| work | cmp | windlass | to cmp | peak |\n|---|---|---|---|---|"
      printf "| diff, 6.75 GB | %.2f s | %.2f s | %.3f | %.0f MiB |\n",
        cmp, ours, ours / cmp, kb / 1024 }'
fi
