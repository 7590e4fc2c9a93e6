"""How it learns: packed lanes over one frozen model, and plain Hugging Face as the reference."""
