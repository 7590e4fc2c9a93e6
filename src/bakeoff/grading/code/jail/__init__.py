"""What runs inside a jail, and the keeper beside it: the standard library alone, imported there as `jail`."""
