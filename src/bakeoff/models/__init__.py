"""What is adapted: a frozen model, its tokenizer and its named sites."""
