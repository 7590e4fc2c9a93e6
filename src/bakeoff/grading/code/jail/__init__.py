"""What runs inside a jail: the standard library alone, imported there as the package `jail`."""
