#!/bin/sh
# The sources of the benchmarks that no package brings, at fixed commits: fetch.sh FOLDER. One that is there is left.
set -eu
folder=$1

fetch() {
	at=$folder/${1#*/}
	if [ "$(git -C "$at" rev-parse HEAD 2>/dev/null)" = "$2" ]; then
		return
	fi
	git init --quiet "$at"
	git -C "$at" fetch --quiet --depth 1 "https://github.com/$1" "$2"
	git -C "$at" checkout --quiet --force "$2"
}

fetch erikbern/ann-benchmarks f402b2cc17b980d7cd45241ab5a7a4cc0f965e55
fetch vector-index-bench/vibe b332c7359ea7cdd1a00708c020108e679754167d
fetch qdrant/vector-db-benchmark 203ab7e2284966daef7222ea98a9a42a33e4f915
