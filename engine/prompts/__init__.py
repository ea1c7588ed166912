"""What the network is shown of a request: its text, its seams, one module for each form."""
