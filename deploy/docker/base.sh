#!/usr/bin/env bash
# Where no image registry can be reached: make docker.io/library/python:3.11-slim from Debian 12 and its own Python 3.11,
# so that the Dockerfiles build as they stand. Needs root, debootstrap and buildah; does nothing if the image is there.
set -euo pipefail
image=docker.io/library/python:3.11-slim
if buildah inspect --type image "$image" >/dev/null 2>&1; then exit 0; fi
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
mirror="$(awk '$1 == "URIs:" { print $2; exit } $1 == "deb" { print $2; exit }' /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null)"
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" "${mirror:-https://deb.debian.org/debian}" >&2
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}
container="$(buildah from scratch)"
buildah copy --quiet "$container" "$root" / >&2
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python "$container"
buildah commit --quiet --rm "$container" "$image" >&2
