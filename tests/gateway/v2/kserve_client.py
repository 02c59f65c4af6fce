"""What KServe's own client makes of a server; run by a Python that has kserve, printed as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(base, name, rows):
    """Health, and inference as JSON and as bytes."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    found = {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model": await client.is_model_ready(base, "cancer"),
        "no model": await client.is_model_ready(base, "other"),
    }
    for binary in (False, True):
        tensor = InferInput(name, list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows, binary_data=binary)
        parameters = {"binary_data_output": binary}
        request = InferRequest("cancer", [tensor], request_id="k-1", parameters=parameters)
        answer = await client.infer(base, request, "cancer")
        outputs = {one.name: one.as_numpy().tolist() for one in answer.outputs}
        found[f"binary {binary}"] = {"id": answer.id, **outputs}
    await client.close()
    return found


port, input_name, values = sys.argv[1:]
print(
    json.dumps(asyncio.run(ask(f"http://127.0.0.1:{port}", input_name, np.array(json.loads(values), dtype=np.float32))))
)
