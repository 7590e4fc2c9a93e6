"""What is kept: records, samples, and the directory that holds them."""
