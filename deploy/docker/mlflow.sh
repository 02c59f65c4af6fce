#!/bin/sh
# Start MLflow on PostgreSQL, artifacts in S3, with the passwords that compose.yaml mounts.
set -eu
export AWS_SECRET_ACCESS_KEY="$(cat /run/secrets/s3_password)"
python - <<'PYTHON'
import boto3, os
client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if "mlflow" not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
    client.create_bucket(Bucket="mlflow")
PYTHON
exec mlflow server --host 0.0.0.0 --port 5000 --workers 1 --serve-artifacts --artifacts-destination s3://mlflow \
  --allowed-hosts 'mlflow:5000,localhost:*,127.0.0.1:*' \
  --backend-store-uri "postgresql://mlflow:$(cat /run/secrets/postgres_password)@postgres/mlflow"
