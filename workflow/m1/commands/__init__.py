"""What a person types: ``python -m m1 COMMAND``."""
