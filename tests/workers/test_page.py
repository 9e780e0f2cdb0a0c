"""Pages of metrics as one."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from happy.metrics import Metrics
from happy.workers.page import merged, only

ONE = """\
# HELP a_total Things
# TYPE a_total counter
a_total 1.0
# HELP b Other things
# TYPE b histogram
b_bucket{le="0.5",what="x y"} 2.0
b_count{} 3.0
"""


def test_merged() -> None:
    """Each family stands once, with the samples of all workers, told apart by a label."""
    assert merged({"w1": ONE, "w2": ONE.replace("1.0", "7.0")}) == (
        "# HELP a_total Things\n# TYPE a_total counter\n"
        'a_total{worker="w1"} 1.0\na_total{worker="w2"} 7.0\n'
        "# HELP b Other things\n# TYPE b histogram\n"
        'b_bucket{worker="w1",le="0.5",what="x y"} 2.0\nb_count{worker="w1"} 3.0\n'
        'b_bucket{worker="w2",le="0.5",what="x y"} 2.0\nb_count{worker="w2"} 3.0\n'
    )


def test_only() -> None:
    """Of a page only some families are kept, with their descriptions."""
    assert only(ONE, "a_") == "# HELP a_total Things\n# TYPE a_total counter\na_total 1.0\n"


def test_real() -> None:
    """What a server writes is one page afterwards that Prometheus reads, with every sample twice."""
    page = b"".join(Metrics().pieces()).decode()
    both = text_string_to_metric_families(merged({"w1": page, "w2": page}))
    alone = text_string_to_metric_families(page)
    assert sum(len(one.samples) for one in both) == 2 * sum(len(one.samples) for one in alone)
