"""The embedded world: a small closed world of invented facts in place of medicine, so that the paper runs on a CPU.

It validates the pipeline and says nothing about medicine. Its teacher is a rule program, and its models are tiny.
"""
