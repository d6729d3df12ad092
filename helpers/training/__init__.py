"""The two loops, with labels and without, and what carries them."""
