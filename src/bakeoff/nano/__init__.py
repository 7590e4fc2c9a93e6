"""The embedded base model, as data: a Hugging Face folder and its card (README.md)."""
