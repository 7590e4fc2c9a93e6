"""One file each: where groups run."""
