"""What the `midspan` command does besides serving an editor."""
