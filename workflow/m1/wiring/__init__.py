"""What the rules see: the checked configuration, which models a run computes, and one module for each rule file."""
