"""What is known before the run, and the lane that follows from it."""
