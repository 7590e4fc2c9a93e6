"""What is read: datasets, chat messages, and the generated tasks of the embedded default."""
