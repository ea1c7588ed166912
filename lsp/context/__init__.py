"""What a request may know beyond its own text: other open documents, files beside it, places edited last."""
