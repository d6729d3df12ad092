"""Draws the pictures in images/: `python -m tools.figures.draw`."""
