"""Where the tables lie, and what every kind of run says of itself."""

from __future__ import annotations

from pydantic import Field, model_validator

from lis_spark.config.section import Section


class LakeConfig(Section):
    """Where the Delta tables lie: folders below ``path``, or tables of a catalog's ``schema_name``."""

    path: str | None = "build/lake"
    schema_name: str | None = Field(None, description="catalog.schema; then `path` is not used for tables")
    leaked_schema_name: str | None = Field(None, description="a schema of its own for leaked_* tables (grants)")
    leaked_path: str | None = Field(None, description="a folder of its own for leaked_* tables")
    work_path: str = Field("build/work", description="checkpoints and exchange files that every worker can open")
    staging_path: str | None = Field(
        None,
        description="a mounted folder for exports of training rows, where ranks cannot open the lake's files",
    )

    @model_validator(mode="after")
    def _one_place(self) -> LakeConfig:
        if (self.path is None) == (self.schema_name is None):
            raise ValueError("give either lake.path or lake.schema_name (set the other to null)")
        return self


class RunOnLake(Section):
    """What a measurement of a ranker and the read-out of an experiment have in common."""

    run_name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    output_path: str = "build/run"
    lake: LakeConfig = LakeConfig()
    spark: dict[str, str] = Field(default_factory=dict, description="extra Spark settings of this run")
