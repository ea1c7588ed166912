"""Rewriting on request: what is offered for a selection, and how it is computed. Pure but for the engine."""
