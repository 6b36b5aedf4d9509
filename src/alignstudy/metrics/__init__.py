"""Arrays in, one number out: pure numpy, one small file per metric.

Rates and shares are in percent. What is not defined on the input raises `MetricError`; a number
that would only look like one is never given.
"""

from alignstudy.registry import Registry

METRICS = Registry(
    "metric",
    {
        "hmr": "alignstudy.metrics.hmr:hmr",
        "hpr": "alignstudy.metrics.hpr:hpr",
        "cas": "alignstudy.metrics.cas:cas",
        "mean_score": "alignstudy.metrics.mean_score:mean_score",
        "win_rate": "alignstudy.metrics.win_rate:win_rate",
        "empty_share": "alignstudy.metrics.empty:empty_share",
        "cap_share": "alignstudy.metrics.cap:cap_share",
        "role_tag_share": "alignstudy.metrics.role_tags:role_tag_share",
        "repetition_share": "alignstudy.metrics.repetition:repetition_share",
        "mean_words": "alignstudy.metrics.length:mean_words",
        "loop_share": "alignstudy.metrics.loops:loop_share",
        "mean_longest_loop": "alignstudy.metrics.loops:mean_longest_loop",
        "distinct": "alignstudy.metrics.distinct:distinct",
        "mean_compression": "alignstudy.metrics.compression:mean_compression",
        "echo_share": "alignstudy.metrics.echo:echo_share",
        "refusal_share": "alignstudy.metrics.refusal:refusal_share",
    },
)

__all__ = ["METRICS"]
