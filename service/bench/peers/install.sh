#!/bin/sh
# A virtual environment for each server that is measured beside ours: install.sh FOLDER NAME...
# They are never installed into perwatt's own. A server that cannot be installed is said and does not stop the rest.
set -eu
folder=$1
shift
python=${PYTHON:-python3}
# shellcheck disable=SC2086 # packages are a list of names
for name in "$@"; do
	case $name in
	chroma) packages="chromadb" ;;
	lancedb) packages="lancedb fastapi uvicorn uvloop httptools msgspec numpy" ;;
	milvus) packages="pymilvus<3 milvus-lite<3 setuptools<80 fastapi uvicorn uvloop httptools msgspec numpy" ;;
	pgvector) packages="pgserver psycopg[binary] pgvector fastapi uvicorn uvloop httptools msgspec numpy" ;;
	txtai) packages="txtai[api] uvloop httptools" ;;
	granian) packages="granian" ;;
	*)
		echo "No peer is called $name; there are chroma, lancedb, milvus, pgvector, txtai, granian." >&2
		exit 2
		;;
	esac
	{
		"$python" -m venv "$folder/$name" &&
			# txtai asks for PyTorch, whose default build on Linux is CUDA's.
			{ [ "$name" != txtai ] || "$(dirname "$0")/../../../deploy/locks/install-torch.sh" "$folder/$name"; } &&
			"$folder/$name/bin/pip" install --quiet --only-binary :all: $packages
	} || echo "$name could not be installed; it will be left out." >&2
done
