#!/usr/bin/env bash
# Runs the pair on this machine: one gateway in front of N replicas of ml-inference. No cluster, no container.
exec "$(dirname "${BASH_SOURCE[0]}")/lib/lab.sh" up "$@"
