"""Workers on a Slurm cluster: submission, state, and the check of a node."""
