"""Doors to other packages' worlds: their import names, their files."""
