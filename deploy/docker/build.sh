#!/usr/bin/env bash
# Builds the image: deploy/docker/build.sh [name:tag], nsqraft:latest if none is given.
# The target is Linux on this machine's architecture, or GOARCH if that is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:-nsqraft:latest}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context"/root/{bin,etc,usr/local/bin} "$context/data"
# mktemp made it for us alone; the folders in it become the image's.
chmod -R a+rX "$context"

CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags='-s -w' -o "$context/root/usr/local/bin/" ./cmd/nsqlookupd ./cmd/nsqd
# Where the stock image has them: compose files say "command: /nsqlookupd".
for name in nsqlookupd nsqd; do
    ln -s "../usr/local/bin/$name" "$context/root/bin/$name"
    ln -s "usr/local/bin/$name" "$context/root/$name"
done
echo 'nsq:x:65532:65532:nsq:/data:/sbin/nologin' >"$context/root/etc/passwd"
echo 'nsq:x:65532:' >"$context/root/etc/group"

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
docker build --quiet --tag "$tag" --file deploy/docker/Dockerfile \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" "$context"
