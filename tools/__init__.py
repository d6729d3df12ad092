"""For whoever works on the project; no notebook imports it."""
