"""What the honest scores of this project's data sets scatter by: what to expect of data without a pilot (method 2.5).

Printed by ``python -m tests.perf.check_power``: the ID table, n = 7, three evaluated dates, three training seeds.
"""

from __future__ import annotations

from lis_spark.metrics.spread import Spread
from lis_spark.power.error_model import ErrorModel, ScoreModel, SeedSpread

KNOWN_MODELS = (
    ErrorModel(
        basis="KuaiRand-Pure (conf/kuairand_demo.yaml)",
        lis=ScoreModel(
            spread=Spread(by_impression=8.83e-4, by_user_day=4.9e-5, by_user=0.0),
            seeds=SeedSpread(by_seed=4.0e-5**2),
        ),
        within_user=ScoreModel(
            spread=Spread(by_impression=3.53e-3, by_user_day=0.0, by_user=0.0),
            seeds=SeedSpread(by_seed=7.0e-4**2),
        ),
    ),
    ErrorModel(
        basis="films (conf/movietweetings_rate.yaml), whose users have too few impressions for an order within users",
        lis=ScoreModel(
            spread=Spread(by_impression=3.2e-4, by_user_day=0.0, by_user=0.0),
            seeds=SeedSpread(by_seed=1.9e-4**2),
        ),
        within_user=None,
    ),
    ErrorModel(
        basis="a thin simulated world (conf/world_thin.yaml)",
        lis=ScoreModel(
            spread=Spread(by_impression=1.09e-3, by_user_day=0.0, by_user=0.0),
            seeds=SeedSpread(by_seed=4.4e-4**2),
        ),
        within_user=ScoreModel(
            spread=Spread(by_impression=2.25e-3, by_user_day=0.0, by_user=0.0),
            seeds=SeedSpread(by_seed=5.3e-4**2),
        ),
    ),
    ErrorModel(
        basis="a dense simulated world (conf/world_reference_small.yaml)",
        lis=ScoreModel(
            spread=Spread(by_impression=2.40e-3, by_user_day=5.7e-5, by_user=1.2e-5),
            seeds=SeedSpread(by_seed=4.7e-4**2),
        ),
        within_user=ScoreModel(
            spread=Spread(by_impression=3.82e-3, by_user_day=7.8e-5, by_user=1.71e-4),
            seeds=SeedSpread(by_seed=1.19e-3**2),
        ),
    ),
)
