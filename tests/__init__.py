"""A package, because IPython 7 has one of this name and would hide a mere folder."""
