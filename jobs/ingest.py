"""spark-submit jobs/ingest.py --config FILE key=value ...: the same as `lis-spark ingest`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["ingest", *sys.argv[1:]]))
