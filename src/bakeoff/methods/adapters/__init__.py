"""The torch half of each method: what its trial adds to the model (imported only when a trial starts)."""
