"""m1: test-time scaling for medical reasoning, reproduced from questions to tables and figures."""
