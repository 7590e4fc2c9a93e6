"""How fast it is: the lanes engine against plain Hugging Face and PEFT, on this machine, with the same numbers."""
