"""spark-submit jobs/measure.py --config FILE key=value ...: the same as `lis-spark measure`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["measure", *sys.argv[1:]]))
