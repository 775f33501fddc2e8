"""For all tests."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tests run side by side; threads of torch that wait for each other's cores take many times as long
