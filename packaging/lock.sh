#!/bin/sh
# Write requirements.lock anew: what the image and the Debian package install, each with its hashes. Needs pip-tools,
# and the oldest Python that README names, since its list holds for the others.
set -e
cd "$(dirname "$0")/.."
exec pip-compile --quiet --upgrade --generate-hashes --extra s3 --strip-extras --no-header --no-annotate \
    --no-emit-index-url --no-emit-trusted-host --no-emit-options --output-file packaging/requirements.lock pyproject.toml
