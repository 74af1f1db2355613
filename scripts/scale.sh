#!/usr/bin/env bash
# Scales ml-inference up and down under constant load, and no request may fail on the way.
exec "$(dirname "${BASH_SOURCE[0]}")/lib/lab.sh" demo scale "$@"
