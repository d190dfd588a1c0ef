"""What is fed to Locust in batches is what Locust itself would have logged one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Importing locust patches the whole process for gevent, so it is done in one of its own.
PROGRAM = """
import json, sys, time
import numpy as np
from collections import Counter
from locust import stats
from loadtest.generator.locust_views.stats import feed, log_batch
moment = time.time()
time.time = lambda: moment
values = np.concatenate([np.random.default_rng(0).exponential(40, 3000),
    [0.4, 0.5, 1.5, 2.5, 99.5, 99.4, 100, 995, 12345.6]])
one, many = (stats.RequestStats() for _ in range(2))
for value in values.tolist():
    one.log_request("POST", "search", value, 0)
feed(many, "POST", "search", values[:1000] / 1e3, Counter())
feed(many, "POST", "search", values[1000:] / 1e3, Counter({"status 503": 3}))
def shown(s):
    out = []
    for e in (s.total, s.entries[("search", "POST")]):
        out.append([dict(sorted(e.response_times.items())), e.num_requests, dict(e.num_reqs_per_sec),
                    round(e.total_response_time, 3),
                    round(e.min_response_time, 6), round(e.max_response_time, 6), e.get_response_time_percentile(0.99)])
    return out
print(json.dumps([shown(one), shown(many), many.num_failures]))
"""


def test_batches_add_up_to_the_same_statistics() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=root, timeout=120)
    assert done.returncode == 0, done.stderr
    one, many, failures = json.loads(done.stdout)
    assert one == many
    assert failures == 3
