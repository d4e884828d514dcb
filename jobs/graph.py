"""spark-submit jobs/graph.py --config FILE key=value ...: the same as `lis-spark graph`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["graph", *sys.argv[1:]]))
