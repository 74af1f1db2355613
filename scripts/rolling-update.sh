#!/usr/bin/env bash
# The lab's Step 10 under constant load: v1 -> v2 -> undo, of the model server, of the gateway or of both at once.
exec "$(dirname "${BASH_SOURCE[0]}")/lib/lab.sh" demo rolling-update "$@"
