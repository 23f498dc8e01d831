"""Plan, executors, the processes of a job, and the loop that keeps them busy."""
