#!/usr/bin/env bash
# An autoscaler follows load that costs real CPU, up and down again, and no request may fail on the way.
exec "$(dirname "${BASH_SOURCE[0]}")/lib/lab.sh" demo hpa "$@"
