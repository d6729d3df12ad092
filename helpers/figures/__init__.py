"""Everything the notebooks draw."""
