#!/bin/sh
# Start MLflow on PostgreSQL, artifacts in S3, with the passwords that compose.yaml mounts. MLFLOW_HOST and MLFLOW_PORT are
# where it listens, POSTGRES (host or host:port) and SECRETS (folder) what stands elsewhere outside compose.
set -eu
secrets="${SECRETS:-/run/secrets}"
export AWS_SECRET_ACCESS_KEY="$(cat "$secrets/s3_password")"
python - <<'PYTHON'
import boto3, os
client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if "mlflow" not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
    client.create_bucket(Bucket="mlflow")
PYTHON
# Not on the command line, which a process list shows.
export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg2://mlflow:$(cat "$secrets/postgres_password")@${POSTGRES:-postgres}/mlflow"
exec mlflow server --host "${MLFLOW_HOST:-0.0.0.0}" --port "${MLFLOW_PORT:-5000}" --workers 1 \
  --serve-artifacts --artifacts-destination s3://mlflow --allowed-hosts 'mlflow:5000,localhost:*,127.0.0.1:*'
