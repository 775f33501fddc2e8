"""For all tests, which run side by side on machines of any speed."""

import os

from hypothesis import settings

# Threads of torch that wait for each other's cores take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in each run, and no deadline: what takes long on a busy machine is right all the same.
settings.load_profile("ci")
