# Databricks notebook source
# MAGIC %md
# MAGIC # Is this preference data worth aligning a multimodal LLM with it?
# MAGIC
# MAGIC Leakage Impact Score of the item-ID table: the ranker of day T is given the item table of day T+n, and its AUC
# MAGIC on day T is compared with that of its own table. The cluster needs dedicated compute (a barrier stage trains the
# MAGIC ranker) and the wheel of `lis_spark` on every node.
# MAGIC
# MAGIC Widgets: `config`, a YAML file (default: the shipped demo), and `overrides`, for instance
# MAGIC `lake.path=null lake.schema_name=main.lis lake.work_path=/Volumes/main/lis/files/work
# MAGIC lake.staging_path=/Volumes/main/lis/files/staging source.path=file:/Workspace/Shared/lis_spark/data/kuairand_pure
# MAGIC launch.local_mode=false` (a folder that all nodes see, and the shipped data where they can read it).

# COMMAND ----------
from lis_spark.config import load_config
from lis_spark.ddl import resource_folder
from lis_spark.pipeline import run_steps
from lis_spark.session import get_session

# COMMAND ----------
# MAGIC %md ## 1. A configuration: a shipped one, and what is different here

# COMMAND ----------
try:
    dbutils.widgets.text("config", str(resource_folder("conf") / "kuairand_demo.yaml"))  # type: ignore[name-defined]
    dbutils.widgets.text("overrides", "")  # type: ignore[name-defined]
    config_path = dbutils.widgets.get("config")  # type: ignore[name-defined]
    overrides = dbutils.widgets.get("overrides").split()  # type: ignore[name-defined]
except NameError:  # not on Databricks: a plain Python gives them before
    config_path = globals().get("config_path", resource_folder("conf") / "kuairand_demo.yaml")
    overrides = globals().get("overrides", [])
config = load_config(config_path, overrides)
spark = get_session(config.session_settings)

# COMMAND ----------
# MAGIC %md ## 2. Every step that is not up to date: ingest, train, join, score, measure, report

# COMMAND ----------
results = run_steps(spark, config)

# COMMAND ----------
# MAGIC %md ## 3. The answer

# COMMAND ----------
from lis_spark.lake import Lake

answer = (
    Lake(spark, config, measurement=True)
    .read("lis_results")
    .where("protocol = 'swap' AND variant = 'honest' AND swap_scope = 'both' AND stratum = 'all'")
    .select(
        *("evaluated_date", "horizon_days", "auc_control", "lis", "simultaneous_low", "simultaneous_high"),
        *("lis_within_user", "lis_within_user_simultaneous_low", "lis_within_user_simultaneous_high"),
        *("lis_user_part", "lis_item_part", "drift_penalty", "verdict", "reason"),
    )
    .orderBy("evaluated_date", "horizon_days")
)
answer.show(truncate=False, vertical=True)
