"""Jobs on this machine: an evaluator and a training process each."""
