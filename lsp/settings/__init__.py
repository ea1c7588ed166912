"""What the user set, from every place it can be set, and which files are left alone."""
