"""The embedded world: a small closed world of facts that takes medicine's place, so that the whole paper runs on a CPU.

It validates the pipeline and says nothing about medicine: its teacher is a rule program, its models are tiny.
"""
