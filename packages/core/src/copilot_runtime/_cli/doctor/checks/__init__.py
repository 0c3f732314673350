"""What is looked at, a module for each subject."""
