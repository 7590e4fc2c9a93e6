"""What is asked: the study file, its trials, and the registry of methods and tasks."""
