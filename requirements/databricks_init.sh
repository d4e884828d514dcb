#!/usr/bin/env bash
# On every node of a Databricks cluster: the libraries of the lock file, but for Spark and Delta, which the runtime brings.
set -euo pipefail
pins=$(mktemp)
sed -n 's/^\([A-Za-z0-9_.-]*==.*[^ \\]\) *\\*$/\1/p' "${LIS_SPARK_LOCK:?the path of requirements/runtime.lock}" |
  grep -vE '^(pyspark|delta-spark|py4j)==' > "$pins"
/databricks/python/bin/python -m pip install --no-deps --disable-pip-version-check -r "$pins"
