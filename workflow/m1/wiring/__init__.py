"""What the rules see: the checked configuration, which models a run computes, and one module for each rule file.

A method that ends in ``Settings.from_parts(…).to_json()`` makes the param ``settings`` of the step that reads them.
"""
