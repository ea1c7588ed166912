"""The loopback endpoint: the same pipeline for clients that speak HTTP. Off unless it is started."""
