"""Compares three counts of one split with each other and with the bound 1 - 1/(2k-2).

Arguments: service, weights ("97 3"), connections, the client's report and the backends' report (both
JSON), a file with metrics. Whole numbers only, so nothing is lost to rounding.
"""

import json
import re
import sys

service, weights, connections, client, backends, metrics = sys.argv[1:]
weights = [int(weight) for weight in weights.split()]
connections = int(connections)
client = json.loads(client)["answers"]
backends = json.loads(backends)
colors = ["blue", "green", "red", "white"][: len(weights)]
total = sum(weights)
denominator = max(1, 2 * sum(weight > 0 for weight in weights) - 2)


def decisions(color):
    """teal_split_decisions_total of one color; labels may come in any order."""
    for line in open(metrics, encoding="utf-8"):
        found = re.match(r"teal_split_decisions_total\{(.*)\} (\S+)$", line)
        if found and f'service="{service}"' in found[1] and f'color="{color}"' in found[1]:
            return int(float(found[2]))
    return 0


failed = False
for color, weight in zip(colors, weights):
    seen = backends[f"{service}-{color}"]["connections"]
    told = client.get(f"{service}-{color}", 0)
    decided = decisions(color)
    off = abs(seen * total - connections * weight)
    within = off * denominator <= (denominator - 1 or 1) * total
    same = seen == told == decided
    failed |= not (within and same)
    print(
        f"{service}/{color}: backend {seen}, clients {told}, teal {decided}, "
        f"share {connections * weight / total:.2f}: off by {off / total:.3f}"
        f"{'' if within else ', BEYOND THE BOUND'}{'' if same else ', COUNTS DIFFER'}"
    )
sys.exit(failed)
