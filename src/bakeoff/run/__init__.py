"""How it is done: a study becomes a plan of trials in groups, and executors carry it out."""
