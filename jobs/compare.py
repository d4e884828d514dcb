"""spark-submit jobs/compare.py --config FILE key=value ...: the same as `lis-spark compare`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
