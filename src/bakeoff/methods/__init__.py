"""One file each: what a trial adds to a frozen model."""
