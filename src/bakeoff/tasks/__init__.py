"""One file each: what a model is taught and tested on."""
