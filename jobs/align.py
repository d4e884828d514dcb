"""spark-submit jobs/align.py --config FILE key=value ...: the same as `lis-spark align`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["align", *sys.argv[1:]]))
