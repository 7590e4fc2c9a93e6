"""What the stored results mean: pure statistics and the tables made with them."""
