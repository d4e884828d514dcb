"""spark-submit jobs/features.py --config FILE key=value ...: the same as `lis-spark features`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["features", *sys.argv[1:]]))
