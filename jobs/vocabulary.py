"""spark-submit jobs/vocabulary.py --config FILE key=value ...: the same as `lis-spark vocabulary`."""

import sys

from lis_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(["vocabulary", *sys.argv[1:]]))
