"""spark-submit jobs/training_rows.py --config FILE key=value ...: the same as `lis-spark training-rows`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["training-rows", *sys.argv[1:]]))
