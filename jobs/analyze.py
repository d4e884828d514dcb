"""spark-submit jobs/analyze.py --config FILE key=value ...: the same as `lis-spark analyze`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["analyze", *sys.argv[1:]]))
