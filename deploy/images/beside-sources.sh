#!/bin/sh
# For the test image: puts the compiled kernels beside their sources and takes the installed packages away, so that the
# tests read the files they speak about and run the modules that were built: beside-sources.sh VENV SOURCES
#
# Compiled to bytecode here: who runs the tests may not write there, and tests start hundreds of processes.
set -eu
venv=$1 sources=$2
site=$(echo "$venv"/lib/python3.*/site-packages)
for package in index embed; do
  cp "$site/$package"/kernels/*.so "$sources/$package/kernels/"
done
for package in index embed service loadtest deploy; do
  rm -rf "${site:?}/$package"
done
python3 -m compileall -q "$sources"
