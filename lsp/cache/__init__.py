"""Answers known already: typed along, stored on disk, fetched before they are asked for."""
