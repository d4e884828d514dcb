"""The section of a simulated world (method section 8): size, people, items, and dials with their ranges."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field, model_validator

from lis_spark.config.section import Section


class PeopleConfig(Section):
    """Users: how many, how active, how their taste moves."""

    users: int = Field(2000, ge=10, description="on the first day")
    new_users_a_day: int = Field(0, ge=0, description="0 to a tenth of the users is usual")
    activity_skew: float = Field(
        1.0, ge=1.0, le=5.0, description="1: all alike; k: user number n of N shows up with density (n/N)^(1/k - 1)"
    )
    drift: float = Field(
        0.0, ge=0.0, le=0.5, description="radians a day that tastes turn: .05 is a turn in four months"
    )
    bias_sigma: float = Field(0.0, ge=0.0, le=3.0, description="spread of users' click bias, logits")


class CatalogueConfig(Section):
    """Items: birth, life, popularity, and what of an item its content tells."""

    new_items_a_day: int = Field(80, ge=1, description="born each day")
    life_days: int = Field(60, ge=1, le=3650, description="an item is shown on so many days, its birthday the first")
    popularity: Literal["lognormal", "power_law"] = Field("lognormal", description="how often an item is shown")
    popularity_sigma: float = Field(0.7, ge=0.0, le=3.0, description="of the logarithm, where lognormal")
    popularity_exponent: float = Field(1.5, ge=1.2, le=10.0, description="of the Pareto tail, where power_law")
    age_weight: Literal["none", "hyperbolic", "exponential"] = Field("none", description="how exposure fades with age")
    age_scale_days: float = Field(1.5, ge=0.1, le=3650.0, description="1 / (1 + age / scale), or exp(-age / scale)")
    content_share: float = Field(0.5, ge=0.0, le=1.0, description="rho_c: share of a factor that content tells")
    bias_sigma: float = Field(0.3, ge=0.0, le=3.0, description="spread of items' click bias, logits")
    near_duplicate_share: float = Field(0.0, ge=0.0, le=0.25, description="items that copy an earlier one's content")


class ContentConfig(Section):
    """Titles and images, rendered from content latents and nuisance factors."""

    rendered: Literal["titles_and_images", "titles", "none"] = Field(
        "titles_and_images", description="an image takes 2 ms"
    )
    latents: int = Field(4, ge=1, le=64, description="dimensions of content")
    nuisances: int = Field(4, ge=0, le=64, description="dimensions that are seen and mean nothing")
    nuisance_amplitude: float = Field(
        2.0, ge=0.0, le=10.0, description="latents have 1; above it PCA sees only nuisance"
    )
    words: int = Field(12, ge=1, le=64, description="words of a title")
    vocabulary: int = Field(240, ge=16, le=20_000, description="different words")
    image_pixels: int = Field(64, ge=16, le=512, description="width and height")


class ClicksConfig(Section):
    """From taste and item to feedback."""

    latent_dimensions: int = Field(4, ge=1, le=32, description="of tastes and factors")
    logit_scale: float = Field(2.0, gt=0.0, le=20.0, description="standard deviation of taste in logits: the signal")
    click_rate: float = Field(0.25, gt=0.0, lt=1.0, description="of first places; the intercept follows from it")
    noise: float = Field(0.0, ge=0.0, lt=1.0, description="share of clicks drawn without looking at user and item")
    position_effect: float = Field(0.0, ge=0.0, le=2.0, description="logits lost at each further place of a request")


class TrafficConfig(Section):
    """When requests come and what they show."""

    impressions_a_day: int = Field(
        40_000, ge=10, le=1_000_000_000, description="of the mean day; times days: 10^4 to 10^10 in all"
    )
    impressions_an_item_a_day: float | None = Field(
        None, gt=0, description="the sparsity; where given, impressions a day follow from it and the items alive"
    )
    impressions_a_request: int = Field(5, ge=1, le=50, description="different items")
    weekly_amplitude: float = Field(0.1, ge=0.0, lt=1.0, description="weekends against weekdays")
    daily_amplitude: float = Field(0.6, ge=0.0, lt=1.0, description="evenings against mornings")
    ads_share: float = Field(0.0, ge=0.0, lt=1.0, description="of requests, and of items: scenario `ads`")
    bid_sigma: float = Field(0.5, ge=0.0, le=3.0, description="spread of bids, of the logarithm")


class WorldSource(Section):
    """A simulated world with known truth, written by ``lis-spark simulate``."""

    kind: Literal["world"]
    seed: int = Field(1, ge=0, description="another seed is another world")
    first_date: dt.date = Field(dt.date(2026, 1, 1), description="of the configured time zone")
    days: int = Field(60, ge=2, le=10_000, description="more days can be added later")
    people: PeopleConfig = PeopleConfig()
    catalogue: CatalogueConfig = CatalogueConfig()
    content: ContentConfig = ContentConfig()
    clicks: ClicksConfig = ClicksConfig()
    traffic: TrafficConfig = TrafficConfig()

    @property
    def impressions_a_day(self) -> float:
        """Of the mean day: as configured, or by the sparsity."""
        if self.traffic.impressions_an_item_a_day is None:
            return float(self.traffic.impressions_a_day)
        alive = self.catalogue.new_items_a_day * self.catalogue.life_days
        return alive * self.traffic.impressions_an_item_a_day

    @property
    def knows_requests(self) -> bool:
        """Every impression belongs to a simulated request."""
        return True

    @model_validator(mode="after")
    def _enough_to_show(self) -> WorldSource:
        items = self.catalogue.new_items_a_day * self.catalogue.life_days
        size, share = self.traffic.impressions_a_request, self.traffic.ads_share
        fewest = int(items * min(1.0 - share, share or 1.0))
        if fewest < 4 * size:
            raise ValueError(
                f"{fewest} items of a scenario alive are too few for requests of {size} different ones: at least "
                f"{4 * size} (new_items_a_day x life_days x share of the scenario)"
            )
        return self
