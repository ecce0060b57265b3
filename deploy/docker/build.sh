#!/usr/bin/env bash
# Builds the image: deploy/docker/build.sh [name:tag], nsqraft:latest if none is given.
# The target is Linux on this machine's architecture, or GOARCH if that is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
tag=${1:-nsqraft:latest}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context"/root/{bin,etc/ssl/certs,tmp,usr/local/bin} "$context/data"

CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags='-s -w' -o "$context/root/usr/local/bin/" ./cmd/...
# Where the stock image has them: compose files say "command: /nsqlookupd".
for program in cmd/*/; do
    name=$(basename "$program")
    ln -s "../usr/local/bin/$name" "$context/root/bin/$name"
    ln -s "usr/local/bin/$name" "$context/root/$name"
done
# Time zones, for nsq_to_file names files by local time; the Dockerfile says where they are.
cp "$(go env GOROOT)/lib/time/zoneinfo.zip" "$context/root/etc/zoneinfo.zip"
# Whom nsq_to_http and nsqadmin trust over HTTPS: whom this machine does.
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [[ -f $bundle ]]; then
        cp -L "$bundle" "$context/root/etc/ssl/certs/ca-certificates.crt"
        break
    fi
done
[[ -f $context/root/etc/ssl/certs/ca-certificates.crt ]] || echo "no certificate authorities here: the image trusts no HTTPS server" >&2
echo 'nsq:x:65532:65532:nsq:/data:/sbin/nologin' >"$context/root/etc/passwd"
echo 'nsq:x:65532:' >"$context/root/etc/group"
# mktemp made it for us alone; the folders in it become the image's.
chmod -R a+rX "$context"
chmod 1777 "$context/root/tmp" # where nsq_to_file writes unless told otherwise

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
version=$(git describe --tags --always --dirty 2>/dev/null || echo dev)
docker build --quiet --tag "$tag" --file deploy/docker/Dockerfile \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" "$context"
