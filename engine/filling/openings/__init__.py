"""What may stand in a missing line, by the names that the text around it uses."""
