#!/usr/bin/env bash
# Loses replicas of ml-inference under constant load, in order and not, and no request may fail.
exec "$(dirname "${BASH_SOURCE[0]}")/lib/lab.sh" demo kill "$@"
