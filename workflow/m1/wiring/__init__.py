"""The layer between the configuration and the rules.

It checks the configuration (``config``), says which models a run computes (``run``), and has one module for each rule
file. A method that ends in ``Settings.from_parts(…).to_json()`` writes the param ``settings`` of a rule; the rule's
step parses the same JSON with ``Settings.from_json``.
"""
