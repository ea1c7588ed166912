"""Checkpoints: what lies in a directory, whether it fits the device, and how it becomes a network."""
