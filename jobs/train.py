"""spark-submit jobs/train.py --config FILE key=value ...: the same as `lis-spark train`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
