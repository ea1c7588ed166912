"""The wire: frames, JSON-RPC on standard streams, the process that is on the other end. Knows no feature."""
