"""The diffusion engine: text around a gap in, the gap's text out. Knows nothing of editors, protocols or files but its checkpoint."""
