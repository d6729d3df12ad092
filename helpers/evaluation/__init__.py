"""From a backbone to a row of the results table."""
