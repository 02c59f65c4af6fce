#!/bin/sh
# Make a secret for each service of compose.yaml that has none yet.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
for name in postgres_password s3_password grafana_password; do
  [ -s "secrets/$name" ] || (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(24), end="")' > "secrets/$name")
done
# The training image's user reads two of them; a file's owner is kept by a mount.
chmod 644 secrets/*
