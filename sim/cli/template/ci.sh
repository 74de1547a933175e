#!/bin/sh
# For any CI: rehearses the rollout and leaves a JUnit report; the exit status is 99 when a rule failed.
set -eu
cd "$(dirname "$0")"
command -v otasim >/dev/null || go install github.com/otasim/otasim@latest
PATH="$PATH:$(go env GOPATH)/bin" otasim run ./*.yaml --out junit=otasim.xml
