#!/bin/sh
echo "coverage needs a Bazel with a network" >&2
exit 1
