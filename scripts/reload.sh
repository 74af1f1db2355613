#!/usr/bin/env bash
# Changes settings of the running pair under constant load, and no request may fail on the way.
exec "$(dirname "${BASH_SOURCE[0]}")/lib/lab.sh" demo reload "$@"
