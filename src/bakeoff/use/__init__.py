"""What is done with it: a stored trial's model exported or talked to, and a study's parameters audited."""
