"""Batch jobs: each a command that runs by itself, resumes where it was stopped, and keeps a record others may read."""
