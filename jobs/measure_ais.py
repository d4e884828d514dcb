"""spark-submit jobs/measure_ais.py --config FILE key=value ...: the same as `lis-spark measure-ais`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["measure-ais", *sys.argv[1:]]))
