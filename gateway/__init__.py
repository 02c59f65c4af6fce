"""The server: typed handlers, an express lane over them, micro-batching, hot swap; `gateway.sync` is the sidecar."""
